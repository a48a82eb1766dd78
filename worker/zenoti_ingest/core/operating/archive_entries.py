"""Reads entries of the archive, and selects the wanted entries."""

import msgspec

from zenoti_ingest.core.events import reading
from zenoti_ingest.core.events.identity import UNKNOWN
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.routing import names_type
from zenoti_ingest.core.failures.errors import Malformed, TooLarge


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook as received, without its body.

    Attributes:
        receipt_id: the door's answer.
        received_at: RFC 3339, UTC.
        source: the source's name.
        type: as in the routing key; empty if the body cannot be read.
        event_id: the envelope's id; empty if it has none or cannot be read.
        cloudevent_id: the outgoing event's `id`; empty if the body cannot be read.
        invoice_id: the invoice that it concerns; empty: none.
        bytes: size of the body on the wire.
        offset: its offset in the stream.
        malformed: why the body cannot be read; empty: it can.
    """

    receipt_id: str
    received_at: str
    source: str
    type: str
    event_id: str
    cloudevent_id: str
    invoice_id: str
    bytes: int
    offset: int
    malformed: str = ""

    def bears(self, wanted: str) -> bool:
        """Whether `wanted` is the id of the CloudEvent, the envelope, the receipt or the invoice."""
        return wanted in (self.cloudevent_id, self.event_id, self.receipt_id, self.invoice_id)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Selects entries: received from `since` on and before `until`; None: no condition."""

    since: str
    until: str | None = None
    source: str | None = None
    type: str | None = None
    invoice: str | None = None

    def covers(self, message: Received) -> bool:
        """Whether the message's headers meet the conditions."""
        return (
            message.received_at >= self.since
            and (self.until is None or message.received_at < self.until)
            and self.source in (None, message.source)
        )

    @property
    def asks_bodies(self) -> bool:
        """Whether a condition needs the body."""
        return self.type is not None or self.invoice is not None

    def takes(self, entry: Entry) -> bool:
        """Whether a covered entry also meets the conditions on its body."""
        return (self.type is None or names_type(self.type, entry.type)) and self.invoice in (None, entry.invoice_id)


def entry(message: Received, *, offset: int) -> Entry:
    """Read an entry; a malformed body gives an entry too."""
    try:
        known, malformed = reading.read(message).identity, ""
    except Malformed as error:
        known, malformed = error.identity, str(error)
    except TooLarge as error:
        known, malformed = UNKNOWN, str(error)
    return Entry(
        receipt_id=message.receipt_id,
        received_at=message.received_at,
        source=message.source,
        bytes=len(message.body),
        offset=offset,
        type=known.event_type,
        event_id=known.event_id,
        cloudevent_id=known.cloudevent_id,
        invoice_id=known.invoice_id,
        malformed=malformed,
    )
