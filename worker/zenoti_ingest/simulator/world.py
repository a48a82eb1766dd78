"""The simulated organisation: invoices, their events, and the progress of each visit.

It is pure: seed and `now` come in, bytes go out. No clock, no socket, no environment, no randomness beside the seed.
Shapes: https://docs.zenoti.com/reference/retrieve-invoice-details and the samples under
https://docs.zenoti.com/reference/webhook-events, including misspellings; every value is invented.
"""

import random
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from zenoti_ingest.simulator import catalogue, invention, recipes
from zenoti_ingest.simulator.appointments import progressed
from zenoti_ingest.simulator.catalogue import InvoiceWish, PlannedEvent
from zenoti_ingest.simulator.documents import as_of
from zenoti_ingest.simulator.recipes import Recipe

_PROGRESS: Final = {"Appointment.Started": 1, "Appointment.Completed": 2, "Invoice.Closed": 2}
_BARE_ONE_IN: Final = 4
_EVENTS_OF_A_VISIT: Final = 5

_encoder: Final = msgspec.json.Encoder(decimal_format="number")  # 0.10 leaves as 0.10


class WebhookEvent(msgspec.Struct, frozen=True):
    """An event, ready to post.

    `body` is the JSON to send and sign, byte for byte; `event_id` is the envelope's, empty without an envelope.
    `invoice_id` is empty if the event names no invoice. `path_type` is the type for the door's path, empty if the body
    contains the type or its shape must show it.
    """

    event_type: str
    body: bytes
    invoice_id: str
    event_id: str
    path_type: str = ""


class _Enveloped(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


class Visit(msgspec.Struct, frozen=True):
    """A guest's visit: its invoice and its five events, in the order they happen."""

    invoice_id: str
    events: tuple[WebhookEvent, ...]


class World:
    """All that happens in a simulated organisation, made in order from a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._recipes: dict[str, Recipe] = {}
        self._issued = {"visit": 0, "other": 0}
        self._made = self._rounds = 0
        self._again = 0
        self._unasked: set[str] = set()
        self._round: Iterator[tuple[int, WebhookEvent]] = iter(())

    def visit(self, *, now: datetime) -> Visit:
        """Make the next visit; the n-th visit of a seed is always the same, except what depends on `now`.

        Args:
            now: when the guest books, with a time zone.

        Raises:
            ValueError: `now` has no time zone.
        """
        invoice, recipe = self._issue("visit", now, InvoiceWish())
        scene = recipes.scene_of(self._seed, "visit", recipe.number, recipe.now)
        events = tuple(
            self._event(planned, recipe, place=place)
            for place, planned in enumerate(catalogue.visit(invoice, scene=scene))
        )
        return Visit(invoice_id=invoice["id"], events=events)

    def seed_events(self, *, now: datetime) -> tuple[WebhookEvent, WebhookEvent]:
        """Make an Invoice.Closed and a bare Appointment.Completed in exactly the shape of the two published samples.

        Each has its own invoice. The first has the older envelope, with `event_resource`; the second has no envelope,
        so only its shape shows its type.

        Raises:
            ValueError: `now` has no time zone.
        """
        invoice, recipe = self._issue("visit", now, InvoiceWish("documented"))
        *_, planned = catalogue.visit(invoice, scene=recipes.scene_of(self._seed, "visit", recipe.number, recipe.now))
        closed = self._event(planned, recipe, place=0, resource="Invoice")
        invoice, _ = self._issue("visit", now, InvoiceWish("documented"))
        bare = _encoder.encode(progressed(invoice, progress=2))
        return closed, WebhookEvent("Appointment.Completed", bare, invoice["id"], "")

    def catalogue(self, *, now: datetime) -> tuple[WebhookEvent, ...]:
        """Make at least one event of every kind, with envelopes, in an order in which they could happen.

        The n-th catalogue of a seed is always the same, except what depends on `now`, whatever visits come between.

        Raises:
            ValueError: `now` has no time zone.
        """
        number = self._rounds
        self._rounds += 1
        scene = recipes.scene_of(self._seed, "catalogue", number, _utc(now))
        recipe = Recipe("other", number, scene.now, InvoiceWish())

        def issue(wanted: InvoiceWish) -> invention.Json:
            return self._issue("other", now, wanted._replace(center=scene.center))[0]

        events = []
        for planned in catalogue.everything(scene, issue):
            recipe.number, self._made = self._made, self._made + 1
            events.append(self._event(planned, recipe, place=0))
            recipe.now += timedelta(milliseconds=1)
        return tuple(events)

    def other(self, *, now: datetime) -> WebhookEvent:
        """Make the next event beside the visits: catalogue after catalogue, with every fourth event bare.

        Raises:
            ValueError: `now` has no time zone.
        """
        following = next(self._round, None)
        if following is None:
            shift = self._rounds  # so that different kinds are bare each time
            self._round = iter(enumerate(self.catalogue(now=now), start=shift))
            following = next(self._round)
        place, event = following
        return event if place % _BARE_ONE_IN else self.bare(event)

    def bare(self, event: WebhookEvent) -> WebhookEvent:
        """The same event without its envelope, with its type for the path; a bare event only gets the path."""
        body = event.body
        if event.event_id:
            body = bytes(msgspec.json.decode(body, type=_Enveloped).data)
        return WebhookEvent(event.event_type, body, event.invoice_id, "", path_type=event.event_type)

    def again(self, event: WebhookEvent) -> WebhookEvent:
        """A second delivery of the same event, with a delivery id of its own; a bare event has the same bytes."""
        if not event.event_id:
            return event
        self._again += 1
        delivery_id = f"{self.chance(f'again:{self._again}').getrandbits(96):024x}"
        head, found, rest = event.body.partition(b'"id":"')
        return msgspec.structs.replace(event, body=head + found + delivery_id.encode() + rest[len(delivery_id) :])

    def chance(self, name: str) -> random.Random:
        """Randomness for a single purpose, fixed by the seed."""
        return invention.rng(f"{self._seed}:chance:{name}")

    def sent(self, event: WebhookEvent) -> None:
        """Update the invoice's state from an event; a repeated or late event never sets it back.

        Raises:
            KeyError: the event names an invoice of another world.
        """
        if not event.invoice_id:
            return
        recipe = self._recipes[event.invoice_id.lower()]
        self._unasked.add(event.invoice_id.lower())
        recipe.progress = max(recipe.progress, _PROGRESS.get(event.event_type, 0))
        recipe.closed |= event.event_type == "Invoice.Closed" and recipe.wanted.nature != "open"
        recipe.gone |= event.event_type == "AppointmentGroup.Delete"
        if recipe.gone:
            self.asked(event.invoice_id)

    def asked(self, invoice_id: str) -> None:
        """Record that the API has returned this invoice."""
        self._unasked.discard(invoice_id.lower())

    @property
    def unasked(self) -> int:
        """The number of invoices that the API has not returned since their latest event, without deleted invoices."""
        return len(self._unasked)

    def invoice(self, invoice_id: str, *, expand: Collection[str]) -> bytes | None:
        """Return the API's current document `{"invoice": …, "error": null}`, or None for an unknown id.

        The invoice of a group is also unknown once its deletion was sent.

        Args:
            invoice_id: in any letter case.
            expand: the requested parts, in any letter case; other parts are null. An unknown part is ignored.
        """
        recipe = self._recipes.get(invoice_id.lower())
        if recipe is None or recipe.gone:
            return None
        invoice = recipes.draw(self._seed, recipe)
        shown = as_of(invoice, progress=recipe.progress, closed=recipe.closed, expand=expand)
        return _encoder.encode({"invoice": shown, "error": None})

    def _issue(self, series: str, now: datetime, wanted: InvoiceWish) -> tuple[invention.Json, Recipe]:
        recipe = Recipe(series, self._issued[series], _utc(now), wanted, closed=wanted.paid)
        self._issued[series] += 1
        invoice = recipes.draw(self._seed, recipe)
        self._recipes[invoice["id"]] = recipe
        return invoice, recipe

    def _event(self, planned: PlannedEvent, recipe: Recipe, *, place: int, resource: str | None = None) -> WebhookEvent:
        """The event in its envelope: number `place` among the events of the recipe's number."""
        at = recipe.now + timedelta(milliseconds=place)
        # Like MongoDB's object ids: seconds, five bytes of the process, a counter. Only the counter makes them unique.
        process = "machine" if recipe.series == "visit" else f"machine:{recipe.series}"
        machine = invention.rng(f"{self._seed}:{process}").getrandbits(40)
        counter = (recipe.number * _EVENTS_OF_A_VISIT + place) * 2
        event_id, delivery_id = (f"{int(at.timestamp()):08x}{machine:010x}{counter + i:06x}" for i in (0, 1))
        envelope = {
            "id": delivery_id,
            "event_id": event_id,
            "event_schema": planned.schema,
            "event_resource": resource,
            "event_type": planned.event_type,
            "event_timestamp": f"{invention.naive(at)}.{at.microsecond:06d}{recipe.number % 10}Z",
            "data": planned.data,
        }
        if not planned.dated:
            del envelope["event_timestamp"]
        return WebhookEvent(planned.event_type, _encoder.encode(envelope), planned.invoice_id, event_id)


def _utc(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValueError("now needs a time zone: local time would differ from machine to machine")
    return now.astimezone(UTC)
