"""What Zenoti posts: the envelope of every webhook event, and the shape of its `data`. Tolerant readings.

Source: https://docs.zenoti.com/reference/webhook-events
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import msgspec

from zenoti_schemas.appointment import AppointmentGroup, AppointmentGroupChanged, AppointmentsProgressed, Feedback
from zenoti_schemas.classes import ClassBooking, ClassSchedule
from zenoti_schemas.fields import Maybe, Reading, decode
from zenoti_schemas.guest import Employee, Guest
from zenoti_schemas.invoice import InvoiceDocument
from zenoti_schemas.membership import GuestpassRedeemed, Membership
from zenoti_schemas.package import Package


class Envelope(msgspec.Struct, frozen=True):
    """The outer object of a webhook body; a bare body (only the inner object) reads as an empty envelope.

    `event_id` identifies the event, `id` the delivery. `event_type` comes in any letter case. `event_timestamp` is UTC
    with up to seven fractional digits, so it stays text. `event_resource` is null in newer events: never route by it.
    `data` stays undecoded, byte for byte.
    """

    id: Any = None
    event_id: Maybe[str] = None
    event_schema: Any = None
    event_resource: Any = None
    event_type: Maybe[str] = None
    event_timestamp: Maybe[str] = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class InvoiceClosed(Reading, frozen=True):
    """Invoice.Closed (https://docs.zenoti.com/reference/sample-events).

    It can arrive with `is_closed` false, for a refund with negative totals, and again for the same invoice.
    """

    invoice: Maybe[InvoiceDocument] = None


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a type that is not in `EVENTS`: its `data` as bytes."""

    data: msgspec.Raw


def _every(shape: type[Reading], *patterns: str) -> dict[str, type[Reading]]:
    """The shape by event type; `a.b|c` stands for `a.b` and `a.c`."""
    split = [pattern.rpartition(".") for pattern in patterns]
    return {f"{head}.{word}": shape for head, _, words in split for word in words.split("|")}


# The pages give the exact strings of Invoice.Closed, AppointmentGroup.Created and .Status, Guest.Created, .Updated and
# .Deleted, Guest.Membership.Created, Guestpass.redeemed, Employee.*, Class.Schedule.*, Class.Booking.Created,
# .Cancelled, .Deleted and .NoShow; integrators report AppointmentGroup.Updated and .Delete. All others are published
# without an envelope or not at all; for those, every plausible spelling is listed, the most likely first.
EVENTS: Final[Mapping[str, type[Reading]]] = MappingProxyType(
    _every(InvoiceClosed, "invoice.closed")
    | _every(AppointmentsProgressed, "appointment.started|completed", "appointments.started|completed")
    | _every(AppointmentGroup, "appointmentgroup.created|updated|delete|deleted")
    | _every(AppointmentGroupChanged, "appointmentgroup.status|statusupdated|statusupdate")
    | _every(Feedback, "appointment.feedback|feedbackcreated|feedbackstarted", "appointment.feedback.created|started")
    | _every(Feedback, "appointment.feedback.v1|v2", "appointmentfeedback.created|started", "feedback.created|started")
    | _every(GuestpassRedeemed, "guestpass.redeemed", "guest.guestpass.redeemed")
    | _every(Membership, "guest.membership.created|freeze|frozen|unfreeze|unfrozen")
    | _every(Membership, "guest.membership.cancelled|canceled|cancel|reinstate|reinstated")
    | _every(Package, "guest.package.creation|created|redemption|redeemed", "guestpackage.creation|created")
    | _every(Package, "guest.package.redemptionreversal|reversal", "guest.package.redemption.reversal|reversed")
    | _every(Package, "guest.package.status|statusupdate|statusupdated|validity|validityupdate|validityupdated")
    | _every(Package, "guest.package.status.update|updated", "guest.package.validity.update|updated")
    | _every(Package, "guestpackage.redemption|redeemed|redemptionreversal|status|statusupdate|validity|validityupdate")
    | _every(Guest, "guest.created|updated|deleted|merged|optedin|optedout", "guest.communication.optedin|optedout")
    | _every(Employee, "employee.created|updated|deleted")
    | _every(ClassSchedule, "class.schedule.created|updated|cancelled|canceled|deleted")
    | _every(ClassBooking, "class.booking.created|cancelled|canceled|deleted|noshow|no-show|approved|rejected")
)

_decoder: Final = cache(msgspec.json.Decoder[Reading])  # made when first needed: a service that only routes needs none
_anything: Final = msgspec.json.Decoder(msgspec.Raw)


def read(event_type: str, data: bytes) -> Reading | UnknownEvent:
    """Read the `data` of an event (of a bare body: the whole) by its type, in any letter case.

    Raises:
        Unreadable: it is not a JSON object, or a known field has an impossible value.
    """
    shape = EVENTS.get(event_type.strip().lower())
    return UnknownEvent(decode(_anything, data)) if shape is None else decode(_decoder(shape), data)
