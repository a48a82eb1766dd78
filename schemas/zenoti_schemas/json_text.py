r"""JSON that cuts an emoji in two: unpaired surrogate escapes (`"\ud83d"`), which RFC 8259 allows and msgspec refuses.

.NET and JavaScript write them when they cut a text. A reader decodes a copy without them; the bytes stay as received.
"""

import re
from typing import Final

import msgspec

_PAIR: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF: Final = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
# Every escape is matched as a whole, so that the second backslash of `\\ud83d` begins no escape. A run of escapes is a
# single match, of bounded length, since the engine remembers each. Not possessive: Python 3.11.2 (Debian 12) would then
# treat halves as a part of the run (python/cpython#106052).
_ESCAPES: Final = re.compile(rb"((?:(?:%s|(?!%s)\\.)[^\\]*){1,1000})|%s" % (_PAIR, _HALF, _HALF), re.DOTALL)
_REPLACEMENT: Final = rb"\ufffd"  # as long as the text it replaces: every byte keeps its place
# Possessive is safe here: neither alternative can give back what it matched, so the error of 3.11.2 cannot occur.
_MARK: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{}:,]', re.DOTALL)
_SPACE: Final = b" \t\r\n"
_text: Final = msgspec.json.Decoder(str)


def mended(body: bytes) -> bytes:
    """A copy as long as `body`, with U+FFFD for each unpaired surrogate escape; `body` itself if it has none."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    copy, is_other = bytearray(body), False  # changed in place: joining pieces took sixteen times the body's size
    for found in _ESCAPES.finditer(body):
        if found[1] is None:
            copy[found.start() : found.end()], is_other = _REPLACEMENT, True
    return bytes(copy) if is_other else body


def member(name: str, *, text: bytes, body: bytes) -> bytes:
    """The value of a member of a JSON object, as in `body`; if the name repeats, the last, like msgspec.

    Args:
        name: the member's name; the object has it.
        text: the object as `mended` returned it: valid JSON.
        body: the object as received, of the same length in bytes.
    """
    depth, begin, word, key, found = 0, 0, b'""', b'""', b""
    for mark in _MARK.finditer(text):
        match mark[0]:
            case b"{" | b"[":
                depth += 1
            case b"}" | b"]":
                depth -= 1
            case b":" if depth == 1:
                key, begin = word, mark.end()
            case b"," | b":":
                pass
            case string:
                word = string
        if (depth == 0 or (depth == 1 and mark[0] == b",")) and _text.decode(key) == name:
            found = body[begin : mark.start()].strip(_SPACE)
    return found
