import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_rabbitmq_event
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import INVOICE_ID, RECEIPT_ID, RECEIVED_AT, data, enrichment, event, json_objects, received
from zenoti_ingest.core.events.cloud_event import outgoing
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.events.reading import Event, read
from zenoti_ingest.core.events.trace_context import context


def written(some: Event, *, invoice: bytes | None = None, **how: Any) -> Outgoing:
    """The message for the events exchange."""
    return outgoing(some, exchange="zenoti.events", enrichment=enrichment(**how), fetched=invoice)


def test_the_whole_document() -> None:
    """Every attribute and every part of data stands where the interface says."""
    found = written(event(), invoice=b'{"id": 1}', missing=("Transactions",))
    assert json.loads(found.body) == {
        "specversion": "1.0",
        "id": "64f1c0de5a5e0a0001ab0001.0123456789abcdef",
        "eventid": "64f1c0de5a5e0a0001ab0001",
        "source": "/zenoti/main",
        "type": "com.zenoti.invoice.closed",
        "subject": INVOICE_ID,
        "time": "2031-05-06T17:08:09.1234567Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:zenoti-ingest:enriched-event:v1",
        "centerid": "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0003",
        "receivedat": RECEIVED_AT,
        "receiptid": RECEIPT_ID,
        "data": {
            "event": {"data": {"total": 0.1}},
            "invoice": {"id": 1},
            "enrichment": {
                "status": "enriched",
                "expand": ["InvoiceItems"],
                "missing": ["Transactions"],
                "fetched_at": "2031-05-06T17:08:11.000000Z",
                "reason": None,
            },
        },
    }


def test_the_message_around_it() -> None:
    """The message goes to the events exchange by source and type, named by the event, in the structured mode."""
    found = written(event())
    assert (found.exchange, found.routing_key) == ("zenoti.events", "main.invoice.closed")
    assert found.message_id == "64f1c0de5a5e0a0001ab0001.0123456789abcdef"
    assert (found.content_type, found.content_encoding) == ("application/cloudevents+json", None)


def test_attributes_stand_again_as_headers() -> None:
    """Receivers can route and filter by `ce-` headers without parsing; they are text and say what the body says."""
    found = written(event(message=received(replay="r1")))
    document = json.loads(found.body)
    del document["data"]
    assert found.headers == {f"ce-{name}": value for name, value in document.items()}
    assert document["replay"] == "r1"
    assert all(isinstance(value, str) for value in found.headers.values())


def test_what_is_not_known_is_left_out() -> None:
    """An attribute without a value is absent from body and headers, never null: CloudEvents knows no null."""
    bare = event(
        event_id=None, subject=None, time=None, center_id=None, message=received(receipt_id="", received_at="")
    )
    found = written(bare)
    absent = {"eventid", "subject", "time", "centerid", "receivedat", "receiptid", "replay"}
    assert not absent & set(json.loads(found.body))
    assert not {f"ce-{name}" for name in absent} & set(found.headers)


@pytest.mark.parametrize("status", ["not_applicable", "skipped", "failed"])
def test_without_an_invoice(status: str) -> None:
    """Where no invoice was read `invoice` is null, and the status says why."""
    document = json.loads(written(event(), status=status, fetched_at=None, reason="refused").body)
    assert document["data"]["invoice"] is None
    assert document["data"]["enrichment"] == {
        "status": status,
        "expand": ["InvoiceItems"],
        "missing": [],
        "fetched_at": None,
        "reason": "refused",
    }


def test_numbers_keep_their_spelling() -> None:
    """`0.10` stays `0.10`, and a number that no float holds stays whole."""
    numbers = b'{"a": 0.10, "b": 1.0, "c": 1E400, "d": 12345678901234567890.12345678901234567890}'
    body = written(event(body=numbers), invoice=numbers).body
    assert body.count(numbers) == 2
    assert json.loads(body, parse_float=Decimal)["data"]["event"]["a"].as_tuple().exponent == -2


@settings(max_examples=40, deadline=None)
@given(
    document=json_objects,
    invoice=st.none() | json_objects,
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_bytes_pass_through(
    document: dict[str, Any],
    invoice: dict[str, Any] | None,
    indent: int | None,
    ascii_only: bool,  # noqa: FBT001  # hypothesis fills it in
) -> None:
    """The webhook's body and the invoice stand in the message byte for byte, and the whole is JSON in UTF-8."""
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    answer = None if invoice is None else json.dumps(invoice, indent=indent, ensure_ascii=ascii_only).encode()
    found = written(read(received(body=body)), invoice=answer)
    assert b'"event":' + body + b',"invoice":' + (answer or b"null") + b"," in found.body
    parsed = json.loads(found.body.decode())
    assert parsed["data"]["event"] == document
    assert parsed["data"]["invoice"] == invoice
    assert all(isinstance(value, str) for value in found.headers.values())


@pytest.mark.parametrize("name", ["invoice_closed.json", "appointment_completed.json"])
def test_the_official_sdk_reads_it(name: str) -> None:
    """The CloudEvents SDK's RabbitMQ binding reads the message as a valid CloudEvent with our attributes and data."""
    body = data(name)
    some = read(received(body=body, replay="r1"))
    sent = written(some, invoice=b'{"total": 0.10}')
    found = from_rabbitmq_event(RabbitMQMessage(headers=sent.headers, content_type=sent.content_type, body=sent.body))
    attributes = found.get_attributes()
    for header, value in sent.headers.items():
        if header != "ce-time":
            assert attributes[header.removeprefix("ce-")] == value
    assert attributes["datacontenttype"] == "application/json"
    content: Any = found.get_data()
    assert content["event"] == json.loads(body)
    assert content["invoice"] == {"total": 0.1}


def test_the_official_sdk_reads_the_time() -> None:
    """The seven digits of Zenoti's time are a time to the SDK, to the microsecond."""
    sent = written(event())
    found = from_rabbitmq_event(RabbitMQMessage(headers=sent.headers, content_type=sent.content_type, body=sent.body))
    assert found.get_time() == datetime(2031, 5, 6, 17, 8, 9, 123456, tzinfo=UTC)


def test_the_trace_goes_along_beside_the_attributes() -> None:
    """The event's trace stands in headers of its own names; without one there are none."""
    trace = context("a" * 32, "b" * 16, state="vendor=1")
    traced, plain = written(event(message=received(trace=trace))), written(event(message=received()))
    assert traced.headers.items() - plain.headers.items() == trace.headers().items()
    assert not plain.headers.keys() & trace.headers().keys()
