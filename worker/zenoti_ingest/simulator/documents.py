"""The simulator's invoices: the JSON of the API's document, complete, as of a moment, refunded, or drifted.

It is pure. Shapes: https://docs.zenoti.com/reference/retrieve-invoice-details, including misspellings.
"""

import random
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from zenoti_ingest.simulator.invention import NO_TIME, PRODUCT, ZERO_GUID, Json, Ware, guid, naive, person

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


def item_document(rng: random.Random, *, ware: Ware, ware_id: str, therapist: tuple[str, str]) -> Json:
    """A line of the invoice."""
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
    """A service on the calendar."""
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
    """The complete invoice, once paid."""
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
        "guest": person(rng),
        "invoice_items": items,
        "transactions": _transactions(rng, due=net + tax, at=at),
        "redemptions": [],  # a documented value of expand, but its fields are not published
        "additional_fields": [{"key": "walk_in", "value": False}],
        "checkout_channel": "front-desk",  # in no published table: the vendor adds fields without notice
    }


def _transactions(rng: random.Random, *, due: Decimal, at: datetime) -> list[Json]:
    """A payment, or a gift card and a payment; the last carries tip and fee, and together they pay the total."""
    card = rng.choice((True, True, True, False))
    gift = rng.choice((_NOTHING, _NOTHING, _NOTHING, min(due, Decimal("20.00"))))
    tip = (due * rng.choice((0, 10, 15, 20)) / 100).quantize(_CENT)
    # The fields of a payment option are not published.
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
    """The invoice as the API shows it: at this stage of the visit, with the requested parts."""
    shown = dict(invoice)
    # The published table has no progress here; it makes the state of an open visit visible.
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


def renamed(document: Json, names: Mapping[str, str]) -> Json:
    """The document with some keys renamed, in the same order."""
    return {names.get(key, key): value for key, value in document.items()}


def refunded(invoice: Json) -> Json:
    """The invoice of a refund: every amount is negative or zero; quantities do not change."""
    given_back: Json = _negative(invoice)
    return given_back | {"is_refund": True}


def _negative(value: Any) -> Any:
    match value:
        case Decimal():
            return _NOTHING - value  # not -value: the vendor never writes -0.00
        case dict():
            return {key: _negative(inner) for key, inner in value.items()}
        case list():
            return [_negative(inner) for inner in value]
        case _:
            return value


def drifted(invoice: Json) -> Json:
    """The invoice in the other known spellings, with the sentinels that mean "nothing".

    No sample shows them together: each is a quirk of some document, collected here in a single invoice.
    """
    appointments = [
        renamed(a, {"serviceduration_in_miutes": "service_duration_in_minutes", "therapist_id": "TherapistId"})
        | {"start_time": a["start_time"].replace("T", " "), "package_id": ZERO_GUID, "cart_item_id": "", "room_id": ""}
        for a in invoice["appointments"]
    ]
    transactions = [
        renamed(t, {"cash_regester_id": "cash_register_id"}) | {"payment_date": NO_TIME, "transaction_id": ""}
        for t in invoice["transactions"]
    ]
    return invoice | {
        "group_invoice_id": ZERO_GUID,
        "invoice_date": invoice["invoice_date"].replace("T", " "),
        "total_price": invoice["total_price"] | {"currency_id": -1},
        "guest": renamed(invoice["guest"], {"email": "guest_email"}) | {"mobile_phone": "", "gender": -1},
        "invoice_items": [
            item | {"quantity": float(item["quantity"]), "sale_by_id": "", "is_giftcard": None}
            for item in invoice["invoice_items"]
        ],
        "appointments": appointments,
        "transactions": transactions,
        "loyalty": {"points": [1.0, 2.5], "tier": None},  # in no published table
    }
