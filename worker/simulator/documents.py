"""The simulator's documents: the synthetic catalogue, and the JSON of invoices and events in the vendor's shapes.

Pure, as the world is. Shapes: https://docs.zenoti.com/reference/retrieve-invoice-details and the samples under
https://docs.zenoti.com/reference/webhook-events, misspellings included; every value is invented.
"""

import random
from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

Json = dict[str, Any]

SERVICE: Final = 0
PRODUCT: Final = 2
MEMBERSHIP: Final = 3

_CENT: Final = Decimal("0.01")
_NOTHING: Final = Decimal("0.00")
_FEE: Final = Decimal("0.10")
_TAX: Final = Decimal("0.0825")
_CURRENCY: Final = 148  # Zenoti's own numbering, not ISO 4217

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "invoiceitems": ("invoice_items",),
    "appointments": ("appointments",),
    "transactions": ("transactions",),
    "gst_parameters": ("gstin",),
    "redemptions": ("redemptions",),
    "dues_and_fees": ("invoice_dues", "environmental_fee"),
}


class Ware(NamedTuple):
    """One thing that is sold; the price as text, so that it stays exact."""

    kind: int
    name: str
    code: str
    price: str
    minutes: int = 0


class Center(NamedTuple):
    """One salon: its wall clock is that far from UTC."""

    name: str
    prefix: str
    utc_offset: timedelta


_SERVICES: Final = (
    Ware(SERVICE, "Fringe trim", "FRT", "12.50", 15),
    Ware(SERVICE, "Cut and finish", "CAF", "78.00", 45),
    Ware(SERVICE, "Gloss and blow-dry", "GBD", "64.90", 60),
    Ware(SERVICE, "Hot stone hour", "HSH", "149.50", 75),
    Ware(SERVICE, "Maniküre, klassisch", "MKL", "39.95", 30),
)
_PRODUCTS: Final = (
    Ware(PRODUCT, "Sample shampoo 250 ml", "SHA", "18.20"),
    Ware(PRODUCT, "Hair grip (single)", "GRP", "0.10"),
    Ware(PRODUCT, "Hand balm", "BLM", "9.99"),
)
_MEMBERSHIPS: Final = (Ware(MEMBERSHIP, "Twelve visits a year", "T12", "480.00"),)
CENTERS: Final = (
    Center("Quayside Sample Salon", "QSS", timedelta(hours=-8)),
    Center("Millpond Sample Spa", "MSS", timedelta(hours=1)),
    Center("Orchard Sample Studio", "OSS", timedelta(hours=5, minutes=30)),
)
THERAPISTS: Final = ("Ilse Placeholder", "Bram Specimen", "Noor Exemplar", "Tove Mockingham")
_FIRST_NAMES: Final = ("Zoë", "Marek", "Amara", "Łucja", "Otis", "Yuki")
_LAST_NAMES: Final = ("Sampleton", "O'Test", "Fixture", "Dummy-Smith")


def rng(seed: str) -> random.Random:
    """Randomness that its seed fixes."""
    return random.Random(seed)  # noqa: S311  repeatable is the point


def guid(rng: random.Random) -> str:
    """A GUID as the vendor writes it."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def naive(at: datetime) -> str:
    """A time without its zone, as most of the vendor's are."""
    return at.replace(tzinfo=None, microsecond=0).isoformat()


def wares(rng: random.Random, *, as_documented: bool) -> list[Ware]:
    """What a guest buys."""
    if as_documented:
        return [rng.choice(group) for group in (_SERVICES, _PRODUCTS, _MEMBERSHIPS)]
    return rng.sample(_SERVICES, rng.randint(1, 3)) + rng.sample(_PRODUCTS, rng.choice((0, 0, 1)))


def item_document(rng: random.Random, *, ware: Ware, ware_id: str, therapist: tuple[str, str]) -> Json:
    """One line of the invoice."""
    quantity = rng.randint(1, 2) if ware.kind == PRODUCT else 1
    listed = Decimal(ware.price) * quantity
    discount = (listed * rng.choice((0, 0, 10)) / 100).quantize(_CENT)
    sales = listed - discount
    tax = (sales * _TAX).quantize(_CENT)
    return {
        "invoice_item_id": guid(rng),
        "id": ware_id,
        "name": ware.name,
        "type": ware.kind,
        "is_giftcard": False,
        "code": ware.code,
        "price": {"currency_id": _CURRENCY, "sales": sales, "tax": tax, "final": sales + tax, "discount": discount},
        "quantity": quantity,
        "sale_by_id": therapist[0],
        "therapist_name": therapist[1],
        "hsn": "",
        "sac": "",
    }


def appointment_document(rng: random.Random, *, item: Json, start: datetime, minutes: int) -> Json:
    """One service on the calendar."""
    return {
        "id": guid(rng),
        "invoice_item_id": item["invoice_item_id"],
        "service_name": item["name"],
        "service_id": item["id"],
        "start_time": naive(start),
        "end_time": naive(start + timedelta(minutes=minutes)),
        "serviceduration_in_miutes": minutes,
        "has_add_ons": False,
        "is_add_on": False,
        "therapist_name": item["therapist_name"],
        "therapist_id": item["sale_by_id"],
        "package_id": None,
        "is_recurring": False,
        "cart_item_id": None,
        "appointment_type": 2,
        "therapist_request_type": rng.choice((0, 3, 4)),
        "room_id": guid(rng),
        "room_name": f"Room {rng.randint(1, 9)}",
        "equipment_id": None,
        "equipment_name": "",
    }


def invoice_document(rng: random.Random, *, number: int, at: datetime, items: list[Json]) -> Json:
    """The invoice, all of it, once paid."""
    net = sum((item["price"]["sales"] for item in items), _NOTHING)
    tax = sum((item["price"]["tax"] for item in items), _NOTHING)
    return {
        "group_invoice_id": None,
        "id": guid(rng),
        "invoice_number": str(1000 + number),
        "receipt_number": f"R{500 + number}",
        "appointment_group_id": guid(rng),
        "lock": True,
        "is_closed": True,
        "is_refund": False,
        "invoice_date": naive(at),
        "gstin": "",
        "invoice_dues": {"total": net + tax, "paid": net + tax, "balance": _NOTHING},
        "environmental_fee": {"total": _FEE, "paid": _FEE, "balance": _NOTHING},
        "total_price": {
            "currency_id": _CURRENCY,
            "net_price": net,
            "tax": tax,
            "rounding_adjustment": _NOTHING,
            "sum_total": net + tax,
        },
        "guest": _guest(rng),
        "invoice_items": items,
        "transactions": _transactions(rng, due=net + tax, at=at),
        "redemptions": [],  # named among the values of expand, its fields published nowhere
        "additional_fields": [{"key": "walk_in", "value": False}],
        "checkout_channel": "front-desk",  # in no published table: the vendor adds fields without a word
    }


def _guest(rng: random.Random) -> Json:
    guest_id, line = guid(rng), rng.randrange(100)
    return {
        "id": guest_id,
        "first_name": rng.choice(_FIRST_NAMES),
        "last_name": rng.choice(_LAST_NAMES),
        "gender": rng.choice((-1, 0, 1, 3)),
        "code": "",
        "mobile_phone": f"+1 555 01{line:02d}",  # the block that is set aside for fiction
        "email": f"guest-{guest_id[:8]}@example.com",
    }


def _transactions(rng: random.Random, *, due: Decimal, at: datetime) -> list[Json]:
    """One payment, or a gift card and one; the last one carries tip and fee, and together they pay what is due."""
    card = rng.choice((True, True, True, False))
    gift = rng.choice((_NOTHING, _NOTHING, _NOTHING, min(due, Decimal("20.00"))))
    tip = (due * rng.choice((0, 10, 15, 20)) / 100).quantize(_CENT)
    # The fields of a payment option are published nowhere.
    option = {"type": 2, "id": None, "name": "Card"} if card else {"type": 1, "id": None, "name": "Cash"}
    paid = _transaction(rng, option=option, amount=due - gift, tip=tip, fee=_FEE, at=at)
    paid["cash_regester_id"] = None if card else guid(rng)
    if not gift:
        return [paid]
    gift_card = {"type": 6, "id": None, "name": "Gift card"}
    return [_transaction(rng, option=gift_card, amount=gift, tip=_NOTHING, fee=_NOTHING, at=at), paid]


def _transaction(
    rng: random.Random, *, option: Json, amount: Decimal, tip: Decimal, fee: Decimal, at: datetime
) -> Json:
    return {
        "payment_option": option,
        "total_amount_paid": amount + tip + fee,
        "amount_paid": amount,
        "tip_amount": tip,
        "ssg_amount": _NOTHING,
        "donation_amount": _NOTHING,
        "fee_amount": fee,
        "cash_back_amount": _NOTHING,
        "transaction_id": guid(rng),
        "payment_date": naive(at),
        "cash_regester_id": None,
    }


def as_of(invoice: Json, *, progress: int, closed: bool, expand: Collection[str]) -> Json:
    """The invoice as the API shows it: as far as the visit is, with the parts asked for."""
    shown = dict(invoice)
    # The published table has no progress here; it is there to make the state of an open visit visible.
    shown["appointments"] = [a | {"appointment_progress": progress} for a in invoice["appointments"]]
    if not closed:
        shown |= {"lock": False, "is_closed": False, "receipt_number": "0", "transactions": []}
        for due in PARTS["dues_and_fees"]:
            shown[due] = {"total": invoice[due]["total"], "paid": _NOTHING, "balance": invoice[due]["total"]}
    asked = {part.lower() for part in expand}
    for part, fields in PARTS.items():
        if part not in asked:
            shown |= dict.fromkeys(fields)
    return shown


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


def checked_in(invoice: Json) -> Json:
    """`data` of AppointmentGroup.Status: the guest is there."""
    return {
        "invoice_id": invoice["id"],
        "invoice_number": invoice["invoice_number"],
        "receipt_number": "0",
        "appointment_group_id": invoice["appointment_group_id"],
        "appointment_group_status": 2,
        "is_noshowfeerequired": "No",
        "is_cancellationfeerequired": "No",
    }


def progressed(invoice: Json, *, progress: int) -> Json:
    """`data` of Appointment.Started (1) and Appointment.Completed (2)."""
    return {
        "invoice_id": invoice["id"],
        "invoice_number": invoice["invoice_number"],
        "appointment_group_id": invoice["appointment_group_id"],
        "center_id": invoice["center_id"],
        "appointments": [
            _respelled(a) | {"room_id": a["room_id"], "equipment_id": "", "appointment_progress": progress}
            for a in invoice["appointments"]
        ],
    }


def closed(invoice: Json) -> Json:
    """`data` of Invoice.Closed."""
    unsaid = (
        "group_invoice_id", "invoice_number_prefix", "gstin", "invoice_dues", "environmental_fee", "redemptions",
        "additional_fields",
    )  # fmt: skip
    told = {key: value for key, value in invoice.items() if key not in unsaid}
    guest = dict(invoice["guest"])
    guest["guest_email"] = guest.pop("email")
    told["guest"] = guest
    told["invoice_items"] = [
        {key: value for key, value in item.items() if key not in ("is_giftcard", "hsn", "sac")}
        for item in invoice["invoice_items"]
    ]
    told["appointments"] = [_respelled(a) for a in invoice["appointments"]]
    return {"invoice": told}


def _respelled(appointment: Json) -> Json:
    """The appointment as the older events spell it."""
    unsaid = ("therapist_id", "package_id", "cart_item_id", "room_id", "equipment_id", "appointment_progress")
    return {key: value for key, value in appointment.items() if key not in unsaid} | {
        "TherapistId": appointment["therapist_id"]
    }
