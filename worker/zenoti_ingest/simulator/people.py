"""The simulator's people: `data` of Guest.* and Employee.*.

It is pure. No samples of these are at hand: the shapes are plausible, after the vendor's guest and employee APIs
(https://docs.zenoti.com/reference/webhook-events). It is known that they name no invoice, and that `mobile_phone` is an
object or null here, while it is a text in invoices.
"""

from zenoti_ingest.simulator.invention import NO_TIME, THERAPISTS, ZERO_GUID, Json, Scene, person

_COUNTRY = 225  # Zenoti's own numbering, not ISO 3166


def guest(scene: Scene) -> Json:
    """`data` of Guest.Created: a new guest; unknown values are sentinels."""
    known = person(scene.rng)
    return {
        "id": known["id"],
        "code": "",
        "center_id": scene.center_id,
        "organization_id": scene.organization_id,
        "created_date": scene.at(),
        "personal_info": {
            "first_name": known["first_name"],
            "last_name": known["last_name"],
            "middle_name": None,
            "email": known["email"],
            "mobile_phone": _telephone(known["mobile_phone"]),
            "home_phone": None,
            "gender": known["gender"],
            "date_of_birth": NO_TIME,
            "nationality_id": -1,
        },
        "referral": {"referral_source": None, "referred_by": ZERO_GUID},
        "primary_employee_id": "",
        "tags": [],
    }


def guest_changed(guest: Json, *, scene: Scene) -> Json:
    """`data` of Guest.Updated: the whole guest again, without a telephone and with a new field."""
    info = guest["personal_info"] | {"mobile_phone": None, "pronouns": "they"}
    return guest | {"personal_info": info, "last_updated_date": scene.at(hours=1).replace("T", " ")}


def guest_deleted(guest: Json) -> Json:
    """`data` of Guest.Deleted."""
    return {"id": guest["id"], "center_id": guest["center_id"]}


def guests_merged(guest: Json, *, scene: Scene) -> Json:
    """`data` of Guest.Merged: the guest that stays, and the guests merged into it."""
    return {"id": guest["id"], "center_id": guest["center_id"], "merged_guest_ids": [scene.guid(), scene.guid()]}


def opted(guest: Json, *, into: bool) -> Json:
    """`data` of Guest.OptedIn and Guest.OptedOut: the channels by which the guest accepts messages."""
    ways = ("receive_transactional_email", "receive_marketing_email", "receive_marketing_sms")
    return {"id": guest["id"], "center_id": guest["center_id"], "preferences": dict.fromkeys(ways, into)}


def employee(scene: Scene) -> Json:
    """`data` of Employee.Created."""
    known = person(scene.rng)
    first_name, _, last_name = scene.rng.choice(THERAPISTS).partition(" ")
    return {
        "id": known["id"],
        "code": f"E{scene.rng.randrange(1000):03d}",
        "center_id": scene.center_id,
        "job": {"id": scene.guid(), "name": "Stylist"},
        "personal_info": {
            "first_name": first_name,
            "last_name": last_name,
            "email": known["email"].replace("guest", "employee"),
            "mobile_phone": _telephone(known["mobile_phone"]),
            "gender": known["gender"],
        },
        "start_date": scene.at(),
        "end_date": NO_TIME,
    }


def employee_changed(employee: Json) -> Json:
    """`data` of Employee.Updated: the whole employee again, without a telephone."""
    return employee | {"personal_info": employee["personal_info"] | {"mobile_phone": None}}


def employee_deleted(employee: Json, *, scene: Scene) -> Json:
    """`data` of Employee.Deleted."""
    return {"id": employee["id"], "center_id": employee["center_id"], "end_date": scene.at()}


def _telephone(number: str) -> Json:
    return {"country_code": _COUNTRY, "number": number.removeprefix("+1 "), "display_number": number}
