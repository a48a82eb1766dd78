"""May this request in? (headers, token, body, the source's rule) -> accept | ping | refuse(status).

Zenoti signs the body alone: `zenoti-webhook-signature: sha256 =18-2E-10-…`, HMAC-SHA256 as upper-case hex pairs joined
by `-` (told by integrators; the vendor's page only says that a header carries a signature). Hence plain hex and
base64 are taken too. Everything is compared as bytes in constant time; nothing here can raise on what a stranger sends.
"""

import base64
import hmac
import re
from collections.abc import Sequence

import msgspec

_PREFIX = re.compile(r"\s*(?:sha256\s*=\s*)?", re.IGNORECASE)
_DASHED = re.compile(r"[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){31}")
_PLAIN = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=")


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
    text = value[_PREFIX.match(value).end() :].strip()  # type: ignore[union-attr]  # the pattern matches the empty text
    if _DASHED.fullmatch(text) or _PLAIN.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    if _BASE64.fullmatch(text):
        return base64.b64decode(text)
    return None


def _signed(body: bytes, signatures: Sequence[str], secrets: Sequence[bytes]) -> bool:
    if len(signatures) != 1:
        return False
    given = parse_signature(signatures[0])
    if given is None:
        return False
    # A list, so that every secret is tried: the time taken tells nothing.
    matches = [hmac.compare_digest(given, signature(body, secret=secret)) for secret in secrets]
    return any(matches)


def _known(token: str, known: Sequence[bytes]) -> bool:
    try:
        given = token.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False  # no bytes on the wire spell this
    matches = [hmac.compare_digest(given, one) for one in known]
    return any(matches)
