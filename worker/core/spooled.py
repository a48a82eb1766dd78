"""A spooled event as bytes on disk: a checksum before it, so that a torn or flipped record tells itself."""

import zlib

import msgspec

from worker.core.messages import Received

_CHECKSUM_BYTES = 4


class Spooled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event that waits on disk. `archived`: the archive has it already, only the raw queue lacks it."""

    event: Received
    archived: bool = False


_decoder = msgspec.msgpack.Decoder(Spooled)


def seal(spooled: Spooled) -> bytes:
    """The record: checksum, then the event."""
    content = msgspec.msgpack.encode(spooled)
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big") + content


def unseal(record: object) -> Spooled | None:
    """Read a record; None where it is not what was sealed."""
    if not isinstance(record, bytes):
        return None
    checksum, content = record[:_CHECKSUM_BYTES], record[_CHECKSUM_BYTES:]
    if zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        return None
    try:
        return _decoder.decode(content)
    except msgspec.DecodeError:  # sealed by another release whose shape is not ours
        return None
