"""The simulator's appointments: `data` of AppointmentGroup.*, Appointment.* and of the guest's feedback.

Pure, as the world is. Shapes: samples under https://docs.zenoti.com/reference/webhook-events, misspellings included.
"""

from datetime import datetime
from typing import Final

from zenoti_ingest.simulator.documents import renamed
from zenoti_ingest.simulator.invention import NO_TIME, ZERO_GUID, Center, Json, Scene, naive

CANCELLED: Final = -1
CHECKED_IN: Final = 2


def created(invoice: Json, *, center: Center, organization_id: str) -> Json:
    """`data` of AppointmentGroup.Created."""
    guest = invoice["guest"]
    return {
        "invoice_id": invoice["id"],
        "invoice_number": invoice["invoice_number"],
        "invoice_number_prefix": center.prefix,
        "utm_source": None,
        "utm_medium": None,
        "appointment_group_id": invoice["appointment_group_id"],
        "organization_id": organization_id,
        "center_id": invoice["center_id"],
        "center_Name": center.name,
        "guest": {key: guest[key] for key in ("id", "first_name", "last_name", "email")},
        "appointments": [_booked(a, center=center) for a in invoice["appointments"]],
    }


def _booked(appointment: Json, *, center: Center) -> Json:
    unsaid = ("serviceduration_in_miutes", "package_id", "cart_item_id", "equipment_id")
    start, end = (datetime.fromisoformat(appointment[key]) for key in ("start_time", "end_time"))
    return {key: value for key, value in appointment.items() if key not in unsaid} | {
        "start_time_in_center": naive(start + center.utc_offset),
        "end_time_in_center": naive(end + center.utc_offset),
        "creation_date": appointment["start_time"],
        "last_updated_on": appointment["start_time"],
        "service_duration_in_minutes": appointment["serviceduration_in_miutes"],
        "show_in_calendar": True,
    }


def progressed(invoice: Json, *, progress: int) -> Json:
    """`data` of Appointment.Started (1) and Appointment.Completed (2)."""
    return {
        "invoice_id": invoice["id"],
        "invoice_number": invoice["invoice_number"],
        "appointment_group_id": invoice["appointment_group_id"],
        "center_id": invoice["center_id"],
        "appointments": [
            respelled(a) | {"room_id": a["room_id"], "equipment_id": "", "appointment_progress": progress}
            for a in invoice["appointments"]
        ],
    }


def respelled(appointment: Json) -> Json:
    """The appointment with the keys of the older events."""
    unsaid = ("therapist_id", "package_id", "cart_item_id", "room_id", "equipment_id", "appointment_progress")
    return {key: value for key, value in appointment.items() if key not in unsaid} | {
        "TherapistId": appointment["therapist_id"]
    }


def updated(invoice: Json, *, center: Center, organization_id: str) -> Json:
    """`data` of AppointmentGroup.Updated: the whole group again, with the other spellings and sentinels for times."""
    data = created(invoice, center=center, organization_id=organization_id)
    data["appointments"] = [
        renamed(a, {"service_duration_in_minutes": "serviceduration_in_miutes", "therapist_id": "TherapistId"})
        | {"actual_start_time": NO_TIME, "actual_end_time": "", "room_id": ZERO_GUID}
        for a in data["appointments"]
    ]
    return renamed(data, {"center_Name": "center_name"})


def emptied(scene: Scene) -> Json:
    """`data` of an AppointmentGroup.Updated whose empty list means that the group was deleted; it names no invoice."""
    return {
        "appointment_group_id": scene.guid(),
        "organization_id": scene.organization_id,
        "center_id": scene.center_id,
        "center_Name": scene.center.name,
        "guest": None,
        "appointments": [],
    }


def standing(invoice: Json, *, status: int) -> Json:
    """`data` of AppointmentGroup.Status: the guest has checked in (2), has cancelled (-1), …."""
    return {
        "invoice_id": invoice["id"],
        "invoice_number": invoice["invoice_number"],
        "receipt_number": "0",
        "appointment_group_id": invoice["appointment_group_id"],
        "appointment_group_status": status,
        "is_noshowfeerequired": "No",
        "is_cancellationfeerequired": "No",
    }


def deleted(invoice: Json) -> Json:
    """`data` of AppointmentGroup.Delete. Plausible: no sample of it is known."""
    return {
        "invoice_id": invoice["id"],
        "appointment_group_id": invoice["appointment_group_id"],
        "center_id": invoice["center_id"],
        "appointments": [{"id": a["id"], "invoice_item_id": a["invoice_item_id"]} for a in invoice["appointments"]],
    }


def progressed_drifted(invoice: Json, *, progress: int) -> Json:
    """`data` of Appointment.Completed in the newer spellings, with an unknown field."""
    data = progressed(invoice, progress=progress)
    data["appointments"] = [
        renamed(a, {"serviceduration_in_miutes": "service_duration_in_minutes", "TherapistId": "therapist_id"})
        | {"start_time": a["start_time"].replace("T", " "), "room_id": ZERO_GUID, "mood_lighting": {"warmth": 0.5}}
        for a in data["appointments"]
    ]
    return data


def feedback(invoice: Json, *, scene: Scene, version: int) -> Json:
    """`data` of Appointment.Feedback: `rating_value` is an object in V1 and a number in V2; the rest is plausible."""
    stars = scene.rng.randint(1, 5)
    return {
        "id": scene.guid(),
        "appointment_group_id": invoice["appointment_group_id"],
        "center_id": invoice["center_id"],
        "guest_id": invoice["guest"]["id"],
        "rating_value": {"value": stars, "scale": 5} if version == 1 else stars,
        "comments": "A sample, and not more.",
        "created_date": scene.at(hours=2),
    }
