"""Content encodings (RFC 9110, section 8.4): inflates a compressed body, layer by layer, in bounded memory and time.

The bytes decide which compression it is; the words of the header only limit the number of layers.
"""

import re
import zlib

from zenoti_ingest.core.failures.errors import Malformed, TooLarge

_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate"})
_PLAIN = frozenset({"", "identity"})
_MAX_LAYERS = 4  # each layer may be as large as the limit: a sender's header must not multiply that without bound
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_PADDING = re.compile(rb"\0*")
_STEP_BYTES = 4096  # zlib returns the unused input behind each member: at most so much is copied again


def layers(content_encoding: str | None) -> int:
    """How many compressions a header names; `identity` and unknown words do not count."""
    return min(_MAX_LAYERS, sum(word in _COMPRESSIONS for word in _words(content_encoding)))


def is_known(content_encoding: str | None) -> bool:
    """Whether every word of a header is known here."""
    return all(word in _COMPRESSIONS | _PLAIN for word in _words(content_encoding))


def inflate(body: bytes, *, at_most: int) -> bytes:
    """Remove a layer of compression: gzip with any number of members, zlib, or deflate without a wrapper.

    Zero bytes between members, and any bytes after the last member, are skipped as padding.

    Args:
        body: the compressed body.
        at_most: the largest allowed result, in bytes.

    Raises:
        Malformed: the stream is broken or incomplete.
        TooLarge: the result exceeds `at_most` bytes.
    """
    try:
        if body.startswith(_GZIP_MAGIC):
            return _members(body, at_most)
        try:
            return _stream(body, 0, _ZLIB, at_most)[0]
        except zlib.error:
            return _stream(body, 0, _RAW, at_most)[0]
    except zlib.error as error:
        raise Malformed("the compressed body is broken") from error


def _words(content_encoding: str | None) -> list[str]:
    return [word.strip().lower() for word in (content_encoding or "").split(",")]


def _members(body: bytes, at_most: int) -> bytes:
    found: list[bytes] = []
    at = taken = 0
    while body.startswith(_GZIP_MAGIC, at):
        out, at = _stream(body, at, _GZIP, at_most, taken)
        found.append(out)
        taken += len(out)
        if padding := _PADDING.match(body, at):
            at = padding.end()
    return b"".join(found)


def _stream(body: bytes, at: int, window_bits: int, at_most: int, taken: int = 0) -> tuple[bytes, int]:
    """The content of a compressed stream, and where the stream ends; `taken` bytes of `at_most` are used already."""
    inflater = zlib.decompressobj(window_bits)
    found: list[bytes] = []
    with memoryview(body) as view:
        while not inflater.eof:
            if at >= len(body):
                raise Malformed("the compressed body is cut off")
            found.append(inflater.decompress(view[at : at + _STEP_BYTES], at_most - taken + 1))
            taken += len(found[-1])
            if taken > at_most:
                raise TooLarge(f"the inflated body has over {at_most} bytes, the most that the broker takes")
            at = min(at + _STEP_BYTES, len(body))
    return b"".join(found), at - len(inflater.unused_data)
