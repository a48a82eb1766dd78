"""Admits a request or refuses it: (headers, token, body, the source's rule) -> accept | ping | refuse(status).

Zenoti signs only the body: `zenoti-webhook-signature: sha256 =18-2E-10-…`, HMAC-SHA256 as upper-case hex pairs joined
by `-`. Integrators report this form; the vendor's page only says that a header carries a signature. So plain hex and
base64 are accepted too. All comparisons are of bytes in constant time. No input from a sender can raise an error here.
"""

import base64
import hmac
from collections.abc import Sequence

import msgspec

_BYTES = 32
_DASHES = 31 * "-"  # the separators between the pairs of digits


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a source requires at the door.

    Attributes:
        secrets: a signature by any of them passes; empty: no signature is required.
        tokens: any of them passes; empty: no token is required.
        observe: accept and count a wrong signature (only with a token).
    """

    secrets: tuple[bytes, ...] = ()
    tokens: tuple[bytes, ...] = ()
    observe: bool = False


class Accept(msgspec.Struct, frozen=True):
    """The request is accepted. `signed` is False if a wrong or missing signature was only observed."""

    signed: bool = True


class Ping(msgspec.Struct, frozen=True):
    """The test button of Zenoti's console: an empty, unsigned request that must get a 2xx and is not an event."""


class Refuse(msgspec.Struct, frozen=True):
    """The request is refused, with an HTTP status and a detail."""

    status: int
    detail: str


def judge(body: bytes, *, signatures: Sequence[str], tokens: Sequence[str], rule: Rule) -> Accept | Ping | Refuse:
    """Decide on a request.

    Args:
        body: the bytes on the wire.
        signatures: every value of the source's signature header; more than one value never passes.
        tokens: all values of `?token=` and of bearer tokens.
        rule: what the source requires.
    """
    if not body:
        return Ping()
    if rule.tokens and not any(_known(token, rule.tokens) for token in tokens):
        return Refuse(401, "the token is missing or wrong")
    if rule.secrets and not _signed(body, signatures, rule.secrets):
        return Accept(signed=False) if rule.observe else Refuse(401, "the signature is missing or wrong")
    return Accept()


def signature(body: bytes, *, secret: bytes) -> bytes:
    """The 32 bytes of HMAC-SHA256 over the body."""
    return hmac.digest(secret, body, "sha256")


def parse_signature(value: str) -> bytes | None:
    """The 32 bytes of a signature, or None: dashed hex, plain hex or base64, with or without `sha256=` before it."""
    name, equals, rest = value.partition("=")
    text = (rest if equals and name.strip().lower() == "sha256" else value).strip()
    digits = text.replace("-", "") if text[2::3] == _DASHES else text
    try:
        # fromhex skips blanks between digits; then the result is too short.
        given = bytes.fromhex(digits) if len(digits) == 2 * _BYTES else base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return given if len(given) == _BYTES else None


def _signed(body: bytes, signatures: Sequence[str], secrets: Sequence[bytes]) -> bool:
    if len(signatures) != 1:
        return False
    given = parse_signature(signatures[0])
    if given is None:
        return False
    # A list, not a generator: every secret is tried, so the time taken reveals nothing.
    matches = [hmac.compare_digest(given, signature(body, secret=secret)) for secret in secrets]
    return any(matches)


def _known(token: str, known: Sequence[bytes]) -> bool:
    try:
        given = token.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False  # no bytes on the wire decode to this
    matches = [hmac.compare_digest(given, token_known) for token_known in known]
    return any(matches)
