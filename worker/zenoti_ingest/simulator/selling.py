"""The simulator's sales: `data` of Invoice.Closed, of memberships, packages and guest passes.

It is pure. Invoice.Closed has the shape of https://docs.zenoti.com/reference/sample-events. Of the other events, only
the place of the invoice is known; the rest is plausible.
"""

from zenoti_ingest.simulator.appointments import respelled
from zenoti_ingest.simulator.documents import renamed
from zenoti_ingest.simulator.invention import NO_TIME, ZERO_GUID, Json, Scene

_UNSAID = (
    "invoice_number_prefix", "gstin", "invoice_dues", "environmental_fee", "redemptions", "additional_fields",
)  # fmt: skip


def closed(invoice: Json) -> Json:
    """`data` of Invoice.Closed; it has the group's id if there is a group."""
    shown = {key: value for key, value in invoice.items() if key not in _UNSAID}
    if shown["group_invoice_id"] is None:
        del shown["group_invoice_id"]
    guest = dict(invoice["guest"])
    guest["guest_email"] = guest.pop("email")
    shown["guest"] = guest
    shown["invoice_items"] = [
        {key: value for key, value in item.items() if key not in ("is_giftcard", "hsn", "sac")}
        for item in invoice["invoice_items"]
    ]
    shown["appointments"] = [respelled(a) for a in invoice["appointments"]]
    return {"invoice": shown}


def closed_drifted(invoice: Json) -> Json:
    """`data` of Invoice.Closed for a drifted invoice: each key in the spelling that the API's document does not use."""
    shown = {key: value for key, value in invoice.items() if key not in _UNSAID}
    shown["guest"] = renamed(invoice["guest"], {"guest_email": "email"})
    shown["appointments"] = [renamed(a, {"TherapistId": "therapist_id"}) for a in invoice["appointments"]]
    return {"invoice": shown}


def closed_again(invoice: Json) -> Json:
    """`data` of Invoice.Closed for an invoice that was reopened and closed once more."""
    return {"invoice": closed(invoice)["invoice"] | {"times_closed": 2}}  # a field that no sample shows


def guest_pass(invoice: Json, *, scene: Scene) -> Json:
    """`data` of Guestpass.redeemed. Plausible, except `invoice_id`, which is known."""
    return {
        "id": scene.guid(),
        "code": f"GP{scene.rng.randrange(10**6):06d}",
        "invoice_id": invoice["id"],
        "invoice_number": invoice["invoice_number"],
        "center_id": invoice["center_id"],
        "guest_id": invoice["guest"]["id"],
        "host_guest_id": scene.guid(),
        "redeemed_on": scene.at(),
    }


def membership(invoice: Json, *, scene: Scene, membership_id: str, state: tuple[str, int]) -> Json:
    """`data` of Guest.Membership.*: the action, and the status after it. Plausible, except the known `invoice.id`."""
    (item,) = invoice["invoice_items"]
    return {
        "id": membership_id,
        "center_id": invoice["center_id"],
        "guest": _buyer(invoice),
        "membership": {"id": item["id"], "name": item["name"], "code": item["code"]},
        "last_action": state[0],
        "status": state[1],
        "start_date": scene.at(),
        "end_date": scene.at(hours=365 * 24),
        "freeze_end_date": NO_TIME,
        "invoice": _named(invoice),
    }


def package(invoice: Json, *, scene: Scene, package_id: str, state: tuple[str, int]) -> Json:
    """`data` of Guest.Package.*: the action, and the status after it. Plausible, except the known `invoice.id`."""
    (item,) = invoice["invoice_items"]
    return {
        "id": package_id,
        "center_id": invoice["center_id"],
        "guest": _buyer(invoice),
        "package": {"id": item["id"], "name": item["name"], "code": item["code"], "price": item["price"]["final"]},
        "last_action": state[0],
        "status": state[1],
        "expiry_date": scene.at(hours=180 * 24),
        "balance": scene.rng.randint(0, 5),
        "invoice": _named(invoice),
    }


def without_invoice(data: Json) -> Json:
    """The same data without an invoice: the key is missing."""
    return {key: value for key, value in data.items() if key != "invoice"}


def zero_invoice(data: Json) -> Json:
    """The same data without an invoice: its id is zeros."""
    return data | {"invoice": {"id": ZERO_GUID, "invoice_number": ""}}


def _named(invoice: Json) -> Json:
    return {key: invoice[key] for key in ("id", "invoice_number", "receipt_number", "is_closed")}


def _buyer(invoice: Json) -> Json:
    return {key: invoice["guest"][key] for key in ("id", "first_name", "last_name", "email", "mobile_phone")}
