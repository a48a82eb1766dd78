"""The simulated salon: invoices, the events that tell of them, and how far each visit has come.

Pure: seed and `now` come in, bytes go out. No clock, no socket, no environment, no randomness that a seed does not fix.
Shapes: https://docs.zenoti.com/reference/retrieve-invoice-details and the samples under
https://docs.zenoti.com/reference/webhook-events, misspellings included; every value is invented.
"""

import random
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

Json = dict[str, Any]

SERVICE: Final = 0
PRODUCT: Final = 2
MEMBERSHIP: Final = 3

_CENT: Final = Decimal("0.01")
_NOTHING: Final = Decimal("0.00")
_FEE: Final = Decimal("0.10")
_TAX: Final = Decimal("0.0825")
_CURRENCY: Final = 148  # Zenoti's own numbering, not ISO 4217

_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "invoiceitems": ("invoice_items",),
    "appointments": ("appointments",),
    "transactions": ("transactions",),
    "gst_parameters": ("gstin",),
    "redemptions": ("redemptions",),
    "dues_and_fees": ("invoice_dues", "environmental_fee"),
}
_PROGRESS: Final = {"Appointment.Started": 1, "Appointment.Completed": 2, "Invoice.Closed": 2}


class _Ware(NamedTuple):
    kind: int
    name: str
    code: str
    price: str
    minutes: int = 0


class _Center(NamedTuple):
    name: str
    prefix: str
    utc_offset: timedelta


_SERVICES: Final = (
    _Ware(SERVICE, "Fringe trim", "FRT", "12.50", 15),
    _Ware(SERVICE, "Cut and finish", "CAF", "78.00", 45),
    _Ware(SERVICE, "Gloss and blow-dry", "GBD", "64.90", 60),
    _Ware(SERVICE, "Hot stone hour", "HSH", "149.50", 75),
    _Ware(SERVICE, "Maniküre, klassisch", "MKL", "39.95", 30),
)
_PRODUCTS: Final = (
    _Ware(PRODUCT, "Sample shampoo 250 ml", "SHA", "18.20"),
    _Ware(PRODUCT, "Hair grip (single)", "GRP", "0.10"),
    _Ware(PRODUCT, "Hand balm", "BLM", "9.99"),
)
_MEMBERSHIPS: Final = (_Ware(MEMBERSHIP, "Twelve visits a year", "T12", "480.00"),)
_CENTERS: Final = (
    _Center("Quayside Sample Salon", "QSS", timedelta(hours=-8)),
    _Center("Millpond Sample Spa", "MSS", timedelta(hours=1)),
    _Center("Orchard Sample Studio", "OSS", timedelta(hours=5, minutes=30)),
)
_THERAPISTS: Final = ("Ilse Placeholder", "Bram Specimen", "Noor Exemplar", "Tove Mockingham")
_FIRST_NAMES: Final = ("Zoë", "Marek", "Amara", "Łucja", "Otis", "Yuki")
_LAST_NAMES: Final = ("Sampleton", "O'Test", "Fixture", "Dummy-Smith")

_encoder: Final = msgspec.json.Encoder(decimal_format="number")  # 0.10 leaves as 0.10


class WebhookEvent(msgspec.Struct, frozen=True):
    """One occurrence, ready to post.

    `body` is the JSON to send and sign, byte for byte; `event_id` is the envelope's, empty where there is none.
    """

    event_type: str
    body: bytes
    invoice_id: str
    event_id: str


class Visit(msgspec.Struct, frozen=True):
    """A guest's visit: its invoice and the five events that tell of it, in the order they happen."""

    invoice_id: str
    events: tuple[WebhookEvent, ...]


class _Standing(msgspec.Struct):
    # The recipe of an invoice rather than the invoice: a day's run must not fill the memory.
    number: int
    now: datetime
    as_documented: bool
    progress: int = 0
    closed: bool = False


class World:
    """All the visits of one simulated organisation, made in order from a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._standings: dict[str, _Standing] = {}

    def visit(self, *, now: datetime) -> Visit:
        """Make the next visit; the n-th of a seed is always the same but for what depends on `now`.

        Args:
            now: when the guest books, with a time zone.

        Raises:
            ValueError: `now` has no time zone.
        """
        invoice, center, standing = self._next(now, as_documented=False)
        everything = _as_of(invoice, progress=2, closed=True, expand=_PARTS)
        told = (
            ("AppointmentGroup.Created", _created(invoice, center=center, organization_id=self._id("organization"))),
            ("AppointmentGroup.Status", _checked_in(invoice)),
            ("Appointment.Started", _progressed(invoice, progress=1)),
            ("Appointment.Completed", _progressed(invoice, progress=2)),
            ("Invoice.Closed", _closed(everything)),
        )
        events = tuple(
            self._event(event_type, data, invoice_id=invoice["id"], standing=standing, place=place)
            for place, (event_type, data) in enumerate(told)
        )
        return Visit(invoice_id=invoice["id"], events=events)

    def seed_events(self, *, now: datetime) -> tuple[WebhookEvent, WebhookEvent]:
        """Make an Invoice.Closed and a bare Appointment.Completed in the very shape of the two published samples.

        Each tells of an invoice of its own. The first is enveloped the older way, with `event_resource`; the second
        has no envelope, so that its type is to be told from its shape alone.

        Raises:
            ValueError: `now` has no time zone.
        """
        invoice, _, standing = self._next(now, as_documented=True)
        data = _closed(_as_of(invoice, progress=2, closed=True, expand=_PARTS))
        closed = self._event("Invoice.Closed", data, invoice_id=invoice["id"], standing=standing, place=0)
        invoice, _, _ = self._next(now, as_documented=True)
        bare = _encoder.encode(_progressed(invoice, progress=2))
        return closed, WebhookEvent("Appointment.Completed", bare, invoice["id"], "")

    def sent(self, event: WebhookEvent) -> None:
        """Let the invoice be as far as this event says; an event told again, or late, takes nothing back.

        Raises:
            KeyError: the event is of another world.
        """
        standing = self._standings[event.invoice_id]
        standing.progress = max(standing.progress, _PROGRESS.get(event.event_type, 0))
        standing.closed = standing.closed or event.event_type == "Invoice.Closed"

    def invoice(self, invoice_id: str, *, expand: Collection[str]) -> bytes | None:
        """Return the API's document `{"invoice": …, "error": null}` as things stand, or None for an unknown id.

        Args:
            invoice_id: in any letter case.
            expand: the parts asked for, in any letter case; the others are null. An unknown part is ignored.
        """
        standing = self._standings.get(invoice_id.lower())
        if standing is None:
            return None
        invoice, _ = self._draw(standing)
        shown = _as_of(invoice, progress=standing.progress, closed=standing.closed, expand=expand)
        return _encoder.encode({"invoice": shown, "error": None})

    def _next(self, now: datetime, *, as_documented: bool) -> tuple[Json, _Center, _Standing]:
        if now.tzinfo is None:
            raise ValueError("now needs a time zone: local time would differ from machine to machine")
        standing = _Standing(len(self._standings), now.astimezone(UTC), as_documented)
        invoice, center = self._draw(standing)
        self._standings[invoice["id"]] = standing
        return invoice, center, standing

    def _draw(self, standing: _Standing) -> tuple[Json, _Center]:
        """The invoice as it will be once paid and closed, every part of it there."""
        rng = _rng(f"{self._seed}:visit:{standing.number}")
        center, therapist = rng.choice(_CENTERS), rng.choice(_THERAPISTS)
        items = []
        appointments = []
        start = standing.now.replace(minute=standing.now.minute // 15 * 15, second=0)
        for ware in _wares(rng, as_documented=standing.as_documented):
            item = _item(rng, ware=ware, ware_id=self._id(ware.name), therapist=(self._id(therapist), therapist))
            items.append(item)
            if ware.kind == SERVICE:
                appointments.append(_appointment(rng, item=item, start=start, minutes=ware.minutes))
                start += timedelta(minutes=ware.minutes)
        invoice = _invoice(rng, number=standing.number, at=standing.now + center.utc_offset, items=items)
        invoice |= {
            "invoice_number_prefix": center.prefix,
            "center_id": self._id(center.name),
            "appointments": appointments,
        }
        return invoice, center

    def _event(self, event_type: str, data: Json, *, invoice_id: str, standing: _Standing, place: int) -> WebhookEvent:
        at = standing.now + timedelta(milliseconds=place)
        # Shaped as Mongo's object ids: seconds, five bytes of the process, a counter, which alone makes them unique.
        machine = _rng(f"{self._seed}:machine").getrandbits(40)
        event_id, delivery_id = (
            f"{int(at.timestamp()):08x}{machine:010x}{standing.number * 10 + place * 2 + i:06x}" for i in (0, 1)
        )
        envelope = {
            "id": delivery_id,
            "event_id": event_id,
            "event_schema": "v1",
            "event_resource": event_type.partition(".")[0] if standing.as_documented else None,
            "event_type": event_type,
            "event_timestamp": f"{_naive(at)}.{at.microsecond:06d}{standing.number % 10}Z",
            "data": data,
        }
        return WebhookEvent(event_type, _encoder.encode(envelope), invoice_id, event_id)

    def _id(self, name: str) -> str:
        return _guid(_rng(f"{self._seed}:name:{name}"))


def _rng(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311  repeatable is the point


def _guid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _naive(at: datetime) -> str:
    return at.replace(tzinfo=None, microsecond=0).isoformat()


def _wares(rng: random.Random, *, as_documented: bool) -> list[_Ware]:
    if as_documented:
        return [rng.choice(group) for group in (_SERVICES, _PRODUCTS, _MEMBERSHIPS)]
    return rng.sample(_SERVICES, rng.randint(1, 3)) + rng.sample(_PRODUCTS, rng.choice((0, 0, 1)))


def _item(rng: random.Random, *, ware: _Ware, ware_id: str, therapist: tuple[str, str]) -> Json:
    quantity = rng.randint(1, 2) if ware.kind == PRODUCT else 1
    listed = Decimal(ware.price) * quantity
    discount = (listed * rng.choice((0, 0, 10)) / 100).quantize(_CENT)
    sales = listed - discount
    tax = (sales * _TAX).quantize(_CENT)
    return {
        "invoice_item_id": _guid(rng),
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


def _appointment(rng: random.Random, *, item: Json, start: datetime, minutes: int) -> Json:
    return {
        "id": _guid(rng),
        "invoice_item_id": item["invoice_item_id"],
        "service_name": item["name"],
        "service_id": item["id"],
        "start_time": _naive(start),
        "end_time": _naive(start + timedelta(minutes=minutes)),
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
        "room_id": _guid(rng),
        "room_name": f"Room {rng.randint(1, 9)}",
        "equipment_id": None,
        "equipment_name": "",
    }


def _invoice(rng: random.Random, *, number: int, at: datetime, items: list[Json]) -> Json:
    net = sum((item["price"]["sales"] for item in items), _NOTHING)
    tax = sum((item["price"]["tax"] for item in items), _NOTHING)
    return {
        "group_invoice_id": None,
        "id": _guid(rng),
        "invoice_number": str(1000 + number),
        "receipt_number": f"R{500 + number}",
        "appointment_group_id": _guid(rng),
        "lock": True,
        "is_closed": True,
        "is_refund": False,
        "invoice_date": _naive(at),
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
    guest_id, line = _guid(rng), rng.randrange(100)
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
    paid["cash_regester_id"] = None if card else _guid(rng)
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
        "transaction_id": _guid(rng),
        "payment_date": _naive(at),
        "cash_regester_id": None,
    }


def _as_of(invoice: Json, *, progress: int, closed: bool, expand: Collection[str]) -> Json:
    shown = dict(invoice)
    # The published table has no progress here; it is there to make the state of an open visit visible.
    shown["appointments"] = [a | {"appointment_progress": progress} for a in invoice["appointments"]]
    if not closed:
        shown |= {"lock": False, "is_closed": False, "receipt_number": "0", "transactions": []}
        for due in _PARTS["dues_and_fees"]:
            shown[due] = {"total": invoice[due]["total"], "paid": _NOTHING, "balance": invoice[due]["total"]}
    asked = {part.lower() for part in expand}
    for part, fields in _PARTS.items():
        if part not in asked:
            shown |= dict.fromkeys(fields)
    return shown


def _created(invoice: Json, *, center: _Center, organization_id: str) -> Json:
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


def _booked(appointment: Json, *, center: _Center) -> Json:
    unsaid = ("serviceduration_in_miutes", "package_id", "cart_item_id", "equipment_id")
    start, end = (datetime.fromisoformat(appointment[key]) for key in ("start_time", "end_time"))
    return {key: value for key, value in appointment.items() if key not in unsaid} | {
        "start_time_in_center": _naive(start + center.utc_offset),
        "end_time_in_center": _naive(end + center.utc_offset),
        "creation_date": appointment["start_time"],
        "last_updated_on": appointment["start_time"],
        "service_duration_in_minutes": appointment["serviceduration_in_miutes"],
        "show_in_calendar": True,
    }


def _checked_in(invoice: Json) -> Json:
    return {
        "invoice_id": invoice["id"],
        "invoice_number": invoice["invoice_number"],
        "receipt_number": "0",
        "appointment_group_id": invoice["appointment_group_id"],
        "appointment_group_status": 2,
        "is_noshowfeerequired": "No",
        "is_cancellationfeerequired": "No",
    }


def _progressed(invoice: Json, *, progress: int) -> Json:
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


def _closed(invoice: Json) -> Json:
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
