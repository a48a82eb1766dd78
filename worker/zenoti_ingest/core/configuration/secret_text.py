"""Reads secrets from text: from a file a secret per line, from the configuration a secret per text."""

import re

BOM = "\ufeff"
BLANKS = " \t\r\n\f\v"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class UnusableSecret(ValueError):
    """The text holds no usable secret; the message says why, and quotes nothing."""


def secret(text: str) -> str:
    """A secret, without surrounding blanks and without a byte order mark.

    Raises:
        UnusableSecret: it is empty, or contains a character that no header can carry.
    """
    found = text.strip(BLANKS).lstrip(BOM).strip(BLANKS)
    if not found:
        raise UnusableSecret("holds no secret")
    if _CONTROLS.search(found):
        raise UnusableSecret("holds a control character, or is UTF-16 (wanted is UTF-8)")
    return found


def secrets_in(content: bytes) -> tuple[str, ...]:
    """The secrets in a file, a secret per line. Line ends of any system are accepted; empty lines do not count.

    Raises:
        UnusableSecret: there is no secret, a secret is unusable, or the file is not UTF-8.
    """
    try:
        lines = re.split(r"\r\n|\r|\n", content.decode())
    except UnicodeDecodeError:
        raise UnusableSecret("is not UTF-8") from None
    found = tuple(secret(line) for line in lines if line.strip(BLANKS + BOM))
    if not found:
        raise UnusableSecret("holds no secret")
    return found
