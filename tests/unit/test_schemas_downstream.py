import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from tests.builders import enrichment, json_values, received
from tests.cpu import least_cpu_seconds
from tests.strange import INVOICE_FIELDS, strange
from zenoti_ingest.core.events import cloud_event, reading
from zenoti_schemas import downstream
from zenoti_schemas.fields import Unreadable
from zenoti_schemas.invoice import InvoiceDocument, InvoiceItem
from zenoti_schemas.webhook import EVENTS, InvoiceClosed, UnknownEvent, read

ID = "1b7d2c4e-8A35-4f60-b1c9-5d2e0b7a0001"


def message(*, attributes: dict[str, Any] | None = None, **data: Any) -> bytes:
    """What stands in a downstream queue."""
    whole = {
        "specversion": "1.0", "id": "e1", "source": "/zenoti/main", "type": "com.zenoti.invoice.closed",
        "datacontenttype": "application/json", "dataschema": "urn:x", "newer": 0.1,
        "data": {"event": {}, "invoice": None, "enrichment": {"status": "enriched"}} | data,
    }  # fmt: skip
    return json.dumps(whole | (attributes or {})).encode()


@pytest.mark.parametrize(
    "event",
    [{"invoice": {"id": ID}}, {"event_type": "Invoice.Closed", "data": {"invoice": {"id": ID}}}],
    ids=["bare", "envelope"],
)
def test_delivered(event: dict[str, Any]) -> None:
    """A message is read whole: the event by its type, bare or enveloped, and the invoice beside it."""
    found = downstream.read(message(event=event, invoice={"id": ID.upper(), "lock": True}))
    assert (found.type, found.envelope.event_type) == ("invoice.closed", event.get("event_type"))
    assert found.event == read("invoice.closed", json.dumps({"invoice": {"id": ID}}).encode())
    assert found.invoice
    assert found.message.data
    assert found.message.data.enrichment
    assert (found.invoice.lock, found.message.data.enrichment.status) == (True, "enriched")
    assert found.unread == ()


@pytest.mark.parametrize(
    ("event", "unread"),
    [
        ([], ("data.event",)),
        ("x", ("data.event",)),
        ({"data": None}, ("data.event.data",)),
        ({"data": [1]}, ("data.event.data",)),
    ],
    ids=repr,
)
def test_delivered_without_an_object(event: object, unread: tuple[str, ...]) -> None:
    """A webhook that was no object, or had none in it, is delivered as bytes, and reported if its type has a shape."""
    found = downstream.read(message(event=event))
    assert isinstance(found.event, UnknownEvent)
    assert json.loads(bytes(found.event.data)) == (event["data"] if isinstance(event, dict) else event)
    assert (found.invoice, found.unread) == (None, unread)
    unknown = downstream.read(message(event=event, attributes={"type": "com.zenoti.unknown"}))
    assert (unknown.event, unknown.unread) == (found.event, ())


@pytest.mark.parametrize(
    ("parts", "unread"),
    [
        ({"event": {"event_type": ["hush"]}}, "data.event.event_type"),
        ({"event": {"event_id": 5, "data": {}}}, "data.event.event_id"),
        ({"event": {"invoice": {"id": 5}}}, "data.event.invoice.id"),
        ({"event": {"data": {"invoice": {"lock": "hush"}}}}, "data.event.data.invoice.lock"),
        ({"event": {"data": {"invoice": ["hush"]}}}, "data.event.data.invoice"),
        ({"invoice": ["hush"]}, "data.invoice"),
        ({"invoice": {"guest": {"email": 5}}}, "data.invoice.guest.email"),
        ({"invoice": {"guest": {"guest_email": 5}}}, "data.invoice.guest.guest_email"),
        ({"invoice": {"guest": {"mobile_phone": {"number": []}}}}, "data.invoice.guest.mobile_phone.number"),
        ({"invoice": {"guest": {"mobile_phone": 5}}}, "data.invoice.guest.mobile_phone"),
        ({"invoice": {"transactions": {}}}, "data.invoice.transactions"),
        ({"invoice": {"invoice_items": [{}, 5]}}, "data.invoice.invoice_items[1]"),
        ({"invoice": {"invoice_items": [{}, {"price": {"tax": "hush"}}]}}, "data.invoice.invoice_items[1].price.tax"),
        ({"invoice": {"total_price": {"tax": 10**40}}}, "data.invoice.total_price.tax"),
        ({"invoice": {"invoice_items": [{"quantity": 10**40}]}}, "data.invoice.invoice_items[0].quantity"),
        ({"enrichment": {"status": ["hush"]}}, "data.enrichment.status"),
        ({"enrichment": {"expand": ["a", 5]}}, "data.enrichment.expand[1]"),
        ({"enrichment": "hush"}, "data.enrichment"),
        ({"attributes": {"time": 5}}, "time"),
        ({"attributes": {"id": ["hush"]}}, "id"),
        ({"attributes": {"data": "hush"}}, "data"),
    ],
)
def test_a_field_of_another_type(parts: dict[str, Any], unread: str) -> None:
    """It is UNSET and its path is reported, never its value; everything beside it is read."""
    whole: dict[str, Any] = {"event": {"data": {}}, "invoice": {"id": "i-9"}} | parts
    found = downstream.read(message(**whole))
    assert found.unread == (unread,)
    assert "hush" not in str(found.unread)
    if not unread.startswith("data.invoice") and unread != "data":
        assert found.invoice == InvoiceDocument(id="i-9")
    at: Any = found.message if unread.startswith(("time", "id")) or unread == "data" else None
    assert at is None or getattr(at, unread) is UNSET


def test_one_bad_item_spoils_its_own_field_only() -> None:
    """In a long list only the bad field is UNSET; the item's other fields, the other items and the sums are there."""
    items = [{"name": "a", "quantity": 1, "code": f"c{n}"} for n in range(50)]
    items[7]["name"] = items[9]["quantity"] = {"hush": 1}
    found = downstream.read(message(invoice={"invoice_items": items, "total_price": {"tax": "0.10"}})).invoice
    assert found
    assert found.invoice_items
    assert found.total_price
    assert found.invoice_items[7] == InvoiceItem(name=UNSET, quantity=1, code="c7")
    assert found.invoice_items[9] == InvoiceItem(name="a", quantity=UNSET, code="c9")
    assert [item.code for item in found.invoice_items] == [f"c{n}" for n in range(50)]
    assert found.total_price.tax == Decimal("0.10")


def test_another_spelling_stands_in() -> None:
    """If only one spelling of a field has another type, the good spelling counts."""
    found = downstream.read(message(invoice={"guest": {"email": 5, "guest_email": "a@example.com"}}))
    assert found.invoice
    assert found.invoice.guest
    assert (found.invoice.guest.email, found.unread) == ("a@example.com", ("data.invoice.guest.email",))


def test_an_unpaired_surrogate() -> None:
    """It is U+FFFD in what is read; the bytes of event and invoice are as they came."""
    event = (
        b'{"event_id": "e-1", "data": {"invoice": {"id": "i-1", "guest": {"first_name": "Ada \\ud83d", "code": 5}}}}'
    )
    invoice = b'{ "id": "i-1", "data": {"event": 1}, "guest": {"last_name": "\\uDE00\\\\ud83d \\ud83d\\ude00"} }'
    whole = (
        message()
        .replace(b'"event": {}', b'"event":  %s ' % event)
        .replace(b'"invoice": null', b'"invoice": ' + invoice)
    )
    found = downstream.read(whole.replace(b'"newer": 0.1', b'"newer": "\\udfff", "data": 5'))
    assert found.message.data
    assert found.message.data.event
    assert found.message.data.invoice
    assert (bytes(found.message.data.event), bytes(found.message.data.invoice)) == (event, invoice)
    assert isinstance(found.event, InvoiceClosed)
    assert found.event.invoice
    assert found.event.invoice.guest
    assert found.event.invoice.guest.first_name == "Ada \ufffd"
    assert found.invoice
    assert found.invoice.guest
    assert found.invoice.guest.last_name == "\ufffd\\ud83d \U0001f600"
    assert found.unread == ("data.event.data.invoice.guest.code",)


def test_the_bytes_of_an_unknown_event_are_as_they_came() -> None:
    """Where nobody knows the type, its `data` is bytes, and so is that of the envelope."""
    whole = message(attributes={"type": "com.zenoti.novel.thing"})
    found = downstream.read(whole.replace(b'"event": {}', b'"event": {"x": "data", "data": ["\\ud83d"]}'))
    assert isinstance(found.event, UnknownEvent)
    assert found.envelope.data
    assert bytes(found.event.data) == bytes(found.envelope.data) == b'["\\ud83d"]'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"5",
        b"null",
        b'"hush"',
        b"{",
        b'{"a": 1',
        b'{"hush": nope}',
        b'{"a": "\\ud83d}',
        b"\xff",
        b'{"data": {"\xff": 1}}',
        b"[" * 9999,
    ],
)
def test_only_what_is_no_json_object_is_unreadable(body: bytes) -> None:
    """For everything else `read` raises nothing."""
    with pytest.raises(Unreadable) as caught:
        downstream.read(body)
    assert "hush" not in str(caught.value)


def test_an_empty_object() -> None:
    """What is missing is UNSET where a CloudEvent must have it, and no field of another type."""
    found = downstream.read(b"{}")
    assert (found.message.id, found.message.data, found.message.subject) == (UNSET, UNSET, None)
    assert (found.type, found.invoice, found.unread) == ("unknown", None, ())


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(sorted(EVENTS)) | st.text(max_size=5),
    parts=st.fixed_dictionaries({}, optional={"event": json_values, "invoice": json_values, "enrichment": json_values}),
    attributes=st.dictionaries(st.sampled_from(["id", "time", "data", "type", "x"]), json_values, max_size=2),
)
def test_any_object_is_read(kind: str, parts: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Whatever stands in it."""
    found = downstream.read(message(**parts, attributes={"type": f"com.zenoti.{kind}"} | attributes))
    assert all(path.replace("[", ".").split(".")[0] in {"id", "time", "data", "type"} for path in found.unread)


@pytest.mark.parametrize("field", INVOICE_FIELDS)
def test_an_odd_field_of_an_invoice(field: str) -> None:
    """What no longer stops an event is read by its receiver too: the rest of the invoice is there."""
    found = downstream.read(message().replace(b'"invoice": null', b'"invoice": {"id": "i-1", %s}' % field.encode()))
    assert found.invoice
    assert found.invoice.id == "i-1"
    name = field.split('"')[1]
    assert all(path.startswith(f"data.invoice.{name}") for path in found.unread)
    assert found.unread or name == "redemptions"


def test_everything_strange_is_read() -> None:
    """All odd webhooks that come out are read by the receiver, with the bytes as they came."""
    for case in strange():
        event = reading.read(received(body=case.body, content_encoding=case.encoding or None))
        out = cloud_event.outgoing(event, exchange="e", enrichment=enrichment())
        found = downstream.read(out.body)
        assert found.message.data
        assert found.message.data.event
        assert bytes(found.message.data.event) == case.plain.strip()
        assert (found.message.id, found.message.eventid, found.type) == (event.id, event.event_id, event.type)


def test_bad_fields_cost_linear_time() -> None:
    """Four times as many bad fields take some four times as long: the document is not read anew for each."""

    def seconds(count: int) -> float:
        items = [{"name": 5, "price": {"final": 1.5}} for _ in range(count)]
        body = message(invoice={"id": "i-1", "invoice_items": items})
        assert len(downstream.read(body).unread) == count
        return least_cpu_seconds(lambda: downstream.read(body))

    assert seconds(4000) < 12 * seconds(1000) + 0.1
