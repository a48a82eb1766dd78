import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import received
from zenoti_ingest.core.events import reading
from zenoti_ingest.core.events.routing import normal_type
from zenoti_ingest.simulator.world import WebhookEvent, World

NOW = datetime(2031, 5, 6, 17, 8, 9, 123456, tzinfo=UTC)
PARTS = ("InvoiceItems", "Appointments", "Transactions", "Redemptions", "gst_parameters", "dues_and_fees")
ZERO = "00000000-0000-0000-0000-000000000000"
NO_TIME = "0001-01-01T00:00:00"

INVOICE_ID, DATA_INVOICE_ID, NONE = "data.invoice.id", "data.invoice_id", ""


def row(event_type: str, where: str, name: str = "", says: Callable[[Any], bool] = lambda _: True) -> Any:
    """One row of the table: its type, where its `data` names the invoice, and what else `data` says."""
    return pytest.param(event_type, where, says, id=name or event_type)


# Every row of what is known of the vendor's events, and each deviation that is known.
ROWS = [
    row("Invoice.Closed", INVOICE_ID, says=lambda d: d["invoice"]["is_closed"] and not d["invoice"]["is_refund"]),
    row("Invoice.Closed", INVOICE_ID, "Invoice.Closed, a refund", lambda d: d["invoice"]["is_refund"]),
    row("Invoice.Closed", INVOICE_ID, "Invoice.Closed, of a group", lambda d: "group_invoice_id" in d["invoice"]),
    row("Invoice.Closed", INVOICE_ID, "Invoice.Closed, again", lambda d: d["invoice"].get("times_closed") == 2),
    row("Invoice.Closed", INVOICE_ID, "Invoice.Closed, not closed", lambda d: not d["invoice"]["is_closed"]),
    row("Invoice.Closed", INVOICE_ID, "Invoice.Closed, drifted", lambda d: "loyalty" in d["invoice"]),
    row("Appointment.Started", DATA_INVOICE_ID),
    row("Appointment.Completed", DATA_INVOICE_ID),
    row(
        "Appointment.Completed",
        DATA_INVOICE_ID,
        "Appointment.Completed, drifted",
        lambda d: "therapist_id" in d["appointments"][0],
    ),
    row("AppointmentGroup.Created", DATA_INVOICE_ID),
    row("AppointmentGroup.Updated", DATA_INVOICE_ID, says=lambda d: d["appointments"] != []),
    row("AppointmentGroup.Updated", NONE, "AppointmentGroup.Updated, empty", lambda d: d["appointments"] == []),
    row("AppointmentGroup.Status", DATA_INVOICE_ID),
    row("AppointmentGroup.Delete", DATA_INVOICE_ID),
    row("Guestpass.redeemed", DATA_INVOICE_ID),
    *(row(f"Guest.Membership.{what}", INVOICE_ID) for what in ("Created", "Freeze", "Unfreeze")),
    *(row(f"Guest.Membership.{what}", INVOICE_ID) for what in ("Cancelled", "Reinstate")),
    *(row(f"Guest.Package.{what}", INVOICE_ID) for what in ("Creation", "Redemption", "RedemptionReversal")),
    row("Guest.Package.Status", NONE, says=lambda d: d["invoice"]["id"] == ZERO),
    row("Guest.Package.Validity", NONE, says=lambda d: "invoice" not in d),
    row("Appointment.Feedback", NONE, "Appointment.Feedback V1", lambda d: isinstance(d["rating_value"], dict)),
    row("Appointment.Feedback", NONE, "Appointment.Feedback V2", lambda d: isinstance(d["rating_value"], int)),
    *(row(f"Guest.{what}", NONE) for what in ("Created", "Updated", "Deleted", "Merged", "OptedIn", "OptedOut")),
    *(row(f"Employee.{what}", NONE) for what in ("Created", "Updated", "Deleted")),
    *(row(f"Class.Schedule.{what}", NONE) for what in ("Created", "Updated", "Cancelled", "Deleted")),
    *(row(f"Class.Booking.{what}", NONE) for what in ("Created", "Cancelled", "Deleted")),
    *(row(f"Class.Booking.{what}", NONE) for what in ("NoShow", "Approved", "Rejected")),
    row("Loyalty.Points Earned (beta)", INVOICE_ID, "unheard of, data.invoice.id"),
    row("Locker.Opened", DATA_INVOICE_ID, "unheard of, data.invoice_id"),
    row("Weather.Changed", NONE, "unheard of, no invoice"),
]


def parse(body: bytes) -> Any:
    """The JSON, with its numbers as exact decimals."""
    return msgspec.json.Decoder(float_hook=Decimal).decode(body)


def inner(event: WebhookEvent) -> Any:
    """What the event says inside its envelope."""
    return parse(event.body)["data"]


def the_row(
    world: World, event_type: str, says: Callable[[Any], bool]
) -> tuple[tuple[WebhookEvent, ...], WebhookEvent]:
    """A catalogue, and the first event in it that is this row's."""
    events = world.catalogue(now=NOW)
    found = [event for event in events if event.event_type == event_type and says(inner(event))]
    assert found
    return events, found[0]


def held(world: World, invoice_id: str) -> Any:
    """The invoice as the API shows it now, with every part."""
    document = world.invoice(invoice_id, expand=PARTS)
    assert document is not None
    return parse(document)["invoice"]


def closings(world: World) -> list[Any]:
    """The invoices of the closings, in order."""
    return [inner(e)["invoice"] for e in world.catalogue(now=NOW) if e.event_type == "Invoice.Closed"]


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a document that holds no other, with the key that it stands under."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from leaves(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below, key)
    else:
        yield key, value


def keys(value: Any) -> set[str]:
    """Every key in a document, however deep."""
    if isinstance(value, dict):
        return set(value).union(*(keys(below) for below in value.values()))
    return set().union(*(keys(below) for below in value)) if isinstance(value, list) else set()


def test_ids_come_in_either_letter_case() -> None:
    """The same invoice is named in lower and in upper case."""
    ids = {event.invoice_id for event in World(1).catalogue(now=NOW) if event.invoice_id}
    assert any(invoice_id.upper() in ids and invoice_id.upper() != invoice_id for invoice_id in ids)


@pytest.mark.parametrize(("event_type", "where", "says"), ROWS)
def test_every_row(event_type: str, where: str, says: Callable[[Any], bool]) -> None:
    """Each row is there, enveloped and bare; its invoice id stands where the row says, and translate finds that."""
    world = World(1)
    _, event = the_row(world, event_type, says)
    data = inner(event)
    at = {INVOICE_ID: data.get("invoice", {}).get("id"), DATA_INVOICE_ID: data.get("invoice_id"), NONE: ""}
    assert at[where] == event.invoice_id
    bare = world.bare(event)
    assert (bare.event_id, bare.event_type, bare.path_type) == ("", event_type, event_type)
    assert (event.path_type, parse(bare.body), bare.invoice_id) == ("", data, event.invoice_id)
    assert bare.body in event.body
    for sent in (event, bare):
        read = reading.read(received(body=sent.body, path_type=sent.path_type))
        assert read.invoice_id == (event.invoice_id or None)
        assert read.type == normal_type(event_type)
        assert (read.event_id or "") == sent.event_id


@pytest.mark.parametrize(("event_type", "where", "says"), ROWS)
def test_the_api_knows_the_invoice(event_type: str, where: str, says: Callable[[Any], bool]) -> None:
    """The API knows the invoice that an event names, before and after it was sent; a deleted group's only before."""
    world = World(2)
    _, event = the_row(world, event_type, says)
    if where != NONE:
        assert held(world, event.invoice_id)["id"] == event.invoice_id.lower()
    for sent in (event, world.bare(event)):
        world.sent(sent)
        if event_type == "AppointmentGroup.Delete":
            assert world.invoice(event.invoice_id, expand=PARTS) is None
        elif where != NONE:
            assert held(world, event.invoice_id)["id"] == event.invoice_id.lower()


@pytest.mark.parametrize(("event_type", "where", "says"), ROWS)
def test_any_letter_case(event_type: str, where: str, says: Callable[[Any], bool]) -> None:
    """The type in the envelope and the type in the path, in whatever letter case, give the same normal type."""
    world = World(3)
    _, event = the_row(world, event_type, says)
    envelope = msgspec.json.decode(event.body, type=dict[str, msgspec.Raw])
    for spelled in (event_type.lower(), event_type.upper(), event_type.swapcase()):
        envelope["event_type"] = msgspec.Raw(msgspec.json.encode(spelled))
        by_envelope = reading.read(received(body=msgspec.json.encode(envelope), path_type="Some.Other"))
        by_path = reading.read(received(body=world.bare(event).body, path_type=spelled))
        assert by_envelope.type == by_path.type == normal_type(event_type)
        assert by_envelope.invoice_id == by_path.invoice_id == (event.invoice_id if where != NONE else None)


def test_no_row_is_missing_here() -> None:
    """The catalogue has no type that the table of these tests does not name."""
    named = {param.values[0] for param in ROWS}
    assert {event.event_type for event in World(1).catalogue(now=NOW)} == named


def test_same_seed_same_catalogues() -> None:
    """Two worlds of one seed make the same catalogues, byte for byte, whatever visits come between; seeds differ."""
    world, other = World(7), World(7)
    first = world.catalogue(now=NOW)
    world.visit(now=NOW)
    for _ in range(3):
        other.visit(now=NOW)
    assert first == other.catalogue(now=NOW)
    assert world.catalogue(now=NOW) == other.catalogue(now=NOW) != first
    assert {e.body for e in World(8).catalogue(now=NOW)}.isdisjoint(e.body for e in first)


def test_visits_do_not_feel_it() -> None:
    """A catalogue between two visits changes neither."""
    world, other = World(7), World(7)
    visits = [world.visit(now=NOW) for _ in range(2)]
    again = [other.visit(now=NOW)]
    other.catalogue(now=NOW)
    assert [*again, other.visit(now=NOW)] == visits


def test_now_needs_a_zone() -> None:
    """A time without a zone is refused."""
    with pytest.raises(ValueError, match="time zone"):
        World(1).catalogue(now=NOW.replace(tzinfo=None))


def test_ids_and_bodies_are_unique() -> None:
    """No two events share an event id or a delivery id, beside visits too; no two bare bodies are the same."""
    world = World(1)
    events = [*world.catalogue(now=NOW), *world.catalogue(now=NOW), *world.visit(now=NOW).events]
    envelopes = [parse(event.body) for event in events]
    assert len({e["event_id"] for e in envelopes} | {e["id"] for e in envelopes}) == 2 * len(envelopes)
    assert all(re.fullmatch(r"[0-9a-f]{24}", e["event_id"]) for e in envelopes)
    assert len({world.bare(event).body for event in events}) == len(events)


@settings(max_examples=20, deadline=None)  # each makes a whole catalogue, on a machine that may be busy
@given(seed=st.integers())
def test_a_refund_gives_everything_back(seed: int) -> None:
    """A refund says so, its totals, items and payments are below zero and add up; the API's invoice says the same."""
    world = World(seed)
    refund = next(closed for closed in closings(world) if closed["is_refund"])
    kept = held(world, refund["id"])
    assert kept["is_refund"] is True
    total = refund["total_price"]
    assert total == kept["total_price"]
    assert total["sum_total"] == total["net_price"] + total["tax"] < 0
    assert sum(item["price"]["final"] for item in refund["invoice_items"]) == total["sum_total"]
    assert all(item["quantity"] > 0 for item in refund["invoice_items"])
    assert sum(t["amount_paid"] for t in refund["transactions"]) == total["sum_total"]
    assert "-0.00" not in str(refund)


def test_a_group_shares_its_id() -> None:
    """Two invoices of one group bear the same group id, in the events and at the API, and are of one centre."""
    world = World(1)
    group = [closed for closed in closings(world) if closed.get("group_invoice_id") not in (None, ZERO)]
    assert len({closed["id"] for closed in group}) == len(group) == 2
    assert len({closed["group_invoice_id"] for closed in group}) == 1
    assert [held(world, closed["id"])["group_invoice_id"] for closed in group] == [t["group_invoice_id"] for t in group]
    assert len({closed["center_id"] for closed in group}) == 1


def test_an_invoice_is_closed_again() -> None:
    """The same invoice is closed twice, under two event ids."""
    events = [e for e in World(1).catalogue(now=NOW) if e.event_type == "Invoice.Closed"]
    twice = [e for e in events if [o.invoice_id for o in events].count(e.invoice_id) == 2]
    assert len({e.invoice_id for e in twice}) == 1
    assert len({e.event_id for e in twice}) == 2


def test_a_closing_that_closes_nothing() -> None:
    """After an Invoice.Closed that says is_closed false the API's invoice is open still."""
    world = World(1)
    event = next(e for e in world.catalogue(now=NOW) if b'"is_closed":false' in e.body)
    world.sent(event)
    kept = held(world, event.invoice_id)
    assert (kept["is_closed"], kept["transactions"]) == (False, [])


def test_both_spellings_and_every_sentinel() -> None:
    """Both spellings of each key, and every sentinel, are in the events; the unusual spellings at the API too."""
    world = World(1)
    events = world.catalogue(now=NOW)
    for event in events:
        if event.event_type == "Invoice.Closed":
            world.sent(event)
    spelled = set().union(*(keys(inner(event)) for event in events))
    twice = {
        "serviceduration_in_miutes": "service_duration_in_minutes",
        "TherapistId": "therapist_id",
        "cash_regester_id": "cash_register_id",
        "center_Name": "center_name",
        "guest_email": "email",
    }
    assert spelled >= {*twice, *twice.values()}
    (drifted,) = [event.invoice_id for event in events if b'"loyalty"' in event.body]
    kept = held(world, drifted)
    assert keys(kept) >= {"service_duration_in_minutes", "TherapistId", "cash_register_id", "guest_email"}
    values = {repr(value) for event in events for _, value in leaves(inner(event))}
    assert values >= {repr(value) for value in (NO_TIME, ZERO, -1, "", None)}
    assert any(re.fullmatch(r"'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'", value) for value in values)
    assert b'"quantity":1.0' in b"".join(event.body for event in events)
    assert any("event_timestamp" not in parse(event.body) for event in events)


@settings(max_examples=20, deadline=None)  # each makes a whole catalogue, on a machine that may be busy
@given(seed=st.integers())
def test_nobody_can_be_reached(seed: int) -> None:
    """Every address is at example.com and every telephone number in the block kept for fiction, at the API too."""
    world = World(seed)
    events = world.catalogue(now=NOW)
    documents = [inner(event) for event in events]
    documents += [held(world, event.invoice_id) for event in events if event.invoice_id]
    for key, value in leaves(documents):
        text = value if isinstance(value, str) else ""
        assert "@" not in text or re.fullmatch(r"[\w.-]+@example\.com", text)
        assert not text.startswith("+") or re.fullmatch(r"\+1 555 01\d\d", text)
        assert key not in {"number", "mobile_phone"} or not text or re.fullmatch(r"(\+1 )?555 01\d\d", text)
        assert key not in {"email", "guest_email"} or text.endswith("@example.com")


@settings(max_examples=20, deadline=None)  # each makes a whole catalogue, on a machine that may be busy
@given(seed=st.integers())
def test_events_and_invoices_agree(seed: int) -> None:
    """Whatever the seed, an event and the invoice that it names have the same centre, guest, number and group."""
    world = World(seed)
    for event in world.catalogue(now=NOW):
        if not event.invoice_id:
            continue
        kept, data = held(world, event.invoice_id), inner(event)
        shown = data | data.get("invoice", {})
        for key in ("center_id", "invoice_number", "appointment_group_id", "total_price", "invoice_date"):
            assert shown.get(key, kept[key]) == kept[key]
        assert shown.get("guest", kept["guest"])["id"] == kept["guest"]["id"]
        assert shown.get("guest_id", kept["guest"]["id"]) == kept["guest"]["id"]


def test_others_go_on() -> None:
    """`other` makes catalogue after catalogue, one in four events bare, and not the same kinds each time."""
    world, rehearsed = World(5), World(5)
    size = len(rehearsed.catalogue(now=NOW))
    events = [world.other(now=NOW + timedelta(seconds=n)) for n in range(2 * size)]
    bare = [n for n, event in enumerate(events) if event.path_type]
    assert len(bare) in range(size // 2 - 2, size // 2 + 2)
    assert {n % size for n in bare if n < size}.isdisjoint(n % size for n in bare if n >= size)
    assert [e.event_type for e in events[:size]] == [e.event_type for e in World(5).catalogue(now=NOW)]


def test_an_event_of_another_world() -> None:
    """An event whose invoice this world did not make is refused; an event without an invoice changes nothing."""
    events = World(2).catalogue(now=NOW)
    with pytest.raises(KeyError):
        World(1).sent(events[0])
    World(1).sent(next(event for event in events if not event.invoice_id))


def test_a_bare_event_stays_as_it_is() -> None:
    """An event that has no envelope only gets its type for the path."""
    world = World(1)
    _, completed = world.seed_events(now=NOW)
    again = world.bare(completed)
    assert (again.body, again.path_type) == (completed.body, "Appointment.Completed")
