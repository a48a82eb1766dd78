"""The simulated salon: invoices, the events that tell of them, and how far each visit has come.

Pure: seed and `now` come in, bytes go out. No clock, no socket, no environment, no randomness that a seed does not fix.
Shapes: https://docs.zenoti.com/reference/retrieve-invoice-details and the samples under
https://docs.zenoti.com/reference/webhook-events, misspellings included; every value is invented.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from worker.simulator import documents

_PROGRESS: Final = {"Appointment.Started": 1, "Appointment.Completed": 2, "Invoice.Closed": 2}

_encoder: Final = msgspec.json.Encoder(decimal_format="number")  # 0.10 leaves as 0.10


class WebhookEvent(msgspec.Struct, frozen=True):
    """One occurrence, ready to post.

    `body` is the JSON to send and sign, byte for byte; `event_id` is the envelope's, empty where there is none.
    """

    event_type: str
    body: bytes
    invoice_id: str
    event_id: str


class Visit(msgspec.Struct, frozen=True):
    """A guest's visit: its invoice and the five events that tell of it, in the order they happen."""

    invoice_id: str
    events: tuple[WebhookEvent, ...]


class _Standing(msgspec.Struct):
    # The recipe of an invoice rather than the invoice: a day's run must not fill the memory.
    number: int
    now: datetime
    as_documented: bool
    progress: int = 0
    closed: bool = False


class World:
    """All the visits of one simulated organisation, made in order from a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._standings: dict[str, _Standing] = {}

    def visit(self, *, now: datetime) -> Visit:
        """Make the next visit; the n-th of a seed is always the same but for what depends on `now`.

        Args:
            now: when the guest books, with a time zone.

        Raises:
            ValueError: `now` has no time zone.
        """
        invoice, center, standing = self._next(now, as_documented=False)
        everything = documents.as_of(invoice, progress=2, closed=True, expand=documents.PARTS)
        told = (
            (
                "AppointmentGroup.Created",
                documents.created(invoice, center=center, organization_id=self._id("organization")),
            ),
            ("AppointmentGroup.Status", documents.checked_in(invoice)),
            ("Appointment.Started", documents.progressed(invoice, progress=1)),
            ("Appointment.Completed", documents.progressed(invoice, progress=2)),
            ("Invoice.Closed", documents.closed(everything)),
        )
        events = tuple(
            self._event(event_type, data, invoice_id=invoice["id"], standing=standing, place=place)
            for place, (event_type, data) in enumerate(told)
        )
        return Visit(invoice_id=invoice["id"], events=events)

    def seed_events(self, *, now: datetime) -> tuple[WebhookEvent, WebhookEvent]:
        """Make an Invoice.Closed and a bare Appointment.Completed in the very shape of the two published samples.

        Each tells of an invoice of its own. The first is enveloped the older way, with `event_resource`; the second
        has no envelope, so that its type is to be told from its shape alone.

        Raises:
            ValueError: `now` has no time zone.
        """
        invoice, _, standing = self._next(now, as_documented=True)
        data = documents.closed(documents.as_of(invoice, progress=2, closed=True, expand=documents.PARTS))
        closed = self._event("Invoice.Closed", data, invoice_id=invoice["id"], standing=standing, place=0)
        invoice, _, _ = self._next(now, as_documented=True)
        bare = _encoder.encode(documents.progressed(invoice, progress=2))
        return closed, WebhookEvent("Appointment.Completed", bare, invoice["id"], "")

    def sent(self, event: WebhookEvent) -> None:
        """Let the invoice be as far as this event says; an event told again, or late, takes nothing back.

        Raises:
            KeyError: the event is of another world.
        """
        standing = self._standings[event.invoice_id]
        standing.progress = max(standing.progress, _PROGRESS.get(event.event_type, 0))
        standing.closed = standing.closed or event.event_type == "Invoice.Closed"

    def invoice(self, invoice_id: str, *, expand: Collection[str]) -> bytes | None:
        """Return the API's document `{"invoice": …, "error": null}` as things stand, or None for an unknown id.

        Args:
            invoice_id: in any letter case.
            expand: the parts asked for, in any letter case; the others are null. An unknown part is ignored.
        """
        standing = self._standings.get(invoice_id.lower())
        if standing is None:
            return None
        invoice, _ = self._draw(standing)
        shown = documents.as_of(invoice, progress=standing.progress, closed=standing.closed, expand=expand)
        return _encoder.encode({"invoice": shown, "error": None})

    def _next(self, now: datetime, *, as_documented: bool) -> tuple[documents.Json, documents.Center, _Standing]:
        if now.tzinfo is None:
            raise ValueError("now needs a time zone: local time would differ from machine to machine")
        standing = _Standing(len(self._standings), now.astimezone(UTC), as_documented)
        invoice, center = self._draw(standing)
        self._standings[invoice["id"]] = standing
        return invoice, center, standing

    def _draw(self, standing: _Standing) -> tuple[documents.Json, documents.Center]:
        """The invoice as it will be once paid and closed, every part of it there."""
        rng = documents.rng(f"{self._seed}:visit:{standing.number}")
        center, therapist = rng.choice(documents.CENTERS), rng.choice(documents.THERAPISTS)
        items = []
        appointments = []
        start = standing.now.replace(minute=standing.now.minute // 15 * 15, second=0)
        for ware in documents.wares(rng, as_documented=standing.as_documented):
            item = documents.item_document(
                rng, ware=ware, ware_id=self._id(ware.name), therapist=(self._id(therapist), therapist)
            )
            items.append(item)
            if ware.kind == documents.SERVICE:
                appointments.append(documents.appointment_document(rng, item=item, start=start, minutes=ware.minutes))
                start += timedelta(minutes=ware.minutes)
        invoice = documents.invoice_document(
            rng, number=standing.number, at=standing.now + center.utc_offset, items=items
        )
        invoice |= {
            "invoice_number_prefix": center.prefix,
            "center_id": self._id(center.name),
            "appointments": appointments,
        }
        return invoice, center

    def _event(
        self, event_type: str, data: documents.Json, *, invoice_id: str, standing: _Standing, place: int
    ) -> WebhookEvent:
        at = standing.now + timedelta(milliseconds=place)
        # Shaped as Mongo's object ids: seconds, five bytes of the process, a counter, which alone makes them unique.
        machine = documents.rng(f"{self._seed}:machine").getrandbits(40)
        event_id, delivery_id = (
            f"{int(at.timestamp()):08x}{machine:010x}{standing.number * 10 + place * 2 + i:06x}" for i in (0, 1)
        )
        envelope = {
            "id": delivery_id,
            "event_id": event_id,
            "event_schema": "v1",
            "event_resource": event_type.partition(".")[0] if standing.as_documented else None,
            "event_type": event_type,
            "event_timestamp": f"{documents.naive(at)}.{at.microsecond:06d}{standing.number % 10}Z",
            "data": data,
        }
        return WebhookEvent(event_type, _encoder.encode(envelope), invoice_id, event_id)

    def _id(self, name: str) -> str:
        return documents.guid(documents.rng(f"{self._seed}:name:{name}"))
