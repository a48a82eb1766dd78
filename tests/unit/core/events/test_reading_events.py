from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import INVOICE_ID, ZERO_ID, envelope_body, json_values, received
from zenoti_ingest.core.events.reading import Event, read
from zenoti_ingest.core.failures.errors import Malformed
from zenoti_schemas.webhook import EVENTS

IN_INVOICE = {"invoice": {"id": INVOICE_ID}}
BESIDE = {"invoice_id": INVOICE_ID}
GROUP = {"appointment_group_id": "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0002"}
PERSON = {"id": "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0004", "personal_info": {"mobile_phone": None}}
SCHEDULE = {"sesion_id": 1, "start_time": "2031-05-06T08:00:00"}
BOOKING = {"class_id": 1, "registration_id": 2, "group_invoice_id": INVOICE_ID}
# The table of events: type as Zenoti spells it (or is likely to), data, and whether an invoice is named in it.
TABLE: list[tuple[str, dict[str, Any], bool]] = [
    ("Invoice.Closed", IN_INVOICE, True),
    ("Appointment.Started", BESIDE | {"appointments": [{"TherapistId": "t"}]}, True),
    ("Appointment.Completed", BESIDE | {"appointments": [{"appointment_progress": 2}]}, True),
    *((f"AppointmentGroup.{word}", BESIDE | {"appointments": [{}]}, True) for word in ("Created", "Updated", "Delete")),
    ("AppointmentGroup.Status", BESIDE | {"appointment_group_status": 2}, True),
    ("AppointmentGroup.Delete", GROUP | {"appointments": []}, False),
    ("AppointmentGroup.Updated", GROUP | {"appointments": [], "invoice_id": ZERO_ID}, False),
    ("Guestpass.redeemed", BESIDE | {"session_id": 1}, True),
    *(
        (f"Guest.Membership.{word}", IN_INVOICE | {"status": 1}, True)
        for word in ("Created", "Freeze", "Unfreeze", "Cancelled", "Reinstate")
    ),
    ("Guest.Membership.Freeze", {"freeze": {"fee": 20}}, False),
    *(
        (f"Guest.Package.{word}", IN_INVOICE | {"user_package_state": 2}, True)
        for word in ("Creation", "Redemption", "RedemptionReversal", "Status", "Validity")
    ),
    ("Guest.Package.Validity", {"sale_invoice": {"id": None, "no": None}}, False),
    ("Appointment.Feedback", GROUP | {"version": 1, "rating_value": {"service": 3}}, False),
    ("Appointment.Feedback", GROUP | {"version": 2, "rating_value": 3}, False),
    *(
        (f"Guest.{word}", PERSON, False)
        for word in ("Created", "Updated", "Deleted", "Merged", "OptedIn", "OptedOut")
    ),
    *((f"Employee.{word}", PERSON, False) for word in ("Created", "Updated", "Deleted")),
    *((f"Class.Schedule.{word}", SCHEDULE, False) for word in ("Created", "Updated", "Cancelled", "Deleted")),
    *(
        (f"Class.Booking.{word}", BOOKING, False)
        for word in ("Created", "Cancelled", "Deleted", "NoShow", "Approved", "Rejected")
    ),
]  # fmt: skip
ROWS = [pytest.param(*row, id=f"{row[0]}{'' if row[2] else ' without an invoice'}") for row in TABLE]


@pytest.mark.parametrize("case", [str, str.upper, str.lower], ids=["as published", "upper case", "lower case"])
@pytest.mark.parametrize(("event_type", "data", "named"), ROWS)
def test_enveloped(event_type: str, data: dict[str, Any], named: bool, case: Any) -> None:  # noqa: FBT001  # a table's column
    """Every event of the table is recognised by its type in any letter case; if it names an invoice, that is found."""
    found = read(received(body=envelope_body(event_type=case(event_type), data=data)))
    assert (found.type, found.invoice_id) == (event_type.lower(), INVOICE_ID if named else None)
    assert found.type in EVENTS


@pytest.mark.parametrize(("event_type", "data", "named"), ROWS)
def test_bare(event_type: str, data: dict[str, Any], named: bool) -> None:  # noqa: FBT001  # a table's column
    """Every event of the table is recognised by the type in the path if its body is bare, and its invoice is found."""
    found = read(received(body=msgspec.json.encode(data), path_type=event_type))
    assert (found.type, found.invoice_id) == (event_type.lower(), INVOICE_ID if named else None)
    assert found.event_id is None


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("Invoice.Closed", {"invoice": {"total_price": {"tax": ["x"]}}}),
        ("Invoice.Closed", {"invoice": {"invoice_items": [{}, {"quantity": "x"}]}}),
        ("Invoice.Closed", {"invoice": {"guest": {"guest_email": {"x": 1}}}}),
        ("Invoice.Closed", {"invoice": []}),
        ("APPOINTMENT.STARTED", {"appointments": [{"TherapistId": 5}]}),
        ("AppointmentGroup.Status", {"appointment_group_status": "x"}),
        ("AppointmentGroup.Delete", {"appointments": "x"}),
        ("Guestpass.redeemed", {"session_id": True}),
        ("Guest.Membership.Created", {"membership": {"OTP_required": "x"}}),
        ("Guest.Package.Creation", {"date": "x"}),
        ("Appointment.Feedback", {"rating_value": ["x"]}),
        ("Guest.Merged", {"personal_info": {"mobile_phone": 5}}),
        ("Employee.Updated", {"job_info": {"salary": "x"}}),
        ("Class.Schedule.Updated", {"center_id": 5}),
        ("Class.Booking.Approved", {"training_virtual_guests": {}}),
        ("Invoice.Voided", {"invoice": [], "appointments": "x", "total_price": {"tax": []}}),
        (None, {"invoice": [], "appointments": "x", "total_price": {"tax": []}}),
    ],
)
@pytest.mark.parametrize("enveloped", [True, False], ids=["envelope", "bare"])
def test_no_type_of_a_field_stops_an_event(event_type: str | None, data: dict[str, Any], enveloped: bool) -> None:  # noqa: FBT001  # a table's column
    """A field of another type than documented changes nothing: the event has its type and leaves as it came."""
    body = envelope_body(event_type=event_type, data=data) if enveloped else msgspec.json.encode(data)
    found = read(received(body=body, path_type=event_type or ""))
    assert (found.type, found.body) == (event_type.lower() if event_type else "unknown", body)


@pytest.mark.parametrize("number", ["1e999999", '"NaN"', "9" * 40])
def test_numbers_out_of_bounds(number: str) -> None:
    """A number that no amount of money can be stops no event either."""
    body = b'{"event_type": "Invoice.Closed", "data": {"invoice": {"total_price": {"tax": %s}}}}' % number.encode()
    assert read(received(body=body)).body == body


def test_drift_passes() -> None:
    """Unknown fields, null fields, both spellings and newer numbers stop no event; its bytes go on as they came."""
    body = envelope_body(
        data={
            "newer": 0.1,
            "invoice": {
                "id": INVOICE_ID, "guest": None, "newer": [1e300], "invoice_items": [{"type": 99, "quantity": 1.0}],
                "appointments": [{"therapist_id": "a", "TherapistId": "b"}],
                "transactions": [{"cash_regester_id": None, "payment_date": "2031-05-06 08:00:00.1234567"}],
            },
        }
    )  # fmt: skip
    assert read(received(body=body)).body == body


@settings(max_examples=150, deadline=None)
@given(
    event_type=st.sampled_from([row[0] for row in TABLE]), data=json_values, key=st.sampled_from(["invoice", "", "id"])
)
@example(event_type="Invoice.Closed", data=1e300, key="invoice")
def test_known_types_are_events_or_malformed(event_type: str, data: Any, key: str) -> None:
    """Whatever stands in a known event, it is understood or Malformed, and Malformed knows the type."""
    try:
        found = read(received(body=envelope_body(event_type=event_type, data={key: data} if key else data)))
    except Malformed as error:
        kind = error.identity.event_type
    else:
        assert isinstance(found, Event)
        kind = found.type
    assert kind == event_type.lower()


@pytest.mark.parametrize("value", [5.5, "a/b"], ids=repr)
@pytest.mark.parametrize("place", ["invoice.id", "invoice_id"])
def test_an_unusable_invoice_id_is_reported_by_its_path(place: str, value: object) -> None:
    """An unusable invoice id is reported by its whole path, in unknown events too."""
    data = {"invoice": {"id": value}} if place == "invoice.id" else {"invoice_id": value}
    with pytest.raises(Malformed) as enveloped:
        read(received(body=envelope_body(event_type="A.B", data=data)))
    with pytest.raises(Malformed) as bare:
        read(received(body=msgspec.json.encode(data)))
    assert str(enveloped.value).endswith(f" at $.data.{place}")
    assert str(bare.value).endswith(f" at $.{place}")
