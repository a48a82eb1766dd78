import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.simulator.world import Visit, WebhookEvent, World

NOW = datetime(2031, 5, 6, 17, 8, 9, 123456, tzinfo=UTC)
PARTS = ("InvoiceItems", "Appointments", "Transactions", "Redemptions", "gst_parameters", "dues_and_fees")
TYPES = [
    "AppointmentGroup.Created",
    "AppointmentGroup.Status",
    "Appointment.Started",
    "Appointment.Completed",
    "Invoice.Closed",
]


def fields(table: str) -> set[str]:
    """The names in a table's first column."""
    return set(table.split())


# Field by field from the published tables (https://docs.zenoti.com/reference/retrieve-invoice-details).
INVOICE = fields("""
    group_invoice_id id invoice_number invoice_number_prefix receipt_number appointment_group_id lock is_closed
    is_refund invoice_date center_id gstin invoice_dues environmental_fee total_price guest invoice_items appointments
    transactions additional_fields
""")
AMOUNT = fields("total paid balance")
TOTAL = fields("currency_id net_price tax rounding_adjustment sum_total")
GUEST = fields("id first_name last_name gender code mobile_phone email")
ITEM = fields("""
    invoice_item_id id name type is_giftcard code price quantity sale_by_id therapist_name hsn sac
""")
APPOINTMENT = fields("""
    id invoice_item_id service_name service_id start_time end_time serviceduration_in_miutes has_add_ons is_add_on
    therapist_name therapist_id package_id is_recurring cart_item_id appointment_type therapist_request_type room_id
    room_name equipment_id equipment_name
""")
TRANSACTION = fields("""
    payment_option total_amount_paid amount_paid tip_amount ssg_amount donation_amount fee_amount cash_back_amount
    transaction_id payment_date cash_regester_id
""")


def read(body: bytes) -> Any:
    """The JSON, with its numbers as exact decimals."""
    return msgspec.json.Decoder(float_hook=Decimal).decode(body)


def invoice(world: World, invoice_id: str, *expand: str) -> Any:
    """The invoice as the API shows it now."""
    document = world.invoice(invoice_id, expand=expand)
    assert document is not None
    return read(document)["invoice"]


def datas(visit: Visit) -> list[Any]:
    """What each event of the visit says inside its envelope."""
    return [read(event.body)["data"] for event in visit.events]


def strings(value: Any) -> Iterator[str]:
    """Every text in a document, however deep."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def send_all(world: World, events: tuple[WebhookEvent, ...]) -> None:
    """Record in the world that these were sent."""
    for event in events:
        world.sent(event)


def test_same_seed_same_visits() -> None:
    """Two worlds of the same seed have the same visits, byte for byte."""
    world, other = World(7), World(7)
    assert [world.visit(now=NOW) for _ in range(5)] == [other.visit(now=NOW) for _ in range(5)]
    assert world.seed_events(now=NOW) == other.seed_events(now=NOW)


def test_other_seed_other_visits() -> None:
    """Another seed gives other invoices."""
    assert World(7).visit(now=NOW).invoice_id != World(8).visit(now=NOW).invoice_id


def test_five_events_in_order() -> None:
    """A visit is booked, checked in, started, completed and closed, in that order and at rising times."""
    visit = World(1).visit(now=NOW)
    assert [event.event_type for event in visit.events] == TYPES
    assert [read(event.body)["event_type"] for event in visit.events] == TYPES
    times = [read(event.body)["event_timestamp"] for event in visit.events]
    assert times == sorted(set(times))


def test_envelope() -> None:
    """An event stands in the vendor's envelope: object ids of 24 hex digits, a UTC time of seven fractional digits."""
    for event in World(1).visit(now=NOW).events:
        envelope = read(event.body)
        assert list(envelope) == [
            "id",
            "event_id",
            "event_schema",
            "event_resource",
            "event_type",
            "event_timestamp",
            "data",
        ]
        assert re.fullmatch(r"[0-9a-f]{24}", envelope["id"])
        assert envelope["event_id"] == event.event_id
        assert envelope["event_resource"] is None
        assert re.fullmatch(r"2031-05-06T17:08:09\.\d{7}Z", envelope["event_timestamp"])


def test_ids_are_unique() -> None:
    """No two events of a world share an event id, nor a delivery id; no two visits share an invoice."""
    world = World(1)
    visits = [world.visit(now=NOW) for _ in range(300)]
    envelopes = [read(event.body) for visit in visits for event in (*visit.events, *world.seed_events(now=NOW)[:1])]
    assert len({e["event_id"] for e in envelopes} | {e["id"] for e in envelopes}) == 2 * len(envelopes)
    assert len({visit.invoice_id for visit in visits}) == 300


@given(seed=st.integers(), before=st.integers(0, 20))
def test_events_and_invoice_agree(seed: int, before: int) -> None:
    """Whatever the seed, all events of a visit and the API's invoice speak of one invoice, centre, guest and total."""
    world = World(seed)
    for _ in range(before):
        world.visit(now=NOW)
    visit = world.visit(now=NOW)
    send_all(world, visit.events)
    held = invoice(world, visit.invoice_id, *PARTS)
    created, status, started, completed, closed = datas(visit)
    shown = closed["invoice"]
    grouped = (created, status, started, completed)

    assert {event.invoice_id for event in visit.events} == {held["id"], shown["id"]} == {visit.invoice_id}
    assert {data["invoice_id"] for data in grouped} == {held["id"]}
    assert {data["appointment_group_id"] for data in grouped} == {shown["appointment_group_id"]}
    assert {data["center_id"] for data in (created, started, completed, shown)} == {held["center_id"]}
    assert created["guest"]["id"] == shown["guest"]["id"] == held["guest"]["id"]
    assert shown["total_price"] == held["total_price"]
    assert shown["transactions"] == held["transactions"]
    appointments = [[a["id"] for a in data["appointments"]] for data in (created, started, completed, shown, held)]
    assert all(ids == appointments[0] for ids in appointments)
    assert status["appointment_group_status"] == 2


@given(seed=st.integers())
def test_the_sums_are_right(seed: int) -> None:
    """Items add up to the total, payments to the total, and what the guest gave to payment, tip and fee."""
    world = World(seed)
    visit = world.visit(now=NOW)
    send_all(world, visit.events)
    held = invoice(world, visit.invoice_id, *PARTS)
    total = held["total_price"]
    assert sum(item["price"]["final"] for item in held["invoice_items"]) == total["sum_total"]
    assert total["net_price"] + total["tax"] + total["rounding_adjustment"] == total["sum_total"]
    assert sum(t["amount_paid"] for t in held["transactions"]) == total["sum_total"] == held["invoice_dues"]["paid"]
    for paid in held["transactions"]:
        assert paid["total_amount_paid"] == paid["amount_paid"] + paid["tip_amount"] + paid["fee_amount"]


@given(seed=st.integers())
def test_money_is_spelled_exactly(seed: int) -> None:
    """Every decimal leaves with two decimal places, 0.10 as 0.10."""
    world = World(seed)
    visit = world.visit(now=NOW)
    send_all(world, visit.events)
    document = world.invoice(visit.invoice_id, expand=PARTS) or b""
    decimals = re.findall(rb"[:\[,](-?\d+\.\d+)(?=[,}\]])", document + visit.events[-1].body)
    assert b"0.10" in decimals
    assert all(re.fullmatch(rb"\d+\.\d{2}", spelled) for spelled in decimals)


def test_every_field_of_the_tables() -> None:
    """The invoice has every published field, and a field that no table knows, as the vendor's gain fields too."""
    world = World(3)
    visit = world.visit(now=NOW)
    send_all(world, visit.events)
    held = invoice(world, visit.invoice_id, *PARTS)
    assert set(held) == INVOICE | {"redemptions", "checkout_channel"}
    assert set(held["invoice_dues"]) == set(held["environmental_fee"]) == AMOUNT
    assert set(held["total_price"]) == TOTAL
    assert set(held["guest"]) == GUEST
    for item in held["invoice_items"]:
        assert set(item) == ITEM
    for appointment in held["appointments"]:
        assert set(appointment) == APPOINTMENT | {"appointment_progress"}
    for transaction in held["transactions"]:
        assert set(transaction) == TRANSACTION


def test_an_invoice_moves_with_its_events() -> None:
    """An invoice is open and unpaid until the closing event was sent; progress is 0, 1, 2 as events say."""
    world = World(1)
    visit = world.visit(now=NOW)
    seen = []
    for event in (None, *visit.events):
        if event is not None:
            world.sent(event)
        held = invoice(world, visit.invoice_id, *PARTS)
        progress = {a["appointment_progress"] for a in held["appointments"]}
        paid = held["invoice_dues"]["balance"] == 0
        seen.append((progress, held["is_closed"], held["lock"], paid, held["transactions"] != []))
    booked = ({0}, False, False, False, False)
    assert seen == [
        booked,
        booked,
        booked,
        ({1}, False, False, False, False),
        ({2}, False, False, False, False),
        ({2}, True, True, True, True),
    ]


def test_an_invoice_never_goes_back() -> None:
    """An event sent late or twice leaves the invoice as far as it was."""
    world = World(1)
    visit = world.visit(now=NOW)
    send_all(world, visit.events)
    before = world.invoice(visit.invoice_id, expand=PARTS)
    send_all(world, visit.events[::-1])
    assert world.invoice(visit.invoice_id, expand=PARTS) == before


def test_visits_move_alone() -> None:
    """Closing one visit leaves the others open."""
    world = World(1)
    visit, other = world.visit(now=NOW), world.visit(now=NOW)
    send_all(world, visit.events)
    assert invoice(world, visit.invoice_id)["is_closed"] is True
    assert invoice(world, other.invoice_id)["is_closed"] is False


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ("InvoiceItems", {"invoice_items"}),
        ("Appointments", {"appointments"}),
        ("Transactions", {"transactions"}),
        ("Redemptions", {"redemptions"}),
        ("gst_parameters", {"gstin"}),
        ("dues_and_fees", {"invoice_dues", "environmental_fee"}),
    ],
)
def test_each_part_alone(part: str, shown: set[str]) -> None:
    """A part is there when asked for, in whatever letter case, and the parts not asked for are null."""
    world = World(1)
    visit = world.visit(now=NOW)
    send_all(world, visit.events)
    expandable = fields("invoice_items appointments transactions redemptions gstin invoice_dues environmental_fee")
    for spelled in (part, part.lower(), part.upper()):
        held = invoice(world, visit.invoice_id, spelled)
        assert {field for field in expandable if held[field] is not None} == shown


def test_unknown_part_and_unknown_invoice() -> None:
    """A part nobody knows is ignored; an invoice nobody knows is None; an id's letter case does not matter."""
    world = World(1)
    visit = world.visit(now=NOW)
    assert invoice(world, visit.invoice_id, "Weather") == invoice(world, visit.invoice_id)
    assert invoice(world, visit.invoice_id.upper()) == invoice(world, visit.invoice_id)
    assert world.invoice("00000000-0000-4000-8000-000000000000", expand=()) is None


def test_event_of_another_world() -> None:
    """An event that this world did not make is refused."""
    with pytest.raises(KeyError):
        World(1).sent(World(2).visit(now=NOW).events[0])


def test_now_needs_a_zone() -> None:
    """A time without a zone is refused, and any zone gives the same visit."""
    with pytest.raises(ValueError, match="time zone"):
        World(1).visit(now=NOW.replace(tzinfo=None))
    moved = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert World(1).visit(now=moved) == World(1).visit(now=NOW)


def test_seed_events() -> None:
    """The two published samples: an enveloped closing with its resource, and a completion that is its own body."""
    world = World(1)
    closed, bare = world.seed_events(now=NOW)
    envelope = read(closed.body)
    assert (envelope["event_resource"], envelope["event_type"]) == ("Invoice", "Invoice.Closed")
    assert envelope["data"]["invoice"]["id"] == closed.invoice_id
    assert [item["type"] for item in envelope["data"]["invoice"]["invoice_items"]] == [0, 2, 3]
    assert len(envelope["data"]["invoice"]["appointments"]) == 1

    body = read(bare.body)
    assert bare.event_id == ""
    assert set(body) == {"invoice_id", "invoice_number", "appointment_group_id", "center_id", "appointments"}
    assert body["invoice_id"] == bare.invoice_id != closed.invoice_id
    assert [a["appointment_progress"] for a in body["appointments"]] == [2]
    assert body["appointments"][0]["equipment_id"] == ""
    assert "TherapistId" in body["appointments"][0]

    send_all(world, (closed, bare))
    assert invoice(world, closed.invoice_id)["is_closed"] is True
    assert invoice(world, bare.invoice_id, "Appointments")["appointments"][0]["appointment_progress"] == 2


def test_times_are_naive_and_consistent() -> None:
    """Times in the data bear no zone; those in the centre are the same moments by the centre's clock."""
    world = World(1)
    for data in (datas(world.visit(now=NOW))[0] for _ in range(20)):
        shifts = set()
        for a in data["appointments"]:
            for end in ("start_time", "end_time"):
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:00", a[end])
                shifts.add(datetime.fromisoformat(a[f"{end}_in_center"]) - datetime.fromisoformat(a[end]))
        assert len(shifts) == 1


def test_nobody_can_be_reached() -> None:
    """Every address is at example.com and every telephone number in the block kept for fiction."""
    world = World(1)
    for _ in range(100):
        visit = world.visit(now=NOW)
        texts = [*strings(invoice(world, visit.invoice_id, *PARTS)), *strings(datas(visit))]
        assert all(re.fullmatch(r"[\w.-]+@example\.com", text) for text in texts if "@" in text)
        assert all(re.fullmatch(r"\+1 555 01\d\d", text) for text in texts if text.startswith("+"))
