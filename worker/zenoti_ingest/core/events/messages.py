"""The messages between our own stages (EIP: canonical data model): the raw body, and a few headers.

Raw queue, lane, delay queue and redrive use the same format, so a message can go back to where it came from. Thousands
are in hand at a time and none can be part of a reference cycle, so the garbage collector ignores them (`gc=False`).
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from zenoti_ingest.core.events.trace_context import PARENT, STATE, TraceContext, of_message

_TRACE_HEADERS = (PARENT, STATE)

PUBLISH_SECONDS: Final = 15.0  # how long the publish of a message waits for its confirm


class Outgoing(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A publish as data: its destination and its content. Headers are strings and ints."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    headers: dict[str, Any]
    content_type: str | None = None
    content_encoding: str | None = None


def carried(message: Outgoing, trace: TraceContext | None) -> Outgoing:
    """The message with the headers of a trace; unchanged if `trace` is None or the message's own."""
    if trace is None or of_message(message.headers) == trace:
        return message
    others = {name: value for name, value in message.headers.items() if name not in _TRACE_HEADERS}
    return msgspec.structs.replace(message, headers=others | trace.headers())


class Received(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A webhook as the door received it.

    Attributes:
        body: the bytes on the wire; translate inflates a compressed body.
        source: the source's name.
        receipt_id: UUIDv7, the door's answer.
        received_at: RFC 3339, UTC, microseconds: sorts as text.
        path_type: the event type in the URL's path, as written there; empty: none.
        content_type: as received.
        content_encoding: as received; None once inflated.
        attempts: the number of this attempt, from 1.
        replay: the mark of the replay that sent it; empty: none.
        redriven: an operator put it back from the dead letters.
        only_to: the only receiver that it is for; empty: every receiver that wants it.
        trace: the trace that it belongs to; None: an older release or somebody else published it without a trace.
    """

    body: bytes
    source: str
    receipt_id: str
    received_at: str
    path_type: str = ""
    content_type: str | None = None
    content_encoding: str | None = None
    attempts: int = 1
    replay: str = ""
    redriven: bool = False
    only_to: str = ""
    trace: TraceContext | None = None

    @property
    def trace_id(self) -> str:
        """The trace id, for logs; empty without a trace."""
        return "" if self.trace is None else self.trace.trace_id

    def to(self, *, exchange: str, routing_key: str) -> Outgoing:
        """The message to publish to a queue of ours."""
        headers: dict[str, Any] = {
            "source": self.source,
            "receipt_id": self.receipt_id,
            "received_at": self.received_at,
        }
        if self.path_type:
            headers["path_type"] = self.path_type
        if self.attempts > 1:
            headers["attempts"] = self.attempts
        if self.replay:
            headers["replay"] = self.replay
        if self.redriven:
            headers["redriven"] = "1"
        if self.only_to:
            headers["only_to"] = self.only_to
        if self.trace:
            headers |= self.trace.headers()
        return Outgoing(
            exchange=exchange,
            routing_key=routing_key,
            body=self.body,
            message_id=self.receipt_id,
            headers=headers,
            content_type=self.content_type,
            content_encoding=self.content_encoding,
        )


class Delivered(Protocol):
    """The parts of a delivery from which a message is read."""

    @property
    def body(self) -> bytes: ...  # noqa: D102  # AMQP's own words

    @property
    def headers(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def message_id(self) -> str: ...  # noqa: D102

    @property
    def content_type(self) -> str | None: ...  # noqa: D102

    @property
    def content_encoding(self) -> str | None: ...  # noqa: D102


def message_of(delivery: Delivered, *, source: str) -> Received:
    """Read a delivery from a queue of ours; see `received`."""
    return received(
        delivery.body,
        delivery.headers,
        source=source,
        message_id=delivery.message_id,
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
    )


def received(
    body: bytes,
    headers: Mapping[str, Any],
    *,
    source: str,
    message_id: str = "",
    content_type: str | None = None,
    content_encoding: str | None = None,
) -> Received:
    """Read a delivery from a queue of ours. It never fails: missing or odd headers count as empty.

    The source is the queue's, not that of a header.
    """
    attempts = headers.get("attempts")
    return Received(
        body=body,
        source=source,
        receipt_id=_text(headers.get("receipt_id")) or message_id,
        received_at=_text(headers.get("received_at")),
        path_type=_text(headers.get("path_type")),
        content_type=content_type,
        content_encoding=content_encoding,
        attempts=attempts if isinstance(attempts, int) and attempts > 0 else 1,
        replay=_text(headers.get("replay")),
        redriven=bool(headers.get("redriven")),
        only_to=_text(headers.get("only_to")),
        trace=of_message(headers),
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
