"""The `data` of class events: schedules and bookings. Tolerant readings.

Source: https://docs.zenoti.com/reference/classes-schedule-events, …/classes-booking-events
"""

from typing import Annotated

from msgspec import UNSET, field

from zenoti_schemas.fields import PERSONAL, Id, Maybe, Number, Personal, Reading, Switch, Time, Unread
from zenoti_schemas.invoice import Phone


class ClassSchedule(Reading, frozen=True):
    """Class.Schedule.Created, .Updated, .Cancelled, .Deleted (https://docs.zenoti.com/reference/schedule-created).

    The session is spelled `sesion_id` and is a number; times have no zone; `show_in_catalog` is 1; the duration is
    `duration_in_mins`; `event_id` is -1 or null and is not the envelope's `event_id`.
    """

    session_id: Maybe[Number] = None
    _session_id: Maybe[Number] = field(default=None, name="sesion_id")
    center_id: Maybe[Id] = None
    class_name: Maybe[str] = None
    start_time: Maybe[Time] = None
    end_time: Maybe[Time] = None
    duration_in_minutes: Maybe[Number] = None
    _duration_in_minutes: Maybe[Number] = field(default=None, name="duration_in_mins")
    room_id: Maybe[Id | int] = None
    capacity: Maybe[Number] = None
    web_capacity: Maybe[Number] = None
    show_in_catalog: Maybe[Switch] = None
    is_free_session: Maybe[Switch] = None
    description: Maybe[str] = None
    html_description: Maybe[str] = None
    is_recurring: Maybe[Switch] = None
    recurrence_start_time: Maybe[Time] = None
    recurrence_end_time: Maybe[Time] = None
    recurrence_id: Maybe[Number] = None
    recurrence_session_ids: Maybe[tuple[Number, ...]] = None
    num_occurrences: Maybe[Number] = None
    _num_occurrences: Maybe[Number] = field(default=None, name="num_occurences")
    class_type: Maybe[Number] = None
    code: Maybe[str | int] = None
    event_id: Maybe[Number] = None
    student_virtual_link: Maybe[str] = None
    instructor_virtual_link: Maybe[str] = None
    instructor_details_list: Unread = UNSET
    recurrence_type: Unread = UNSET
    frequency: Unread = UNSET
    weekdays: Unread = UNSET


class VirtualGuest(Reading, frozen=True):
    """A person whom a guest brings along; the telephone number is a JSON number here."""

    guest_id: Maybe[Id] = None
    registration_id: Maybe[Number] = None
    first_name: Maybe[Personal] = None
    last_name: Maybe[Personal] = None
    email: Maybe[Personal] = None
    mobile_phone: Maybe[Personal | Phone] = None
    gender: Maybe[Annotated[Number, PERSONAL]] = None


class ClassBooking(Reading, frozen=True):
    """Class.Booking.Created, .Cancelled, .Deleted, .NoShow, .Approved, .Rejected.

    https://docs.zenoti.com/reference/booking-created. Ids of classes and registrations are numbers, -1 means none; ids
    of guests and centres are text, in any letter case, and not always valid GUIDs.
    """

    workshop_id: Maybe[Number] = None
    track_id: Maybe[Number] = None
    class_id: Maybe[Number] = None
    session_id: Maybe[Number] = None
    _session_id: Maybe[Number] = field(default=None, name="sesion_id")
    registration_id: Maybe[Number] = None
    guest_id: Maybe[Id] = None
    center_id: Maybe[Id] = None
    group_invoice_id: Maybe[Id] = None
    add_to_all: Maybe[Switch] = None
    waitlist: Maybe[Switch] = None
    booking_source: Maybe[Number] = None
    is_recurring: Maybe[Switch] = None
    recurrence_id: Maybe[Number] = None
    recurrence_registration_ids: Maybe[tuple[Number, ...]] = None
    training_virtual_guests: Maybe[tuple[VirtualGuest, ...]] = None
    guest_registration_ids: Unread = UNSET
