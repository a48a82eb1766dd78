"""JSON in which the escape of a surrogate (U+D800 to U+DFFF) has no pair: a copy that a strict reader takes.

RFC 8259 allows such escapes, msgspec refuses the document. Decisions read the copy; the bytes themselves go out.
"""

import re

_REPLACEMENT = b"\\ufffd"  # as long as what it replaces, so each place in the copy is the same place in the original
# A whole escape at a time, so that the backslash of `\\` never begins another; a pair is one match.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_SUSPICIOUS = re.compile(rb"\\u[dD][89a-fA-F]")


def readable(body: bytes) -> bytes:
    """The body with each unpaired escape replaced by U+FFFD; the body itself where nothing must be replaced."""
    if _SUSPICIOUS.search(body) is None:
        return body
    copy = _ESCAPE.sub(lambda found: _REPLACEMENT if found[1] else found[0], body)
    return body if copy == body else copy
