"""What the invoice API answers: the frame of an answer, its error shapes, and the invoice itself. A tolerant reader.

Source: https://docs.zenoti.com/reference/retrieve-invoice-details (GET /v1/invoices/{invoice_id}); the error shapes
beside the first are those that integrators have met in the field. The webhook of a closed invoice carries the same
object, spelled a little differently: https://docs.zenoti.com/reference/sample-events
"""

import re
from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, field

from schemas.fields import PERSONAL, Id, Money, Number, Personal, Reading, Time, Unread, decode

NULL: Final = msgspec.Raw(b"null")
_NUMBER: Final = re.compile(r"(\d{1,9})(?:\.0{1,9})?")
_NO_ERROR: Final = range(200, 300)  # codes that some answers carry beside a good invoice; so do 0 and ""
_UNKNOWN_CODE: Final = "unknown"
_EMPTY: Final = frozenset((b"null", b"false", b"0", b'""', b"[]", b"{}"))


class ApiError(msgspec.Struct, frozen=True):
    """An error object: `{"code", "message"}` or `{"StatusCode", "Message"}`; a code is a number or a word."""

    code: msgspec.Raw = NULL
    StatusCode: msgspec.Raw = NULL


class InvoiceAnswer(msgspec.Struct, frozen=True):
    """The frame of every answer: `{"invoice": {…}, "error": null}`, or one of the error shapes.

    `error` and `Error` hold an error object; `code` and `StatusCode` stand at the top where the error is bare; ASP.NET
    itself answers `{"Message": "…"}`. The texts of errors are not read: they may quote what was sent.
    """

    invoice: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    Error: msgspec.Raw = NULL
    code: msgspec.Raw = NULL
    StatusCode: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    Message: msgspec.Raw = NULL

    @property
    def error_code(self) -> int | str | None:
        """The first code found, as a number where it is one; None where the answer tells of no error."""
        inner = (_held(self.error), _held(self.Error))
        holders: list[ApiError | InvoiceAnswer] = [*(one for one in inner if isinstance(one, ApiError)), self]
        found = next((code for holder in holders for code in _codes(holder)), None)
        return _UNKNOWN_CODE if found is None and _UNKNOWN_CODE in inner else found

    @property
    def is_error(self) -> bool:
        """Whether the answer has one of the API's own error shapes. A gateway's JSON has other ones."""
        inner = (_held(self.error), _held(self.Error))
        if any(isinstance(one, ApiError) and _codes(one) for one in inner):
            return True
        return _is_text(self.Message) or (_is_text(self.message) and bool(_codes(self)))


def _codes(holder: ApiError | InvoiceAnswer) -> list[int | str]:
    return [code for code in (_code(holder.code), _code(holder.StatusCode)) if code is not None]


def _is_text(raw: msgspec.Raw) -> bool:
    return bytes(raw)[:1] == b'"'


def _held(raw: msgspec.Raw) -> ApiError | str | None:
    """What `error` holds: an error object, nothing, or something that no page describes."""
    text = bytes(raw)
    if _is_empty(text):
        return None
    return msgspec.json.decode(text, type=ApiError) if text[:1] == b"{" else _UNKNOWN_CODE


def _code(raw: msgspec.Raw) -> int | str | None:
    """A code as a number where it spells one; None where it says that all is well."""
    text = bytes(raw)
    if _is_empty(text):
        return None
    code = msgspec.json.decode(text, type=str).strip() if text[:1] == b'"' else text.decode()
    number = _NUMBER.fullmatch(code) if code.isascii() else None
    if number is None:
        return code or None
    return None if int(number[1]) == 0 or int(number[1]) in _NO_ERROR else int(number[1])


def _is_empty(text: bytes) -> bool:
    return b"".join(text.split()) in _EMPTY


class ItemType(IntEnum):
    """The numbers of `InvoiceItem.type` that are known; the field itself keeps any number."""

    SERVICE = 0
    PRODUCT = 2
    MEMBERSHIP = 3
    PACKAGE = 4
    DAY_PACKAGE = 5
    GIFT_OR_PREPAID_CARD = 6


class Gender(IntEnum):
    """The numbers of `gender` that are known; the field itself keeps any number."""

    NOT_SPECIFIED = -1
    FEMALE = 0
    MALE = 1
    OTHER = 3


class AmountStatus(Reading, frozen=True):
    """Table AmountStatusModel: what is due, paid and left, in major units. Comes with the expand `dues_and_fees`."""

    total: Money | None = None
    paid: Money | None = None
    balance: Money | None = None


class InvoiceTotalPrice(Reading, frozen=True):
    """Table InvoiceTotalPrice, in major units; negative on a refund. `currency_id` is Zenoti's own, not ISO 4217."""

    currency_id: Number | None = None
    net_price: Money | None = None
    tax: Money | None = None
    rounding_adjustment: Money | None = None
    sum_total: Money | None = None


class ItemPrice(Reading, frozen=True):
    """Table ItemPriceViewModel, in major units; its fields are published in samples only. `discount` may be absent."""

    currency_id: Number | None = None
    sales: Money | None = None
    tax: Money | None = None
    final: Money | None = None
    discount: Money | None = None


class Phone(Reading, frozen=True):
    """A telephone number as an object. `country_code` is Zenoti's own number; `number` is text or, rarely, a number."""

    country_code: Number | None = None
    number: Personal | Annotated[int, PERSONAL] | None = None


class InvoiceGuest(Reading, frozen=True):
    """Table InvoiceGuestModel: who paid. The webhook says `guest_email`, the API `email`; both are read into `email`.

    `mobile_phone` is text in invoices and an object or null in other documents; `gender` is one of `Gender` or newer.
    """

    id: Id | None = None
    first_name: Personal | None = None
    last_name: Personal | None = None
    gender: Annotated[Number, PERSONAL] | None = None
    code: str | None = None
    mobile_phone: Personal | Phone | None = None
    email: Personal | None = None
    _email: Personal | None = field(default=None, name="guest_email")


class InvoiceItem(Reading, frozen=True):
    """Table InvoiceItemModel: one line. `quantity` comes as 1 or 1.0; `type` is one of `ItemType` or newer."""

    invoice_item_id: Id | None = None
    id: Id | None = None
    name: str | None = None
    type: Number | None = None
    is_giftcard: bool | None = None
    code: str | None = None
    price: ItemPrice | None = None
    quantity: Number | None = None
    sale_by_id: Id | None = None
    therapist_name: Personal | None = None
    hsn: str | None = None
    sac: str | None = None


class InvoiceAppointment(Reading, frozen=True):
    """Table InvoiceAppointmentModel: one service on the calendar, its duration in minutes.

    Times are naive, their zone is not told. The duration is spelled `serviceduration_in_miutes` in the table and older
    events, `service_duration_in_minutes` in newer ones; the therapist `therapist_id` here and `TherapistId` there.
    Absent rooms and equipment have `""` for their id.
    """

    id: Id | None = None
    invoice_item_id: Id | None = None
    service_name: str | None = None
    service_id: Id | None = None
    start_time: Time | None = None
    end_time: Time | None = None
    service_duration_in_minutes: Number | None = None
    _service_duration_in_minutes: Number | None = field(default=None, name="serviceduration_in_miutes")
    has_add_ons: bool | None = None
    is_add_on: bool | None = None
    therapist_name: Personal | None = None
    therapist_id: Id | None = None
    _therapist_id: Id | None = field(default=None, name="TherapistId")
    package_id: Id | None = None
    is_recurring: bool | None = None
    cart_item_id: Id | None = None
    appointment_type: Number | None = None
    therapist_request_type: Number | None = None
    room_id: Id | None = None
    room_name: str | None = None
    equipment_id: Id | None = None
    equipment_name: str | None = None


class PaymentOption(Reading, frozen=True):
    """Table PaymentOptionViewModel: how it was paid. Its fields are published nowhere; these are what is likely."""

    id: Id | int | None = None
    type: Number | None = None
    name: str | None = None


class InvoiceTransaction(Reading, frozen=True):
    """Table InvoiceTransactionModel: one payment, in major units; `payment_date` is naive, its zone is not told.

    The cash register is spelled `cash_regester_id` in the table and `cash_register_id` elsewhere. A payment option that
    is a bare name or number is taken too.
    """

    payment_option: PaymentOption | str | int | None = None
    total_amount_paid: Money | None = None
    amount_paid: Money | None = None
    tip_amount: Money | None = None
    ssg_amount: Money | None = None
    donation_amount: Money | None = None
    fee_amount: Money | None = None
    cash_back_amount: Money | None = None
    transaction_id: Id | None = None
    payment_date: Time | None = None
    cash_register_id: Id | None = None
    _cash_register_id: Id | None = field(default=None, name="cash_regester_id")


class AdditionalField(Reading, frozen=True):
    """Table AdditionalField<string, object>: a pair; the value is any JSON, byte for byte, so that no float arises."""

    key: str | None = None
    _key: str | None = field(default=None, name="Key")
    value: Unread = UNSET


class InvoiceDocument(Reading, frozen=True):
    """Table InvoicePOSDetails: an invoice, from the API or from Invoice.Closed; amounts in major units.

    A part that was not asked for is absent, null or an empty list. `is_closed` can be false in Invoice.Closed, and the
    same invoice can close again: keep by `id`. `invoice_date` is naive, its zone is not told. `redemptions` is a part
    that can be asked for, its fields published nowhere.
    """

    group_invoice_id: Id | None = None
    id: Id | None = None
    invoice_number: str | None = None
    invoice_number_prefix: str | None = None
    receipt_number: str | None = None
    appointment_group_id: Id | None = None
    lock: bool | None = None
    is_closed: bool | None = None
    is_refund: bool | None = None
    invoice_date: Time | None = None
    center_id: Id | None = None
    gstin: str | None = None
    invoice_dues: AmountStatus | None = None
    environmental_fee: AmountStatus | None = None
    total_price: InvoiceTotalPrice | None = None
    guest: InvoiceGuest | None = None
    invoice_items: tuple[InvoiceItem, ...] | None = None
    appointments: tuple[InvoiceAppointment, ...] | None = None
    transactions: tuple[InvoiceTransaction, ...] | None = None
    additional_fields: tuple[AdditionalField, ...] | None = None
    redemptions: Unread = UNSET


_document: Final = msgspec.json.Decoder(InvoiceDocument)


def read(invoice: bytes) -> InvoiceDocument:
    """Read an invoice object: the API's, or `data.invoice` of an enriched event.

    Raises:
        Unreadable: it is no object, or a known field holds what it cannot.
    """
    return decode(_document, invoice)
