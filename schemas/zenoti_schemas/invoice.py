"""The answers of the invoice API: the frame, its error shapes, and the invoice itself. Tolerant readings.

Source: https://docs.zenoti.com/reference/retrieve-invoice-details (GET /v1/invoices/{invoice_id}); integrators have
seen the error shapes other than the first in practice. The webhook of a closed invoice carries the same object, spelled
a little differently: https://docs.zenoti.com/reference/sample-events
"""

import re
from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, field

from zenoti_schemas.fields import PERSONAL, Id, Maybe, Money, Number, Personal, Reading, Time, Unread, decode

NULL: Final = msgspec.Raw(b"null")
_NUMBER: Final = re.compile(r"(\d{1,9})(?:\.0{1,9})?")
_NO_ERROR: Final = range(200, 300)  # some answers have these codes beside a good invoice; also 0 and ""
_UNKNOWN_CODE: Final = "unknown"
_EMPTY: Final = frozenset((b"null", b"false", b"0", b'""', b"[]", b"{}"))


class ApiError(msgspec.Struct, frozen=True):
    """An error object: `{"code", "message"}` or `{"StatusCode", "Message"}`; a code is a number or a word."""

    code: msgspec.Raw = NULL
    StatusCode: msgspec.Raw = NULL


class InvoiceAnswer(msgspec.Struct, frozen=True):
    """The frame of every answer: `{"invoice": {…}, "error": null}`, or one of the error shapes.

    `error` and `Error` hold an error object; a bare error has `code` and `StatusCode` at the top; ASP.NET itself
    answers `{"Message": "…"}`. Error texts are not read: they may quote the request.
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
        """The first code found, as a number if it is numeric; None if the answer reports no error."""
        inner = (_held(self.error), _held(self.Error))
        holders: list[ApiError | InvoiceAnswer] = [*(held for held in inner if isinstance(held, ApiError)), self]
        found = next((code for holder in holders for code in _codes(holder)), None)
        return _UNKNOWN_CODE if found is None and _UNKNOWN_CODE in inner else found

    @property
    def is_error(self) -> bool:
        """Whether the answer has one of the API's own error shapes. A gateway's JSON has other shapes."""
        inner = (_held(self.error), _held(self.Error))
        if any(isinstance(held, ApiError) and _codes(held) for held in inner):
            return True
        return _is_text(self.Message) or (_is_text(self.message) and bool(_codes(self)))


def _codes(holder: ApiError | InvoiceAnswer) -> list[int | str]:
    return [code for code in (_code(holder.code), _code(holder.StatusCode)) if code is not None]


def _is_text(raw: msgspec.Raw) -> bool:
    return bytes(raw)[:1] == b'"'


def _held(raw: msgspec.Raw) -> ApiError | str | None:
    """The content of `error`: an error object, nothing, or something undocumented."""
    text = bytes(raw)
    if _is_empty(text):
        return None
    return msgspec.json.decode(text, type=ApiError) if text[:1] == b"{" else _UNKNOWN_CODE


def _code(raw: msgspec.Raw) -> int | str | None:
    """A code, as a number if it is numeric; None if it means success."""
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
    """The numbers of `InvoiceItem.type` that are known; the field keeps any number."""

    SERVICE = 0
    PRODUCT = 2
    MEMBERSHIP = 3
    PACKAGE = 4
    DAY_PACKAGE = 5
    GIFT_OR_PREPAID_CARD = 6


class Gender(IntEnum):
    """The numbers of `gender` that are known; the field keeps any number."""

    NOT_SPECIFIED = -1
    FEMALE = 0
    MALE = 1
    OTHER = 3


class AmountStatus(Reading, frozen=True):
    """Table AmountStatusModel: amounts due, paid and left, in major units. Comes with the expand `dues_and_fees`."""

    total: Maybe[Money] = None
    paid: Maybe[Money] = None
    balance: Maybe[Money] = None


class InvoiceTotalPrice(Reading, frozen=True):
    """Table InvoiceTotalPrice, in major units; negative on a refund. `currency_id` is Zenoti's own, not ISO 4217."""

    currency_id: Maybe[Number] = None
    net_price: Maybe[Money] = None
    tax: Maybe[Money] = None
    rounding_adjustment: Maybe[Money] = None
    sum_total: Maybe[Money] = None


class ItemPrice(Reading, frozen=True):
    """Table ItemPriceViewModel, in major units; only samples show its fields. `discount` may be absent."""

    currency_id: Maybe[Number] = None
    sales: Maybe[Money] = None
    tax: Maybe[Money] = None
    final: Maybe[Money] = None
    discount: Maybe[Money] = None


class Phone(Reading, frozen=True):
    """A telephone number as an object. `country_code` is Zenoti's own number; `number` is text or, rarely, a number."""

    country_code: Maybe[Number] = None
    number: Maybe[Personal | Annotated[int, PERSONAL]] = None


class InvoiceGuest(Reading, frozen=True):
    """Table InvoiceGuestModel: who paid. The webhook has `guest_email`, the API `email`; both are read into `email`.

    `mobile_phone` is text in invoices and an object or null in other documents; `gender` is in `Gender` or newer.
    """

    id: Maybe[Id] = None
    first_name: Maybe[Personal] = None
    last_name: Maybe[Personal] = None
    gender: Maybe[Annotated[Number, PERSONAL]] = None
    code: Maybe[str] = None
    mobile_phone: Maybe[Personal | Phone] = None
    email: Maybe[Personal] = None
    _email: Maybe[Personal] = field(default=None, name="guest_email")


class InvoiceItem(Reading, frozen=True):
    """Table InvoiceItemModel: a line. `quantity` comes as 1 or 1.0; `type` is in `ItemType` or newer."""

    invoice_item_id: Maybe[Id] = None
    id: Maybe[Id] = None
    name: Maybe[str] = None
    type: Maybe[Number] = None
    is_giftcard: Maybe[bool] = None
    code: Maybe[str] = None
    price: Maybe[ItemPrice] = None
    quantity: Maybe[Number] = None
    sale_by_id: Maybe[Id] = None
    therapist_name: Maybe[Personal] = None
    hsn: Maybe[str] = None
    sac: Maybe[str] = None


class InvoiceAppointment(Reading, frozen=True):
    """Table InvoiceAppointmentModel: a service on the calendar, its duration in minutes.

    Times have no zone, and it is not known. The duration is spelled `serviceduration_in_miutes` in the table and in
    older events, `service_duration_in_minutes` in newer events; the therapist is spelled `therapist_id` here and
    `TherapistId` there. An absent room or equipment has the id `""`.
    """

    id: Maybe[Id] = None
    invoice_item_id: Maybe[Id] = None
    service_name: Maybe[str] = None
    service_id: Maybe[Id] = None
    start_time: Maybe[Time] = None
    end_time: Maybe[Time] = None
    service_duration_in_minutes: Maybe[Number] = None
    _service_duration_in_minutes: Maybe[Number] = field(default=None, name="serviceduration_in_miutes")
    has_add_ons: Maybe[bool] = None
    is_add_on: Maybe[bool] = None
    therapist_name: Maybe[Personal] = None
    therapist_id: Maybe[Id] = None
    _therapist_id: Maybe[Id] = field(default=None, name="TherapistId")
    package_id: Maybe[Id] = None
    is_recurring: Maybe[bool] = None
    cart_item_id: Maybe[Id] = None
    appointment_type: Maybe[Number] = None
    therapist_request_type: Maybe[Number] = None
    room_id: Maybe[Id] = None
    room_name: Maybe[str] = None
    equipment_id: Maybe[Id] = None
    equipment_name: Maybe[str] = None


class PaymentOption(Reading, frozen=True):
    """Table PaymentOptionViewModel: how it was paid. Its fields are not published; these are likely."""

    id: Maybe[Id | int] = None
    type: Maybe[Number] = None
    name: Maybe[str] = None


class InvoiceTransaction(Reading, frozen=True):
    """Table InvoiceTransactionModel: a payment, in major units; `payment_date` has no zone, and it is not known.

    The cash register is spelled `cash_regester_id` in the table and `cash_register_id` elsewhere. A payment option may
    also be a bare name or number.
    """

    payment_option: Maybe[PaymentOption | str | int] = None
    total_amount_paid: Maybe[Money] = None
    amount_paid: Maybe[Money] = None
    tip_amount: Maybe[Money] = None
    ssg_amount: Maybe[Money] = None
    donation_amount: Maybe[Money] = None
    fee_amount: Maybe[Money] = None
    cash_back_amount: Maybe[Money] = None
    transaction_id: Maybe[Id] = None
    payment_date: Maybe[Time] = None
    cash_register_id: Maybe[Id] = None
    _cash_register_id: Maybe[Id] = field(default=None, name="cash_regester_id")


class AdditionalField(Reading, frozen=True):
    """Table AdditionalField<string, object>: a pair; the value is any JSON, byte for byte, to avoid floats."""

    key: Maybe[str] = None
    _key: Maybe[str] = field(default=None, name="Key")
    value: Unread = UNSET


class InvoiceDocument(Reading, frozen=True):
    """Table InvoicePOSDetails: an invoice, from the API or from Invoice.Closed; amounts in major units.

    A part that was not requested is absent, null or an empty list. `is_closed` can be false in Invoice.Closed, and the
    same invoice can close again: store by `id`. `invoice_date` has no zone, and it is not known. `redemptions` is a
    part that can be requested; its fields are not published.
    """

    group_invoice_id: Maybe[Id] = None
    id: Maybe[Id] = None
    invoice_number: Maybe[str] = None
    invoice_number_prefix: Maybe[str] = None
    receipt_number: Maybe[str] = None
    appointment_group_id: Maybe[Id] = None
    lock: Maybe[bool] = None
    is_closed: Maybe[bool] = None
    is_refund: Maybe[bool] = None
    invoice_date: Maybe[Time] = None
    center_id: Maybe[Id] = None
    gstin: Maybe[str] = None
    invoice_dues: Maybe[AmountStatus] = None
    environmental_fee: Maybe[AmountStatus] = None
    total_price: Maybe[InvoiceTotalPrice] = None
    guest: Maybe[InvoiceGuest] = None
    invoice_items: Maybe[tuple[InvoiceItem, ...]] = None
    appointments: Maybe[tuple[InvoiceAppointment, ...]] = None
    transactions: Maybe[tuple[InvoiceTransaction, ...]] = None
    additional_fields: Maybe[tuple[AdditionalField, ...]] = None
    redemptions: Unread = UNSET


_document: Final = msgspec.json.Decoder(InvoiceDocument)


def read(invoice: bytes) -> InvoiceDocument:
    """Read an invoice object: the API's, or `data.invoice` of an enriched event.

    Raises:
        Unreadable: it is not an object, or a known field has an impossible value.
    """
    return decode(_document, invoice)
