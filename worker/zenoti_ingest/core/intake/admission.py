"""May this request in? (headers, token, body, the source's rule) -> accept | ping | refuse(status).

Zenoti signs the body alone: `zenoti-webhook-signature: sha256 =18-2E-10-…`, HMAC-SHA256 as upper-case hex pairs joined
by `-` (reported by integrators; the vendor's page only says that a header carries a signature). Hence plain hex and
base64 are taken too. Everything is compared as bytes in constant time; nothing here can raise on what a stranger sends.
"""

import base64
import hmac
from collections.abc import Sequence

import msgspec

_BYTES = 32
_DASHES = 31 * "-"  # what joins the pairs of digits


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a source demands at the door.

    Attributes:
        secrets: a signature by any of them passes; empty: none is demanded.
        tokens: any of them passes; empty: none is demanded.
        observe: a wrong signature is let in and counted (only with a token).
    """

    secrets: tuple[bytes, ...] = ()
    tokens: tuple[bytes, ...] = ()
    observe: bool = False


class Accept(msgspec.Struct, frozen=True):
    """Let in. `signed` is False where a wrong or missing signature was only observed."""

    signed: bool = True


class Ping(msgspec.Struct, frozen=True):
    """The console's test button: an empty, unsigned request that must get a 2xx and is no event."""


class Refuse(msgspec.Struct, frozen=True):
    """Turned away, with the HTTP status and what to say."""

    status: int
    detail: str


def judge(body: bytes, *, signatures: Sequence[str], tokens: Sequence[str], rule: Rule) -> Accept | Ping | Refuse:
    """Decide on one request.

    Args:
        body: the bytes on the wire.
        signatures: every value of the source's signature header; exactly one can pass.
        tokens: what came as `?token=` and as bearer.
        rule: what the source demands.
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
    """The 32 bytes that a value spells, or None: dashed hex, plain hex or base64, `sha256=` before it or not."""
    name, equals, rest = value.partition("=")
    text = (rest if equals and name.strip().lower() == "sha256" else value).strip()
    digits = text.replace("-", "") if text[2::3] == _DASHES else text
    try:
        # Of digits, blanks are passed over: then they spell fewer bytes.
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
    # A list, so that every secret is tried: the time taken reveals nothing.
    matches = [hmac.compare_digest(given, signature(body, secret=secret)) for secret in secrets]
    return any(matches)


def _known(token: str, known: Sequence[bytes]) -> bool:
    try:
        given = token.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False  # no bytes on the wire spell this
    matches = [hmac.compare_digest(given, one) for one in known]
    return any(matches)
