"""Dead letter channel (EIP): writes dead letters, reads them, and sends them back where they came from.

A letter is the unchanged message plus the reason. A letter from the broker itself (delivery limit, reject) lacks our
reason; its reason comes from `x-death` (https://www.rabbitmq.com/docs/dlx).
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
ARCHIVE = "archive"  # the place of the body of a letter without body; otherwise `disk:<host>:<path>`
# What differs between letters of the same fault: places in a body, indices, ids, long numbers. Codes and lines stay.
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
    """The letter to publish: the unchanged body, and the reason; all headers are strings, but `attempts` is an int."""
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
    """The letter with an empty body, and the place of the body in a header."""
    return msgspec.structs.replace(letter, body=b"", headers={**letter.headers, "body_at": body_at})


def on_disk(host: str, path: str) -> str:
    """The value of `body_at` for a body in a file."""
    return f"disk:{host}:{path}"


def file_of(body_at: str) -> tuple[str, str] | None:
    """Host and path of a body in a file; None if the body is in the archive."""
    kind, _, rest = body_at.partition(":")
    host, _, path = rest.partition(":")
    return (host, path) if kind == "disk" else None


def read(headers: Mapping[str, Any], *, names: Names, message_id: str = "") -> DeadLetterHeaders:
    """Read a letter's headers; the broker's own headers are translated into ours."""
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
    """A short mark that all letters of a fault share: a hash of reason, stage and detail, without varying parts."""
    same = "\n".join((letter.reason, letter.stage, _DIFFERS.sub("…", letter.detail)))
    return hashlib.sha256(same.encode()).hexdigest()[:8]


def revive(body: bytes, headers: Mapping[str, Any], *, names: Names, properties: Mapping[str, str | None]) -> Outgoing:
    """The message that returns a letter to the queue it came from, as a first attempt.

    Args:
        body: the letter's body, or its body from another place.
        headers: the letter's headers.
        names: the names of exchanges and queues.
        properties: `message_id`, `content_type` and `content_encoding` of the body.
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
