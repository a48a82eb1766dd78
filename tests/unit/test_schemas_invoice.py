import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.builders import ZERO_ID
from tests.cpu import least_cpu_seconds
from zenoti_schemas.fields import Reading, Unreadable, personal
from zenoti_schemas.invoice import (
    AdditionalField,
    AmountStatus,
    Gender,
    InvoiceAppointment,
    InvoiceDocument,
    InvoiceGuest,
    InvoiceItem,
    InvoiceTotalPrice,
    InvoiceTransaction,
    ItemPrice,
    ItemType,
    PaymentOption,
    Phone,
    read,
)

ID = "1b7d2c4e-8A35-4f60-b1c9-5d2e0b7a0001"
NAIVE = "2031-05-06T08:00:00"
TABLES: dict[str, type[Reading]] = {
    "InvoicePOSDetails": InvoiceDocument,
    "AmountStatusModel": AmountStatus,
    "InvoiceTotalPrice": InvoiceTotalPrice,
    "InvoiceGuestModel": InvoiceGuest,
    "InvoiceItemModel": InvoiceItem,
    "ItemPriceViewModel": ItemPrice,
    "InvoiceAppointmentModel": InvoiceAppointment,
    "InvoiceTransactionModel": InvoiceTransaction,
    "PaymentOptionViewModel": PaymentOption,
    "AdditionalField": AdditionalField,
}
AMOUNT = Decimal("0.10")
ROWS: list[tuple[str, str, str, Any]] = [
    *((("InvoicePOSDetails", key, f'"{ID}"', ID)) for key in ("group_invoice_id", "id", "appointment_group_id")),
    ("InvoicePOSDetails", "invoice_number", '"1001"', "1001"),
    ("InvoicePOSDetails", "invoice_number_prefix", '"QSS"', "QSS"),
    ("InvoicePOSDetails", "receipt_number", '"R2001"', "R2001"),
    *((("InvoicePOSDetails", key, "true", True)) for key in ("lock", "is_closed", "is_refund")),
    ("InvoicePOSDetails", "invoice_date", f'"{NAIVE}"', NAIVE),
    ("InvoicePOSDetails", "center_id", f'"{ID}"', ID),
    ("InvoicePOSDetails", "gstin", '""', ""),
    ("InvoicePOSDetails", "invoice_dues", '{"total": 0.10}', AmountStatus(total=AMOUNT)),
    ("InvoicePOSDetails", "environmental_fee", '{"paid": 0.10}', AmountStatus(paid=AMOUNT)),
    ("InvoicePOSDetails", "total_price", '{"tax": 0.10}', InvoiceTotalPrice(tax=AMOUNT)),
    ("InvoicePOSDetails", "guest", '{"first_name": "Ada"}', InvoiceGuest(first_name="Ada")),
    ("InvoicePOSDetails", "invoice_items", '[{"hsn": "1"}]', (InvoiceItem(hsn="1"),)),
    ("InvoicePOSDetails", "appointments", '[{"is_add_on": true}]', (InvoiceAppointment(is_add_on=True),)),
    ("InvoicePOSDetails", "transactions", '[{"tip_amount": 0.10}]', (InvoiceTransaction(tip_amount=AMOUNT),)),
    ("InvoicePOSDetails", "additional_fields", '[{"key": "k"}]', (AdditionalField(key="k"),)),
    *((("AmountStatusModel", key, "0.10", AMOUNT)) for key in ("total", "paid", "balance")),
    ("InvoiceTotalPrice", "currency_id", "148", 148),
    *(
        ("InvoiceTotalPrice", key, "-0.10", -AMOUNT)
        for key in ("net_price", "tax", "rounding_adjustment", "sum_total")
    ),
    ("InvoiceGuestModel", "id", f'"{ID}"', ID),
    ("InvoiceGuestModel", "first_name", '"Zoë"', "Zoë"),
    ("InvoiceGuestModel", "last_name", '"Sampleton"', "Sampleton"),
    ("InvoiceGuestModel", "gender", "-1", Gender.NOT_SPECIFIED),
    ("InvoiceGuestModel", "code", '"G1"', "G1"),
    ("InvoiceGuestModel", "mobile_phone", '"+1 555 0142"', "+1 555 0142"),
    ("InvoiceGuestModel", "email", '"ada@example.com"', "ada@example.com"),
    *((("InvoiceItemModel", key, f'"{ID}"', ID)) for key in ("invoice_item_id", "id", "sale_by_id")),
    *((("InvoiceItemModel", key, '"Gloss"', "Gloss")) for key in ("name", "code", "therapist_name", "hsn", "sac")),
    ("InvoiceItemModel", "type", "6", ItemType.GIFT_OR_PREPAID_CARD),
    ("InvoiceItemModel", "is_giftcard", "false", False),
    ("InvoiceItemModel", "price", '{"final": 0.10}', ItemPrice(final=AMOUNT)),
    ("InvoiceItemModel", "quantity", "2", 2),
    ("ItemPriceViewModel", "currency_id", "148", 148),
    *((("ItemPriceViewModel", key, "0.10", AMOUNT)) for key in ("sales", "tax", "final", "discount")),
    *(
        ("InvoiceAppointmentModel", key, f'"{ID}"', ID)
        for key in (
            "id", "invoice_item_id", "service_id", "therapist_id", "package_id", "cart_item_id", "room_id",
            "equipment_id",
        )
    ),
    *((("InvoiceAppointmentModel", key, f'"{NAIVE}"', NAIVE)) for key in ("start_time", "end_time")),
    *(
        ("InvoiceAppointmentModel", key, '"Room 9"', "Room 9")
        for key in ("service_name", "therapist_name", "room_name", "equipment_name")
    ),
    ("InvoiceAppointmentModel", "serviceduration_in_miutes", "195", 195),
    *((("InvoiceAppointmentModel", key, "true", True)) for key in ("has_add_ons", "is_add_on", "is_recurring")),
    *((("InvoiceAppointmentModel", key, "2", 2)) for key in ("appointment_type", "therapist_request_type")),
    ("InvoiceTransactionModel", "payment_option", '{"name": "Cash"}', PaymentOption(name="Cash")),
    *(
        ("InvoiceTransactionModel", key, "0.10", AMOUNT)
        for key in (
            "total_amount_paid", "amount_paid", "tip_amount", "ssg_amount", "donation_amount", "fee_amount",
            "cash_back_amount",
        )
    ),
    *((("InvoiceTransactionModel", key, f'"{ID}"', ID)) for key in ("transaction_id", "cash_regester_id")),
    ("InvoiceTransactionModel", "payment_date", f'"{NAIVE}"', NAIVE),
    *((("PaymentOptionViewModel", key, '"x"', "x")) for key in ("id", "name")),
    ("PaymentOptionViewModel", "type", "2", 2),
    ("AdditionalField", "key", '"walk_in"', "walk_in"),
    ("AdditionalField", "value", '{"a": 0.10}', b'{"a": 0.10}'),
]  # fmt: skip
SPELLED = {
    "serviceduration_in_miutes": "service_duration_in_minutes",
    "cash_regester_id": "cash_register_id",
    "TherapistId": "therapist_id",
    "guest_email": "email",
}


def table(name: str, body: str) -> Reading:
    """One object of a table."""
    return msgspec.json.decode(body, type=TABLES[name])


def field(reading: Reading, key: str) -> Any:
    """What was read for a key, by whatever spelling."""
    found = getattr(reading, SPELLED.get(key, key))
    return bytes(found) if isinstance(found, msgspec.Raw) else found


@pytest.mark.parametrize(
    ("name", "key", "sample", "expected"), [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in ROWS]
)
def test_row(name: str, key: str, sample: str, expected: Any) -> None:
    """Each row of the published tables is read exactly, never as a float; null and absence are fine."""
    found = field(table(name, f'{{"{key}": {sample}, "newer": 0.1}}'), key)
    assert found == expected
    assert type(found) is not float
    assert field(table(name, "{}"), key) in (None, msgspec.UNSET)
    assert field(table(name, f'{{"{key}": null}}'), key) in (None, b"null")


@pytest.mark.parametrize(
    ("name", "variant", "other", "value"),
    [
        ("InvoiceAppointmentModel", "serviceduration_in_miutes", "service_duration_in_minutes", 45),
        ("InvoiceAppointmentModel", "TherapistId", "therapist_id", ID),
        ("InvoiceTransactionModel", "cash_regester_id", "cash_register_id", ID),
        ("InvoiceGuestModel", "guest_email", "email", "ada@example.com"),
    ],
)
def test_spellings(name: str, variant: str, other: str, value: object) -> None:
    """Both spellings of a key read the same, and an empty spelling gives way to the other."""
    texts = [
        {variant: value},
        {other: value},
        {variant: value, other: None},
        {variant: value, other: ""},
        {variant: None, other: value},
    ]
    readings = [table(name, json.dumps(text)) for text in texts if "" not in text.values() or isinstance(value, str)]
    assert {getattr(reading, other) for reading in readings} == {value}
    assert len(set(readings)) == 1


TOO_MUCH = [
    "1e999999", "-1e999999", "1e-999999", "0e999999", '"NaN"', '"Infinity"', '"sNaN"', "1e29", "9" * 30, "9" * 5000,
    "0." + "1" * 30, "1" + "0" * 1_000_000, "0." + "0" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("number", TOO_MUCH, ids=lambda text: f"{text[:12]} of {len(text)}")
@pytest.mark.parametrize("place", ["total_price.tax", "total_price.currency_id"])
def test_a_number_out_of_bounds_is_refused_cheaply(number: str, place: str) -> None:
    """A number that .NET's decimal could not hold is refused with the path of its field, without being written out."""
    outer, inner = place.split(".")
    body = f'{{"{outer}": {{"{inner}": {number}}}}}'.encode()
    with pytest.raises(Unreadable) as caught:
        read(body)

    def refused() -> None:
        with pytest.raises(Unreadable):
            read(body)

    assert least_cpu_seconds(refused, times=2) < 1
    assert caught.value.place == f"$.{place}"
    assert caught.value.what in ("number out of bounds", "impossible type")


@pytest.mark.parametrize(
    "number", ["0", "-488.10", "79228162514264337593543950335", "0.0000000000000000000000000001", "1E+5"]
)
def test_money_is_exact(number: str) -> None:
    """Money keeps its digits, trailing zeros too, as number and as text."""
    for spelled in (number, f'"{number}"'):
        document = read(f'{{"total_price": {{"tax": {spelled}}}}}'.encode())
        assert document.total_price
        assert isinstance(document.total_price.tax, Decimal)
        assert document.total_price.tax.as_tuple() == Decimal(number).as_tuple()


@pytest.mark.parametrize(
    ("spelled", "read_as"), [("1", 1), ("1.0", 1), ("1e0", 1), ('"2"', 2), ("0.5", Decimal("0.5"))]
)
def test_whole_numbers(spelled: str, read_as: object) -> None:
    """A quantity of 1.0 is the int 1; a fraction stays exact."""
    found = field(table("InvoiceItemModel", f'{{"quantity": {spelled}}}'), "quantity")
    assert (found, type(found)) == (read_as, type(read_as))


@pytest.mark.parametrize(
    "text", ["", "0001-01-01T00:00:00", "2031-05-06 08:00:00.000", "2031-05-06T08:00:00.1234567Z", NAIVE]
)
def test_times_stay_as_they_came(text: str) -> None:
    """A time is never given a zone, rounded or refused: it stays the text that came."""
    assert field(table("InvoicePOSDetails", json.dumps({"invoice_date": text})), "invoice_date") == text


@pytest.mark.parametrize("text", ["", ZERO_ID, "442af543-6b2c-7677-65t3-4dff40d43987", "-1", ID.upper()])
def test_ids_stay_as_they_came(text: str) -> None:
    """An id stays text in its letter case, GUID or not."""
    assert field(table("InvoicePOSDetails", json.dumps({"id": text})), "id") == text


@pytest.mark.parametrize("phone", [Phone(country_code=1, number="555"), Phone(number=555), "555", None])
def test_phones(phone: Phone | str | None) -> None:
    """A telephone is text, an object or null."""
    body = msgspec.json.encode({"mobile_phone": phone}).decode()
    assert field(table("InvoiceGuestModel", body), "mobile_phone") == phone


@pytest.mark.parametrize("number", [1, 99, -7])
def test_unknown_numbers_of_enums_are_kept(number: int) -> None:
    """A kind of item or gender that is newer than this stays its number."""
    assert field(table("InvoiceItemModel", f'{{"type": {number}}}'), "type") == number
    assert field(table("InvoiceGuestModel", f'{{"gender": {number}}}'), "gender") == number


@pytest.mark.parametrize("option", ['"Cash"', "2", "null", '{"fee": 0.1}'])
def test_payment_option_of_any_likely_shape(option: str) -> None:
    """The fields of a payment option are published nowhere, so a name, a number and any object are read."""
    assert not isinstance(
        field(table("InvoiceTransactionModel", f'{{"payment_option": {option}}}'), "payment_option"), float
    )


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"invoice_items": [{}, {"price": {"tax": ["hush"]}}]}', "$.invoice_items[1].price.tax"),
        (b'{"guest": {"guest_email": {"hush": 1}}}', "$.guest.guest_email"),
        (b'{"id": 5}', "$.id"),
        (b'{"lock": "hush"}', "$.lock"),
        (b'{"appointments": [{"serviceduration_in_miutes": 1e99}]}', "$.appointments[0].serviceduration_in_miutes"),
        (b'{"total_price": {"tax": "hush` - at `$.other"}}', "$.total_price.tax"),
        (b'["hush"]', "$"),
        (b'{"hush', "$"),
        (b'{"id": "\xffhush"}', "$"),
        (b'{"a":' * 100_000, "$"),
    ],
)
def test_unreadable_names_the_place_never_the_value(body: bytes, place: str) -> None:
    """An unreadable field is reported by its path, as it was spelled; the value stays out of every text."""
    with pytest.raises(Unreadable) as caught:
        read(body)
    assert caught.value.place == place
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_personal_fields_can_be_asked_for() -> None:
    """A program can list where personal data stands, through lists and unions, and nothing else is listed."""
    found = personal(InvoiceDocument)
    assert {"guest.first_name", "guest.guest_email", "guest.mobile_phone", "guest.mobile_phone.number", "guest.gender",
            "invoice_items[].therapist_name", "appointments[].therapist_name"} <= found  # fmt: skip
    assert not found & {"id", "guest.id", "total_price.tax", "invoice_items[].name", "guest", "invoice_items"}
