"""What stands in the archive: reading an entry, and which are wanted."""

import msgspec

from zenoti_ingest.core.events import reading
from zenoti_ingest.core.events.identity import UNKNOWN
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.routing import names_type
from zenoti_ingest.core.failures.errors import Malformed, TooLarge


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook as it was received, without its body.

    Attributes:
        receipt_id: the door's answer.
        received_at: RFC 3339, UTC.
        source: the source's name.
        type: as in the routing key; empty where the body cannot be read.
        event_id: the envelope's own; empty where it has none, or it could not be read.
        cloudevent_id: the outgoing event's `id`; empty where it could not be read.
        invoice_id: the invoice that it concerns; empty where there is none.
        bytes: of the body, on the wire.
        offset: where it stands in the stream.
        malformed: why it cannot be read; empty where it can.
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
        """Whether this is the event's id, by the CloudEvent or the envelope, its receipt's or its invoice's."""
        return wanted in (self.cloudevent_id, self.event_id, self.receipt_id, self.invoice_id)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant: received from `since` on and before `until`; None: any."""

    since: str
    until: str | None = None
    source: str | None = None
    type: str | None = None
    invoice: str | None = None

    def covers(self, message: Received) -> bool:
        """Whether it can be meant, as far as its headers show."""
        return (
            message.received_at >= self.since
            and (self.until is None or message.received_at < self.until)
            and self.source in (None, message.source)
        )

    @property
    def asks_bodies(self) -> bool:
        """Whether the body decides."""
        return self.type is not None or self.invoice is not None

    def takes(self, entry: Entry) -> bool:
        """Whether it is meant, of those that are covered."""
        return (self.type is None or names_type(self.type, entry.type)) and self.invoice in (None, entry.invoice_id)


def entry(message: Received, *, offset: int) -> Entry:
    """Read one; what is malformed is an entry too."""
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
