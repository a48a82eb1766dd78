"""The `data` of appointment events: started and completed, groups, feedback. Tolerant readings.

Source: https://docs.zenoti.com/reference/appointment-events, …/appointment-group-events, …/appointment-feedback-event
"""

from enum import IntEnum

from msgspec import field

from zenoti_schemas.fields import Id, Maybe, Number, Personal, Reading, Time
from zenoti_schemas.invoice import InvoiceAppointment, InvoiceGuest


class AppointmentProgress(IntEnum):
    """The numbers of `appointment_progress` that are known; the field keeps any number."""

    NOT_STARTED = 0
    STARTED = 1
    COMPLETED = 2


class AppointmentGroupStatus(IntEnum):
    """The numbers of `appointment_group_status` that are known; the field keeps any number."""

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
    """A service on the calendar, as events show it. Durations in minutes.

    In group events `start_time`, `end_time`, `creation_date` and `last_updated_on` are UTC, and the times in
    `…_in_center` are the centre's local time; none has a zone.
    """

    start_time_in_center: Maybe[Time] = None
    end_time_in_center: Maybe[Time] = None
    creation_date: Maybe[Time] = None
    last_updated_on: Maybe[Time] = None
    show_in_calendar: Maybe[bool] = None
    appointment_progress: Maybe[Number] = None


class AppointmentsProgressed(Reading, frozen=True):
    """Appointment Started and Completed (https://docs.zenoti.com/reference/appointment-completed).

    Published without an envelope, and with `serviceduration_in_miutes` and `TherapistId`.
    """

    invoice_id: Maybe[Id] = None
    invoice_number: Maybe[str] = None
    appointment_group_id: Maybe[Id] = None
    center_id: Maybe[Id] = None
    appointments: Maybe[tuple[Appointment, ...]] = None


class AppointmentGroup(Reading, frozen=True):
    """AppointmentGroup.Created, .Updated, .Delete (https://docs.zenoti.com/reference/appointment-group-created).

    Each is a complete snapshot. The centre's name is spelled `center_Name`. If `appointments` is an empty list, the
    group was deleted, and `invoice_id` may be absent.
    """

    invoice_id: Maybe[Id] = None
    invoice_number: Maybe[str] = None
    invoice_number_prefix: Maybe[str] = None
    utm_source: Maybe[str] = None
    utm_medium: Maybe[str] = None
    appointment_group_id: Maybe[Id] = None
    organization_id: Maybe[Id] = None
    center_id: Maybe[Id] = None
    center_name: Maybe[str] = None
    _center_name: Maybe[str] = field(default=None, name="center_Name")
    guest: Maybe[InvoiceGuest] = None
    appointments: Maybe[tuple[Appointment, ...]] = None

    @property
    def is_emptied(self) -> bool:
        """Whether the list of appointments is present and empty: the group was deleted."""
        return self.appointments == ()


class AppointmentGroupChanged(Reading, frozen=True):
    """AppointmentGroup.Status (https://docs.zenoti.com/reference/appointment-group-status).

    `appointment_group_status` is in `AppointmentGroupStatus` or newer; both fields about fees are `"Yes"` or `"No"`;
    `receipt_number` is `"0"` before there is a receipt.
    """

    invoice_id: Maybe[Id] = None
    invoice_number: Maybe[str] = None
    receipt_number: Maybe[str] = None
    appointment_group_id: Maybe[Id] = None
    appointment_group_status: Maybe[Number] = None
    is_noshowfeerequired: Maybe[str | bool] = None
    is_cancellationfeerequired: Maybe[str | bool] = None


class Ratings(Reading, frozen=True):
    """The ratings of V1, in stars."""

    service: Maybe[Number] = None
    therapist: Maybe[Number] = None
    ambience: Maybe[Number] = None
    cleanliness: Maybe[Number] = None


class FeedbackTag(Reading, frozen=True):
    """A tag that a guest selected in V2."""

    id: Maybe[Number] = None
    name: Maybe[str] = None


class Feedback(Reading, frozen=True):
    """Appointment feedback (https://docs.zenoti.com/reference/feedback-started-feedback-v1 and …-v2).

    `rating_value` is an object in V1 and a number of stars in V2; `version` shows which. It names no invoice, only the
    appointment group. `comments` is the guest's text, so it is personal. Ids come in upper case.
    """

    organization_id: Maybe[Id] = None
    center_id: Maybe[Id] = None
    user_id: Maybe[Id] = None
    version: Maybe[Number] = None
    appointment_group_id: Maybe[Id] = None
    rating_value: Maybe[Ratings | Number] = None
    guest_feedback_tags: Maybe[tuple[FeedbackTag, ...]] = None
    comments: Maybe[Personal] = None
    source: Maybe[Number] = None
    recommendation: Maybe[bool] = None
    share_feedback: Maybe[bool] = None
