"""Dead letter channel (EIP): writing a letter, reading one, and where it came from.

A letter is the message as it stood, with why. What the broker itself dead-lettered (a delivery limit, a reject) bears
no reason of ours: that is read from `x-death` (https://www.rabbitmq.com/docs/dlx).
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from zenoti_ingest.core.events.identity import Identity
from zenoti_ingest.core.events.messages import Outgoing, Received, received
from zenoti_ingest.core.failures.policy import DeadLetter
from zenoti_ingest.core.topology.names import Names
from zenoti_schemas.dead_letter import DeadLetterHeaders

_BROKERS_WORDS = {"delivery_limit": "delivery-limit", "rejected": "delivery-limit"}
ENRICH, TRANSLATE, INTAKE = "enrich", "translate", "intake"
ARCHIVE = "archive"  # where the body of a letter without one is; else `disk:<host>:<path>`
# What differs from letter to letter of one fault: places in a body, indices, ids, long numbers. Codes and lines stay.
_DIFFERS = re.compile(r"(?<=\bbyte )\d+|(?<=\[)\d+(?=\])|[0-9A-Fa-f-]{8,}|\d{5,}")


def write(
    message: Received,
    verdict: DeadLetter,
    *,
    names: Names,
    stage: str,
    dead_at: str,
    identity: Identity,
) -> Outgoing:
    """The letter to publish: the body as it stood, and why; every header a string, `attempts` an int."""
    sent = message.to(exchange=names.work, routing_key=names.dead)
    found = DeadLetterHeaders(
        reason=verdict.reason,
        detail=verdict.detail,
        stage=stage,
        source=message.source,
        **msgspec.structs.asdict(identity),
        attempts=message.attempts,
        received_at=message.received_at,
        dead_at=dead_at,
        receipt_id=message.receipt_id,
    )
    headers = msgspec.structs.asdict(found)
    del headers["body_at"]  # the letter has its body
    return msgspec.structs.replace(sent, headers={**sent.headers, **headers})


def without_body(letter: Outgoing, *, body_at: str) -> Outgoing:
    """The letter with an empty body, and a header that says where the body is."""
    return msgspec.structs.replace(letter, body=b"", headers={**letter.headers, "body_at": body_at})


def on_disk(host: str, path: str) -> str:
    """The `body_at` of a body in a file."""
    return f"disk:{host}:{path}"


def file_of(body_at: str) -> tuple[str, str] | None:
    """Host and path of a body in a file; None where it is in the archive."""
    kind, _, rest = body_at.partition(":")
    host, _, path = rest.partition(":")
    return (host, path) if kind == "disk" else None


def read(headers: Mapping[str, Any], *, names: Names, message_id: str = "") -> DeadLetterHeaders:
    """What a letter says of itself; what the broker wrote is put into the same words."""
    plain = {key: value for key, value in headers.items() if key in DeadLetterHeaders.__struct_fields__}
    reason = plain.get("reason")
    if not (isinstance(reason, str) and reason):
        plain |= _from_broker(headers, names)
    known: dict[str, Any] = {
        key: value for key, value in plain.items() if isinstance(value, int if key == "attempts" else str)
    }
    known.setdefault("receipt_id", message_id)
    return DeadLetterHeaders(**known)


def fingerprint(letter: DeadLetterHeaders) -> str:
    """A short mark that letters of one fault share: their reason, stage and detail, without what differs among them."""
    same = "\n".join((letter.reason, letter.stage, _DIFFERS.sub("…", letter.detail)))
    return hashlib.sha256(same.encode()).hexdigest()[:8]


def revive(body: bytes, headers: Mapping[str, Any], *, names: Names, properties: Mapping[str, str | None]) -> Outgoing:
    """The message that puts a letter back where it came from, as a first attempt.

    Args:
        body: of the letter, or the one that it has elsewhere.
        headers: of the letter.
        names: of exchanges and queues.
        properties: `message_id`, `content_type` and `content_encoding` that go with the body.
    """
    letter = read(headers, names=names, message_id=properties.get("message_id") or "")
    message = received(
        body,
        headers,
        source=letter.source,
        message_id=letter.receipt_id,
        content_type=properties.get("content_type"),
        content_encoding=properties.get("content_encoding"),
    )
    again = msgspec.structs.replace(message, attempts=1, redriven=True)
    queue = names.lane(letter.source) if letter.stage == ENRICH else names.raw(letter.source)
    return again.to(exchange=names.work, routing_key=queue)


def _from_broker(headers: Mapping[str, Any], names: Names) -> dict[str, Any]:
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    queue, word = str(first.get("queue", "")), str(first.get("reason", ""))
    found: dict[str, Any] = {
        "reason": _BROKERS_WORDS.get(word, word or "unknown"),
        "detail": f"the broker: {word} in {queue}",
    }
    if isinstance(at := first.get("time"), datetime):
        found["dead_at"] = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if source := names.source_of(queue):
        found |= {"stage": ENRICH if names.role(queue) == "lane" else TRANSLATE, "source": source}
    return found
