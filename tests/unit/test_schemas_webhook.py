import contextlib
import doctest
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import zenoti_schemas
from tests.builders import ZERO_ID, data, json_values, received
from zenoti_ingest.core.events.reading import read as read_webhook
from zenoti_ingest.core.events.routing import normal_type
from zenoti_ingest.simulator.documents import PARTS
from zenoti_ingest.simulator.world import World
from zenoti_schemas.appointment import (
    AppointmentGroup,
    AppointmentGroupChanged,
    AppointmentsProgressed,
    Feedback,
    Ratings,
)
from zenoti_schemas.classes import ClassBooking, ClassSchedule
from zenoti_schemas.fields import Unreadable, personal
from zenoti_schemas.guest import Employee, Guest
from zenoti_schemas.invoice import InvoiceAnswer, Phone
from zenoti_schemas.invoice import read as read_invoice
from zenoti_schemas.membership import GuestpassRedeemed, Membership
from zenoti_schemas.package import Package
from zenoti_schemas.webhook import EVENTS, InvoiceClosed, read

ID = "1b7d2c4e-8A35-4f60-b1c9-5d2e0b7a0001"
NO_TIME = "0001-01-01T00:00:00"


def reading(event_type: str, **fields: Any) -> Any:
    """What `data` of these fields reads as."""
    return read(event_type, json.dumps(fields).encode())


def shapes(info: Any) -> Iterator[type[msgspec.Struct]]:
    """The shapes in a type."""
    match info:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            yield cls
            for field in fields:
                yield from shapes(field.type)
        case msgspec.inspect.UnionType(types=types):
            for kind in types:
                yield from shapes(kind)
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.Metadata(type=item):
            yield from shapes(item)


ALL = sorted(
    {shape for info in msgspec.inspect.multi_type_info(set(EVENTS.values())) for shape in shapes(info)},
    key=lambda cls: cls.__name__,
)
KEYS = sorted({key for cls in ALL for key in cls.__struct_encode_fields__})
numbers = st.sampled_from(["1e999999", "1.0", "0.1", "1e400", "-1", "9" * 40]).map(lambda text: f"#{text}#")
documents: st.SearchStrategy[Any] = st.recursive(
    json_values | numbers | st.sampled_from(["NaN", "", NO_TIME, ZERO_ID]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=10,
)


def written(document: Any) -> bytes:
    """JSON, with numbers that Python would not write so."""
    return json.dumps(document).replace('"#', "").replace('#"', "").encode()


def floats(value: Any) -> bool:
    """Whether a float stands anywhere in it."""
    if isinstance(value, msgspec.Struct):
        return any(floats(getattr(value, name)) for name in value.__struct_fields__)
    return any(map(floats, value)) if isinstance(value, tuple) else isinstance(value, (float, list, dict))


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(EVENTS)), document=documents)
@example(kind="invoice.closed", document={"invoice": {"additional_fields": [{"value": 0.1}], "redemptions": [0.1]}})
@example(kind="appointment.feedback", document={"rating_value": 3.5})
@example(kind="class.schedule.created", document={"recurrence_session_ids": ["#1.5#", "#2.0#"], "weekdays": [0.5]})
def test_read_raises_one_error_and_makes_no_float(kind: str, document: Any) -> None:
    """Whatever JSON comes, it is read without a float in it, or Unreadable is raised with a path of known names."""
    try:
        found = read(kind, written(document))
    except Unreadable as error:
        place = error.place
    else:
        assert not floats(found)
        return
    steps = place.replace("[", ".").split(".")
    assert steps[0] == "$"
    assert all(step in KEYS or step.rstrip("]").isdigit() for step in steps[1:])


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(sorted(EVENTS)) | st.text(max_size=20), body=st.binary(max_size=40))
def test_any_bytes_are_read_or_unreadable(kind: str, body: bytes) -> None:
    """No bytes under any type raise anything but Unreadable."""
    with contextlib.suppress(Unreadable):
        read(kind, body)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_field_is_optional(cls: type[msgspec.Struct]) -> None:
    """Each shape reads `{}` and a null in every field, says what it is, and has no field that could hold a float."""
    msgspec.json.decode(b"{}", type=cls)
    msgspec.json.decode(json.dumps(dict.fromkeys(cls.__struct_encode_fields__)), type=cls)
    assert cls.__doc__
    assert all(hasattr(cls, name.strip("_")) for name in cls.__struct_fields__)
    kinds = str(msgspec.inspect.type_info(cls))
    assert "FloatType" not in kinds
    assert "AnyType" not in kinds.replace("RawType", "")


@pytest.mark.parametrize("kind", EVENTS)
def test_types_are_normal(kind: str) -> None:
    """Every type is spelled as in the routing key, and is read in any letter case."""
    assert normal_type(kind) == kind
    assert type(read(f" {kind.upper()} ", b'{"newer": 0.1}')) is EVENTS[kind]


def test_unknown_types_are_bytes() -> None:
    """An event of a type that nobody knows is its bytes."""
    assert bytes(reading("Invoice.Voided", total=0.1).data) == b'{"total": 0.1}'


def test_seeds() -> None:
    """Both published samples, repaired, are read whole."""
    whole = json.loads(data("invoice_closed.json"))["data"]
    closed = read("Invoice.Closed", json.dumps(whole).encode())
    assert isinstance(closed, InvoiceClosed)
    assert closed.invoice
    assert closed.invoice.invoice_items
    assert [item.quantity for item in closed.invoice.invoice_items] == [1, 1, 1]
    completed = read("appointment.completed", data("appointment_completed.json"))
    assert isinstance(completed, AppointmentsProgressed)
    assert completed.appointments
    assert (completed.appointments[0].service_duration_in_minutes, completed.appointments[0].equipment_id) == (60, "")


def test_refund_and_group_invoice() -> None:
    """A refund with negative totals, an invoice that is not closed, and a group invoice are read as they are."""
    invoice = reading(
        "invoice.closed",
        invoice={
            "is_refund": True, "is_closed": False, "group_invoice_id": ID, "total_price": {"sum_total": -488.1},
        },
    ).invoice  # fmt: skip
    assert (invoice.is_refund, invoice.is_closed, invoice.group_invoice_id) == (True, False, ID)
    assert invoice.total_price.sum_total == Decimal("-488.1")


def test_appointment_groups() -> None:
    """A group is read with its centre's name in both spellings; an empty list says that it was deleted."""
    group = reading("AppointmentGroup.Updated", center_Name="Quay", guest={"email": "a@example.com"}, appointments=[])
    assert isinstance(group, AppointmentGroup)
    assert (group.center_name, group.is_emptied) == ("Quay", True)
    assert group == reading(
        "appointmentgroup.delete", center_name="Quay", guest={"guest_email": "a@example.com"}, appointments=[]
    )
    assert not reading("AppointmentGroup.Created", appointments=[{"therapist_id": ID}]).is_emptied
    changed = reading("AppointmentGroup.Status", appointment_group_status=77, is_noshowfeerequired="Yes")
    assert isinstance(changed, AppointmentGroupChanged)
    assert (changed.appointment_group_status, changed.is_noshowfeerequired) == (77, "Yes")


@pytest.mark.parametrize(("value", "expected"), [({"service": 3}, Ratings(service=3)), (3, 3), (4.5, Decimal("4.5"))])
def test_feedback(value: object, expected: object) -> None:
    """A rating is an object in V1 and a number in V2."""
    found = reading("Appointment.Feedback", rating_value=value, version=2, guest_feedback_tags=[{"id": 1, "name": "t"}])
    assert isinstance(found, Feedback)
    assert (found.rating_value, type(found.rating_value)) == (expected, type(expected))


@pytest.mark.parametrize("phone", [None, {"country_code": 225, "number": "555"}, {"number": 5550142}, "+1 555 0142"])
@pytest.mark.parametrize("kind", ["guest.merged", "employee.updated"])
def test_guests_and_employees(kind: str, phone: Any) -> None:
    """Telephones are null, objects or text; a birthday is read in both spellings, and no date stays as it came."""
    info = reading(kind, id=ID, personal_info={"mobile_phone": phone, "birth_date": NO_TIME}).personal_info
    assert info.mobile_phone == (Phone(**phone) if isinstance(phone, dict) else phone)
    assert info == reading(kind, personal_info={"mobile_phone": phone, "date_of_birth": NO_TIME}).personal_info
    assert info.date_of_birth == NO_TIME


def test_guests() -> None:
    """The numeric `_id` beside the id, and the vendor's spelling of a preference, are read."""
    guest = reading("Guest.OptedIn", id=ID, _id=683768, preferences={"recieve_lp_stmt": True})
    assert isinstance(guest, Guest)
    assert (guest.number, guest.preferences and guest.preferences.receive_lp_stmt) == (683768, True)
    job = reading("Employee.Created", job_info={"salary": 10.1, "is_elgible_for_additional_commision_bonus": False})
    assert isinstance(job, Employee)
    assert job.job_info
    assert (job.job_info.salary, job.job_info.is_eligible_for_additional_commission_bonus) == (Decimal("10.1"), False)


def test_memberships() -> None:
    """A membership names its invoice in its own words; misspelled balances are read; no recurrence is -1."""
    found = reading(
        "Guest.Membership.Created",
        invoice={"id": ID, "no": "B1", "receipt_no": "R1"},
        recurrence_status=-1,
        members=[{"id": ID, "name": "Ada Example (Primary)"}],
        membership={"T&C": None, "OTP_required": False, "is_dicount_only_membership": True},
        service_balance=[{"frequncy": "Any", "transfered": 1.0}],
        sold_by={"id": None, "name": None},
    )
    assert isinstance(found, Membership)
    assert (found.invoice and found.invoice.invoice_number, found.recurrence_status) == ("B1", -1)
    assert (found.membership and found.membership.otp_required) is False
    assert found.service_balance
    assert (found.service_balance[0].frequency, found.service_balance[0].transferred) == ("Any", 1)
    assert reading("Guest.Membership.Freeze", freeze={"fee": 20}).freeze.fee == 20
    assert reading("Guest.Membership.Cancelled", cancel={"reason": "r"}).cancel.reason == "r"


def test_guestpasses_and_packages() -> None:
    """Counts are numbers, amounts exact, and a time with a space stays as it came."""
    redeemed = reading("Guestpass.redeemed", invoice_id=ID, session_id=81285, total=55.0)
    assert isinstance(redeemed, GuestpassRedeemed)
    assert (redeemed.session_id, redeemed.total) == (81285, 55)
    when = "2031-03-01 20:00:00.000"
    package = reading(
        "Guest.Package.Redemption",
        sale_invoice={"id": None, "no": None},
        services=[{"balance_amount": 51.72, "price": None}, {"price": {"final": 1.1}}, {"price": 2.2}],
        service_redemptions=[{"usage_date": when}],
    )
    assert isinstance(package, Package)
    assert package.services
    assert package.services[0].balance_amount == Decimal("51.72")
    assert package.services[2].price == Decimal("2.2")
    assert package.service_redemptions
    assert package.service_redemptions[0].usage_date == when


def test_classes() -> None:
    """A session is read in both spellings; guests who are brought along have telephones of numbers."""
    schedule = reading("Class.Schedule.Created", sesion_id=89604, show_in_catalog=1, duration_in_mins=30, event_id=-1)
    assert isinstance(schedule, ClassSchedule)
    assert (schedule.session_id, schedule.show_in_catalog, schedule.duration_in_minutes) == (89604, 1, 30)
    booking = reading(
        "Class.Booking.NoShow",
        track_id=-1,
        waitlist=None,
        training_virtual_guests=[{"mobile_phone": {"country_code": 91, "number": 5550142}}],
        recurrence_registration_ids=[1, 2.0],
    )
    assert isinstance(booking, ClassBooking)
    assert booking.recurrence_registration_ids == (1, 2)
    assert booking.training_virtual_guests
    assert booking.training_virtual_guests[0].mobile_phone == Phone(country_code=91, number=5550142)


def test_personal_fields_of_every_event() -> None:
    """Names, addresses and telephones are marked in every shape that has them."""
    names = {
        "first_name",
        "last_name",
        "email",
        "guest_email",
        "mobile_phone",
        "zip_code",
        "therapist_name",
        "comments",
    }
    for cls in ALL:
        own = {key for key in personal(cls) if "." not in key}
        assert names.intersection(cls.__struct_encode_fields__) <= own, cls


@pytest.mark.parametrize("seed", range(5))
def test_what_the_simulator_sends_is_read(seed: int) -> None:
    """Every event and every invoice of the simulator, with all its parts, is read by its type, sums exactly."""
    world = World(seed)
    visit = world.visit(now=datetime(2031, 5, 6, 8, tzinfo=UTC))
    now = datetime(2031, 5, 6, 8, tzinfo=UTC)
    unheard_of = set()
    for event in (*visit.events, *world.seed_events(now=now), *world.catalogue(now=now)):
        found = read_webhook(received(body=event.body))
        assert (found.type, found.invoice_id or "") == (normal_type(event.event_type), event.invoice_id)
        world.sent(event)
        unheard_of |= {found.type} - EVENTS.keys()
    assert not {kind for kind in unheard_of if kind.partition(".")[0] in {known.partition(".")[0] for known in EVENTS}}
    answer = world.invoice(visit.invoice_id, expand=PARTS)
    assert answer is not None
    invoice = read_invoice(bytes(msgspec.json.decode(answer, type=InvoiceAnswer).invoice))
    assert invoice.invoice_items
    assert invoice.total_price
    finals = [item.price.final for item in invoice.invoice_items if item.price and item.price.final]
    assert sum(finals) == invoice.total_price.sum_total


def test_the_example_runs() -> None:
    """The example in the package's docstring does what it says."""
    assert doctest.testmod(zenoti_schemas).attempted > 5
    assert doctest.testmod(zenoti_schemas).failed == 0
