"""The `data` of class events: schedules and bookings. Tolerant readings.

Source: https://docs.zenoti.com/reference/classes-schedule-events, …/classes-booking-events
"""

from typing import Annotated

from msgspec import UNSET, field

from schemas.fields import PERSONAL, Id, Number, Personal, Reading, Switch, Time, Unread
from schemas.invoice import Phone


class ClassSchedule(Reading, frozen=True):
    """Class.Schedule.Created, .Updated, .Cancelled, .Deleted (https://docs.zenoti.com/reference/schedule-created).

    The session is spelled `sesion_id` and is a number; times are naive; `show_in_catalog` is 1; the duration is
    `duration_in_mins`; `event_id` is -1 or null and has nothing to do with the envelope's.
    """

    session_id: Number | None = None
    _session_id: Number | None = field(default=None, name="sesion_id")
    center_id: Id | None = None
    class_name: str | None = None
    start_time: Time | None = None
    end_time: Time | None = None
    duration_in_minutes: Number | None = None
    _duration_in_minutes: Number | None = field(default=None, name="duration_in_mins")
    room_id: Id | int | None = None
    capacity: Number | None = None
    web_capacity: Number | None = None
    show_in_catalog: Switch | None = None
    is_free_session: Switch | None = None
    description: str | None = None
    html_description: str | None = None
    is_recurring: Switch | None = None
    recurrence_start_time: Time | None = None
    recurrence_end_time: Time | None = None
    recurrence_id: Number | None = None
    recurrence_session_ids: tuple[Number, ...] | None = None
    num_occurrences: Number | None = None
    _num_occurrences: Number | None = field(default=None, name="num_occurences")
    class_type: Number | None = None
    code: str | int | None = None
    event_id: Number | None = None
    student_virtual_link: str | None = None
    instructor_virtual_link: str | None = None
    instructor_details_list: Unread = UNSET
    recurrence_type: Unread = UNSET
    frequency: Unread = UNSET
    weekdays: Unread = UNSET


class VirtualGuest(Reading, frozen=True):
    """Somebody whom a guest brings along; the telephone's number is a number here."""

    guest_id: Id | None = None
    registration_id: Number | None = None
    first_name: Personal | None = None
    last_name: Personal | None = None
    email: Personal | None = None
    mobile_phone: Personal | Phone | None = None
    gender: Annotated[Number, PERSONAL] | None = None


class ClassBooking(Reading, frozen=True):
    """Class.Booking.Created, .Cancelled, .Deleted, .NoShow, .Approved, .Rejected.

    https://docs.zenoti.com/reference/booking-created. Ids of classes and registrations are numbers, -1 stands for none;
    those of guests and centres are text, in any letter case, and not always valid GUIDs.
    """

    workshop_id: Number | None = None
    track_id: Number | None = None
    class_id: Number | None = None
    session_id: Number | None = None
    _session_id: Number | None = field(default=None, name="sesion_id")
    registration_id: Number | None = None
    guest_id: Id | None = None
    center_id: Id | None = None
    group_invoice_id: Id | None = None
    add_to_all: Switch | None = None
    waitlist: Switch | None = None
    booking_source: Number | None = None
    is_recurring: Switch | None = None
    recurrence_id: Number | None = None
    recurrence_registration_ids: tuple[Number, ...] | None = None
    training_virtual_guests: tuple[VirtualGuest, ...] | None = None
    guest_registration_ids: Unread = UNSET
