"""The simulator's catalogue: every kind of event of the vendor at least once, with its known deviations.

It is pure. Types: https://docs.zenoti.com/reference/webhook-events. Where a type's exact string is unknown
(Appointment.*, Guest.Membership.* except Created, Guest.Package.*, Appointment.Feedback), it is plausible.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from zenoti_ingest.simulator import appointments, classes, people, selling
from zenoti_ingest.simulator.documents import PARTS, as_of
from zenoti_ingest.simulator.invention import Center, Json, Scene


class PlannedEvent(NamedTuple):
    """An event to send: its type, its `data`, the invoice that it names, its schema version, whether it has a time.

    `invoice_id` is empty if `data` names no invoice.
    """

    event_type: str
    data: Json
    invoice_id: str = ""
    schema: str = "v1"
    dated: bool = True


class InvoiceWish(NamedTuple):
    """An invoice to issue: what is bought, what is odd about it, whether it is paid from the beginning, and where.

    `nature` is `plain`, `refund`, `open` (its Invoice.Closed shows it as not closed) or `drifted`.
    """

    basket: str = "visit"
    nature: str = "plain"
    group_invoice_id: str | None = None
    paid: bool = False
    center: Center | None = None  # None: any


Issue = Callable[[InvoiceWish], Json]

# The last word of the type, and the status after it; the numbers of the statuses are invented.
_MEMBERSHIP: Final = {"Created": 1, "Freeze": 2, "Unfreeze": 1, "Cancelled": 3, "Reinstate": 1}
_PACKAGE: Final = {"Creation": 1, "Redemption": 1, "RedemptionReversal": 1}


def everything(scene: Scene, issue: Issue) -> Iterator[PlannedEvent]:
    """Yield all kinds of events in an order in which they could happen.

    Args:
        scene: randomness, time and place.
        issue: makes an invoice that the API knows from then on, and returns it as it will be once paid.
    """
    yield from _visit(scene, issue)
    yield from _deletions(scene, issue)
    yield from _odd_closings(scene, issue)
    yield from _memberships(scene, issue)
    yield from _packages(scene, issue)
    yield from _people(scene)
    yield from _classes(scene)
    yield from _unheard_of(scene, issue)


def closed(invoice: Json) -> Json:
    """The invoice once everything is done and paid."""
    return as_of(invoice, progress=2, closed=True, expand=PARTS)


def visit(invoice: Json, *, scene: Scene) -> Iterator[PlannedEvent]:
    """The five events of a guest's visit, in the order they happen."""
    group = appointments.created(invoice, center=scene.center, organization_id=scene.organization_id)
    events = (
        ("AppointmentGroup.Created", group),
        ("AppointmentGroup.Status", appointments.standing(invoice, status=appointments.CHECKED_IN)),
        ("Appointment.Started", appointments.progressed(invoice, progress=1)),
        ("Appointment.Completed", appointments.progressed(invoice, progress=2)),
        ("Invoice.Closed", selling.closed(closed(invoice))),
    )
    return (PlannedEvent(event_type, data, invoice["id"]) for event_type, data in events)


def _visit(scene: Scene, issue: Issue) -> Iterator[PlannedEvent]:
    invoice = issue(InvoiceWish())
    booked, *rest, paid = visit(invoice, scene=scene)
    yield booked
    moved = appointments.updated(invoice, center=scene.center, organization_id=scene.organization_id)
    yield PlannedEvent("AppointmentGroup.Updated", moved, invoice["id"])
    yield from rest
    yield PlannedEvent("Guestpass.redeemed", selling.guest_pass(invoice, scene=scene), invoice["id"])
    yield paid
    yield PlannedEvent("Invoice.Closed", selling.closed_again(closed(invoice)), invoice["id"])
    for version in (1, 2):
        data = appointments.feedback(invoice, scene=scene, version=version)
        yield PlannedEvent("Appointment.Feedback", data, schema=f"v{version}")


def _deletions(scene: Scene, issue: Issue) -> Iterator[PlannedEvent]:
    # No other event names the deleted group: a late fetch would not find its invoice.
    cancelled, invoice = issue(InvoiceWish()), issue(InvoiceWish())
    status = appointments.standing(cancelled, status=appointments.CANCELLED)
    yield PlannedEvent("AppointmentGroup.Status", status, cancelled["id"])
    yield PlannedEvent("AppointmentGroup.Delete", appointments.deleted(invoice), invoice["id"])
    yield PlannedEvent("AppointmentGroup.Updated", appointments.emptied(scene))


def _odd_closings(scene: Scene, issue: Issue) -> Iterator[PlannedEvent]:
    group = scene.guid()
    for wanted in (
        InvoiceWish("products", "refund"),
        InvoiceWish(group_invoice_id=group),
        InvoiceWish("products", group_invoice_id=group),
    ):
        invoice = issue(wanted)
        yield PlannedEvent("Invoice.Closed", selling.closed(closed(invoice)), invoice["id"])
    invoice = issue(InvoiceWish(nature="open"))
    unpaid = as_of(invoice, progress=2, closed=False, expand=PARTS)
    yield PlannedEvent("Invoice.Closed", selling.closed(unpaid), invoice["id"])
    invoice = issue(InvoiceWish())
    yield PlannedEvent("Appointment.Completed", appointments.progressed_drifted(invoice, progress=2), invoice["id"])
    invoice = issue(InvoiceWish(nature="drifted"))
    yield PlannedEvent("Invoice.Closed", selling.closed_drifted(closed(invoice)), invoice["id"])


def _memberships(scene: Scene, issue: Issue) -> Iterator[PlannedEvent]:
    invoice, membership_id = issue(InvoiceWish("membership", paid=True)), scene.guid()
    for what, status in _MEMBERSHIP.items():
        data = selling.membership(invoice, scene=scene, membership_id=membership_id, state=(what, status))
        yield PlannedEvent(f"Guest.Membership.{what}", data, invoice["id"])


def _packages(scene: Scene, issue: Issue) -> Iterator[PlannedEvent]:
    invoice, package_id = issue(InvoiceWish("package", paid=True)), scene.guid()
    for what, status in _PACKAGE.items():
        data = selling.package(invoice, scene=scene, package_id=package_id, state=(what, status))
        yield PlannedEvent(f"Guest.Package.{what}", data, invoice["id"])
    data = selling.package(invoice, scene=scene, package_id=package_id, state=("Status", -1))
    yield PlannedEvent("Guest.Package.Status", selling.zero_invoice(data))
    data = selling.package(invoice, scene=scene, package_id=package_id, state=("Validity", 1))
    yield PlannedEvent("Guest.Package.Validity", selling.without_invoice(data))


def _people(scene: Scene) -> Iterator[PlannedEvent]:
    guest, employee = people.guest(scene), people.employee(scene)
    yield PlannedEvent("Guest.Created", guest)
    yield PlannedEvent("Guest.Updated", people.guest_changed(guest, scene=scene))
    yield PlannedEvent("Guest.OptedIn", people.opted(guest, into=True))
    yield PlannedEvent("Guest.OptedOut", people.opted(guest, into=False))
    yield PlannedEvent("Guest.Merged", people.guests_merged(guest, scene=scene))
    yield PlannedEvent("Guest.Deleted", people.guest_deleted(guest))
    yield PlannedEvent("Employee.Created", employee)
    yield PlannedEvent("Employee.Updated", people.employee_changed(employee))
    yield PlannedEvent("Employee.Deleted", people.employee_deleted(employee, scene=scene))


def _classes(scene: Scene) -> Iterator[PlannedEvent]:
    schedule = classes.schedule(scene)
    yield PlannedEvent("Class.Schedule.Created", schedule)
    yield PlannedEvent("Class.Schedule.Updated", classes.schedule_moved(schedule, scene=scene))
    for what in classes.BOOKING_STATUS:
        data = classes.booking_became(classes.booking(schedule, scene=scene), what=what)
        yield PlannedEvent(f"Class.Booking.{what}", data)
    yield PlannedEvent("Class.Schedule.Cancelled", classes.schedule_cancelled(schedule, scene=scene))
    yield PlannedEvent("Class.Schedule.Deleted", classes.schedule_deleted(schedule))


def _unheard_of(scene: Scene, issue: Issue) -> Iterator[PlannedEvent]:
    """Types that no page names: with an invoice in either of its two places, and without."""
    invoice = issue(InvoiceWish(paid=True))
    yield PlannedEvent(
        "Loyalty.Points Earned (beta)", {"invoice": {"id": invoice["id"]}, "points": Decimal("12.50")}, invoice["id"]
    )
    shouted = invoice["id"].upper()  # the letter case of ids varies
    yield PlannedEvent("Locker.Opened", {"id": scene.guid(), "invoice_id": shouted, "locker": -1}, shouted)
    yield PlannedEvent(
        "Weather.Changed", {"id": scene.guid(), "invoice_id": "", "center_id": scene.center_id}, dated=False
    )
