r"""JSON that cuts an emoji in two: unpaired surrogate escapes (`"\ud83d"`), which RFC 8259 allows and msgspec refuses.

.NET and JavaScript write them when they cut a text. A reader decodes a copy without them; the bytes stay as they came.
"""

import re
from typing import Final

import msgspec

_PAIR: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF: Final = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
# Every escape is matched whole, so that the second backslash of `\\ud83d` begins none. A run of them is one match, of a
# bounded length since the engine remembers each. Not possessive: Python 3.11.2, which Debian 12 has, then takes halves
# for a part of the run (python/cpython#106052).
_ESCAPES: Final = re.compile(rb"((?:(?:%s|(?!%s)\\.)[^\\]*){1,1000})|%s" % (_PAIR, _HALF, _HALF), re.DOTALL)
_REPLACEMENT: Final = rb"\ufffd"  # as long as what it replaces: every byte keeps its place
# Possessive is safe here: neither alternative can give back what it took, so 3.11.2 has nothing to mistake.
_MARK: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{}:,]', re.DOTALL)
_SPACE: Final = b" \t\r\n"
_text: Final = msgspec.json.Decoder(str)


def mended(body: bytes) -> bytes:
    """A copy as long as `body`, with U+FFFD for each unpaired surrogate escape; `body` itself where there is none."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    copy, is_other = bytearray(body), False  # changed in place: pieces to be joined took sixteen times the body's size
    for found in _ESCAPES.finditer(body):
        if found[1] is None:
            copy[found.start() : found.end()], is_other = _REPLACEMENT, True
    return bytes(copy) if is_other else body


def member(name: str, *, text: bytes, body: bytes) -> bytes:
    """The value of a member of a JSON object as it stands in `body`; of several the last, as msgspec has it.

    Args:
        name: of the member; it is there.
        text: the object as `mended` made it: valid JSON.
        body: the object as it came, byte for byte as long.
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
