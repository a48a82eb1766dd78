"""The `data` of appointment events: started and completed, groups, feedback. Tolerant readings.

Source: https://docs.zenoti.com/reference/appointment-events, …/appointment-group-events, …/appointment-feedback-event
"""

from enum import IntEnum

from msgspec import field

from schemas.fields import Id, Number, Personal, Reading, Time
from schemas.invoice import InvoiceAppointment, InvoiceGuest


class AppointmentProgress(IntEnum):
    """The numbers of `appointment_progress` that are known; the field itself keeps any number."""

    NOT_STARTED = 0
    STARTED = 1
    COMPLETED = 2


class AppointmentGroupStatus(IntEnum):
    """The numbers of `appointment_group_status` that are known; the field itself keeps any number."""

    NO_SHOW = -2
    CANCELLED = -1
    NEW = 0
    CLOSED = 1
    CHECK_IN = 2
    CONFIRMED = 4
    BREAK = 10
    NOT_SPECIFIED = 11
    AVAILABLE = 20
    VOIDED = 21


class Appointment(InvoiceAppointment, frozen=True):
    """One service on the calendar, as events show it. Durations in minutes.

    In group events `start_time`, `end_time`, `creation_date` and `last_updated_on` are UTC without saying so, and those
    in `…_in_center` are the centre's wall clock; none bears a zone.
    """

    start_time_in_center: Time | None = None
    end_time_in_center: Time | None = None
    creation_date: Time | None = None
    last_updated_on: Time | None = None
    show_in_calendar: bool | None = None
    appointment_progress: Number | None = None


class AppointmentsProgressed(Reading, frozen=True):
    """Appointment Started and Completed (https://docs.zenoti.com/reference/appointment-completed).

    Published without an envelope, and with `serviceduration_in_miutes` and `TherapistId`.
    """

    invoice_id: Id | None = None
    invoice_number: str | None = None
    appointment_group_id: Id | None = None
    center_id: Id | None = None
    appointments: tuple[Appointment, ...] | None = None


class AppointmentGroup(Reading, frozen=True):
    """AppointmentGroup.Created, .Updated, .Delete (https://docs.zenoti.com/reference/appointment-group-created).

    A whole snapshot each time. The centre's name is spelled `center_Name`. Where `appointments` is an empty list, the
    group was deleted, and `invoice_id` may be absent.
    """

    invoice_id: Id | None = None
    invoice_number: str | None = None
    invoice_number_prefix: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    appointment_group_id: Id | None = None
    organization_id: Id | None = None
    center_id: Id | None = None
    center_name: str | None = None
    _center_name: str | None = field(default=None, name="center_Name")
    guest: InvoiceGuest | None = None
    appointments: tuple[Appointment, ...] | None = None

    @property
    def is_emptied(self) -> bool:
        """Whether the list of appointments is there and empty: the group was deleted."""
        return self.appointments == ()


class AppointmentGroupChanged(Reading, frozen=True):
    """AppointmentGroup.Status (https://docs.zenoti.com/reference/appointment-group-status).

    `appointment_group_status` is one of `AppointmentGroupStatus` or newer; the two about fees are `"Yes"` or `"No"`;
    `receipt_number` is `"0"` before there is one.
    """

    invoice_id: Id | None = None
    invoice_number: str | None = None
    receipt_number: str | None = None
    appointment_group_id: Id | None = None
    appointment_group_status: Number | None = None
    is_noshowfeerequired: str | bool | None = None
    is_cancellationfeerequired: str | bool | None = None


class Ratings(Reading, frozen=True):
    """What V1 asks for, each in stars."""

    service: Number | None = None
    therapist: Number | None = None
    ambience: Number | None = None
    cleanliness: Number | None = None


class FeedbackTag(Reading, frozen=True):
    """What a guest ticked in V2."""

    id: Number | None = None
    name: str | None = None


class Feedback(Reading, frozen=True):
    """Appointment feedback (https://docs.zenoti.com/reference/feedback-started-feedback-v1 and …-v2).

    `rating_value` is an object in V1 and a number of stars in V2; `version` tells which. It names no invoice, only the
    appointment group. `comments` is what a guest wrote, so it is personal. Ids come in upper case.
    """

    organization_id: Id | None = None
    center_id: Id | None = None
    user_id: Id | None = None
    version: Number | None = None
    appointment_group_id: Id | None = None
    rating_value: Ratings | Number | None = None
    guest_feedback_tags: tuple[FeedbackTag, ...] | None = None
    comments: Personal | None = None
    source: Number | None = None
    recommendation: bool | None = None
    share_feedback: bool | None = None
