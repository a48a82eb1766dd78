"""Secrets as they are written: in a file, one a line; in the configuration, one a text."""

import re

BOM = "\ufeff"
BLANKS = " \t\r\n\f\v"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class UnusableSecret(ValueError):
    """A text that holds no secret that can be used; it says why, and quotes nothing."""


def secret(text: str) -> str:
    """One secret, without blanks around it and without a BOM before it.

    Raises:
        UnusableSecret: it is empty, or holds what no header can carry.
    """
    found = text.strip(BLANKS).lstrip(BOM).strip(BLANKS)
    if not found:
        raise UnusableSecret("holds no secret")
    if _CONTROLS.search(found):
        raise UnusableSecret("holds a control character, or is UTF-16 (wanted is UTF-8)")
    return found


def secrets_in(content: bytes) -> tuple[str, ...]:
    """The secrets in a file, one a line. Lines end as on any system; empty ones do not count.

    Raises:
        UnusableSecret: there is none, one cannot be used, or the file is not UTF-8.
    """
    try:
        lines = re.split(r"\r\n|\r|\n", content.decode())
    except UnicodeDecodeError:
        raise UnusableSecret("is not UTF-8") from None
    found = tuple(secret(line) for line in lines if line.strip(BLANKS + BOM))
    if not found:
        raise UnusableSecret("holds no secret")
    return found
