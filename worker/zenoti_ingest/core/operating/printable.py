"""Makes foreign text safe for a terminal: escapes characters that control the terminal or reorder the line."""

import re
from typing import Final

# C0 and C1 controls and DEL; line and paragraph separators; bidirectional overrides and isolates; unpaired surrogates,
# which no output can encode.
_STEERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STEERS_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LAST_SHORT: Final = 0xFF


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with such characters escaped, as `\x1b` or `\u202e`; with `lines`, line ends and tabs stay."""
    return (_STEERS_BUT_LINES if lines else _STEERS).sub(_spelled, text)


def printable_json(text: str) -> str:
    r"""A JSON document with such characters escaped, as `\u001b`; it stays the same document.

    JSON allows most of these characters only within strings, where the escape has the same meaning. Outside of strings,
    writers use only line ends.
    """
    return _STEERS_BUT_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= _LAST_SHORT else f"\\u{code:04x}"
