"""The simulator's classes: `data` of Class.Schedule.* and Class.Booking.*.

It is pure. No samples of these are at hand: the shapes are plausible, after the vendor's pages
(https://docs.zenoti.com/reference/webhook-events). It is known that they name no invoice.
"""

from typing import Final

from zenoti_ingest.simulator.invention import NO_TIME, THERAPISTS, Json, Scene, person

# A booking's status after the event of that name. The numbers are invented.
BOOKING_STATUS: Final = {
    "Created": 0,
    "Cancelled": -1,
    "Deleted": -3,
    "NoShow": -2,
    "Approved": 4,
    "Rejected": 5,
}


def schedule(scene: Scene) -> Json:
    """`data` of Class.Schedule.Created: a session of a class; the times are UTC without a zone."""
    return {
        "id": scene.guid(),
        "class_id": scene.guid(),
        "class_name": "Sunrise stretching",
        "center_id": scene.center_id,
        "start_time": scene.at(hours=24),
        "end_time": scene.at(hours=25),
        "instructor": {"id": scene.guid(), "name": scene.rng.choice(THERAPISTS)},
        "room_id": "",
        "capacity": 12,
        "waitlist_capacity": -1,
        "cancelled_on": NO_TIME,
        "is_cancelled": False,
    }


def schedule_moved(schedule: Json, *, scene: Scene) -> Json:
    """`data` of Class.Schedule.Updated: another hour."""
    return schedule | {"start_time": scene.at(hours=26), "end_time": scene.at(hours=27).replace("T", " ")}


def schedule_cancelled(schedule: Json, *, scene: Scene) -> Json:
    """`data` of Class.Schedule.Cancelled."""
    return schedule | {"is_cancelled": True, "cancelled_on": scene.at(hours=3)}


def schedule_deleted(schedule: Json) -> Json:
    """`data` of Class.Schedule.Deleted."""
    return {"id": schedule["id"], "center_id": schedule["center_id"]}


def booking(schedule: Json, *, scene: Scene) -> Json:
    """A guest's place in a session."""
    guest = person(scene.rng)
    return {
        "id": scene.guid(),
        "schedule_id": schedule["id"],
        "class_name": schedule["class_name"],
        "center_id": schedule["center_id"],
        "start_time": schedule["start_time"],
        "guest": {key: guest[key] for key in ("id", "first_name", "last_name", "email")} | {"mobile_phone": None},
        "is_waitlisted": False,
        "checked_in_on": "",
    }


def booking_became(booking: Json, *, what: str) -> Json:
    """`data` of Class.Booking.<what>."""
    return booking | {"booking_status": BOOKING_STATUS[what]}
