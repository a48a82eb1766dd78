import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_rabbitmq_event

from tests.acceptance.conftest import API_KEY, System, http, invoice_document
from tests.acceptance.signing import signed
from tests.eventually import eventually

DATA = Path(__file__).parents[1] / "data"
CLOSED = (DATA / "invoice_closed.json").read_bytes()
COMPLETED = (DATA / "appointment_completed.json").read_bytes()
# Numbers, spacing, a seven-digit fraction, an unknown field and an escape that a re-encoder would not keep.
ODD = (
    b'{ "event_id":"odd-1", "event_type":"Brand.New.Thing!","event_timestamp":"2022-03-11T14:22:43.3847049Z",\n'
    b'"data": {"price": 0.10, "big": 1E400, "u": "\\u00e9\xc3\xa9", "unknown": [1.0, -0], "invoice_id": ""} }'
)


async def post(system: System, body: bytes, path: str = "", **headers: str) -> str:
    """Post a signed body; returns the receipt."""
    status, _, said = await http("POST", system.door + path, body=body, headers={**signed(body), **headers})
    assert status == 202, said
    return str(json.loads(said)["receipt_id"])


async def archived(system: System, count: int) -> list[AbstractIncomingMessage]:
    """What the archive stream holds, read from its beginning."""
    found: list[AbstractIncomingMessage] = []
    async with system.connection.channel() as channel:
        await channel.set_qos(prefetch_count=100)
        queue = await channel.get_queue(f"{system.prefix}.archive")

        async def keep(message: AbstractIncomingMessage) -> None:
            found.append(message)
            await message.ack()

        tag = await queue.consume(keep, arguments={"x-stream-offset": "first"})
        await eventually(lambda: len(found) >= count, within=10)
        await queue.cancel(tag)
    return found


def inner(message: AbstractIncomingMessage) -> dict[str, Any]:
    """The message as JSON."""
    found: dict[str, Any] = json.loads(message.body)
    return found


async def test_a_body_passes_byte_for_byte(system: System) -> None:
    """A body is found byte for byte in the archive and in the event: 0.10, 1E400, fractions, unknown fields."""
    await system.start()
    receipt = await post(system, ODD)
    (out,) = await system.take("out.all", 1)
    (kept,) = await archived(system, 1)
    assert kept.body == ODD
    assert kept.headers["receipt_id"] == receipt
    assert ODD in out.body
    assert out.routing_key == "main.brand.new.thing-"
    event = inner(out)
    assert event["type"] == "com.zenoti.brand.new.thing-"
    assert event["time"] == "2022-03-11T14:22:43.3847049Z"
    assert event["receiptid"] == receipt
    assert event["data"]["enrichment"] == {
        "status": "not_applicable",
        "expand": [],
        "missing": [],
        "fetched_at": None,
        "reason": None,
    }
    assert event["data"]["invoice"] is None


@pytest.mark.parametrize(
    ("body", "path", "kind", "enveloped"),
    [
        pytest.param(CLOSED, "", "invoice.closed", True, id="invoice closed, enveloped"),
        pytest.param(None, "", "invoice.closed", False, id="invoice closed, bare, found by its shape"),
        pytest.param(None, "/Invoice.Closed", "invoice.closed", False, id="invoice closed, bare, type in the path"),
        pytest.param(
            COMPLETED, "", "appointment.completed", False, id="appointment completed, bare, found by its shape"
        ),
        pytest.param(
            COMPLETED, "/Appointment.Completed", "appointment.completed", False, id="appointment, type in the path"
        ),
    ],
)
async def test_the_events_of_the_seeds(
    system: System, body: bytes | None, path: str, kind: str, *, enveloped: bool
) -> None:
    """The seeds' events, enveloped and bare, leave enriched, as CloudEvents that the official SDK reads."""
    body = body or json.dumps(json.loads(CLOSED)["data"]).encode()
    decoded = json.loads(body)
    data = decoded["data"] if enveloped else decoded
    invoice_id = data["invoice"]["id"] if kind == "invoice.closed" else data["invoice_id"]
    system.settings["SOURCES__MAIN__EXPAND"] = "InvoiceItems,Transactions,gst_parameters"
    await system.start()
    receipt = await post(system, body, path)
    (out,) = await system.take("out.all", 1)

    (asked,) = system.api.asked
    assert asked[0] == invoice_id
    assert asked[1]["Authorization"] == f"apikey {API_KEY}"
    assert asked[2] == ["InvoiceItems", "Transactions", "gst_parameters"]

    headers = {name: str(value) for name, value in out.headers.items()}
    event = from_rabbitmq_event(RabbitMQMessage(headers, out.content_type, out.body))
    assert event.get_type() == f"com.zenoti.{kind}"
    assert event.get_source() == "/zenoti/main"
    assert event.get_subject() == invoice_id
    assert event.get_extension("receiptid") == receipt
    assert isinstance(datetime.fromisoformat(event.get_extension("receivedat")), datetime)
    assert event.get_extension("eventid") == (decoded["event_id"] if enveloped else None)
    assert event.get_id().startswith(f"{decoded['event_id']}." if enveloped else "sha256:")

    assert out.message_id == event.get_id()
    assert out.content_type == "application/cloudevents+json"
    assert out.routing_key == f"main.{kind}"
    assert out.headers["ce-id"] == event.get_id()
    assert out.headers["ce-type"] == f"com.zenoti.{kind}"
    assert body in out.body
    assert invoice_document(invoice_id) in out.body
    enrichment = inner(out)["data"]["enrichment"]
    assert enrichment["status"] == "enriched"
    assert enrichment["missing"] == []
    assert enrichment["fetched_at"] > inner(out)["receivedat"]
    assert await system.depth("out.invoices") == (kind == "invoice.closed")


@pytest.mark.parametrize("name", ["invoice_closed", "appointment_completed"])
async def test_a_broken_original_is_a_dead_letter(system: System, name: str) -> None:
    """The seeds' bodies as they are published, broken, end as dead letters with their reason, byte for byte."""
    body = (DATA / f"{name}.broken.txt").read_bytes()
    await system.start()
    receipt = await post(system, body)
    (letter,) = await system.take("dead", 1)
    assert letter.body == body
    found = dict(letter.headers)
    assert found["reason"] == "malformed"
    assert found["stage"] == "translate"
    assert found["source"] == "main"
    assert found["receipt_id"] == receipt
    assert found["attempts"] == 1
    assert set(found) >= {"detail", "event_type", "event_id", "cloudevent_id", "invoice_id", "received_at", "dead_at"}
    assert await system.depth("out.all") == 0


async def test_an_invoice_not_found_goes_down_the_ladder(system: System) -> None:
    """What the API does not know is tried again after its delay, then a dead letter; a redrive brings it out."""
    known = asyncio.Event()
    unknown = b'{"invoice":null,"error":{"code":418,"message":"couldn\'t find invoice"}}'

    async def answer(invoice_id: str) -> Any:
        found = await system.api.invoice(invoice_id)
        if not known.is_set():
            found.body = unknown
        return found

    system.api.answer = answer
    system.settings["RETRY__MAX_ATTEMPTS"] = "2"
    await system.start()
    await post(system, CLOSED)
    await eventually(lambda: system.depth("dead"), within=15)
    assert len(system.api.asked) == 2
    code, out, _ = await system.run("dead", "list", "--json")
    assert code == 0
    (letter,) = json.loads(out)["letters"]
    assert (letter["reason"], letter["attempts"], letter["event_type"]) == ("invoice-not-found", 2, "invoice.closed")

    code, out, _ = await system.run("dead", "show", letter["receipt_id"], "--json")
    assert code == 0
    assert json.loads(out)["body"].encode() == CLOSED

    known.set()
    code, out, _ = await system.run("dead", "redrive", "--reason", "invoice-not-found", "--json")
    assert code == 0
    assert json.loads(out)["redriven"] == 1
    (event,) = await system.take("out.all", 1)
    assert inner(event)["data"]["enrichment"]["status"] == "enriched"
    assert await system.depth("dead") == 0


async def test_nobodys_event_is_kept_aside(system: System) -> None:
    """An event that no downstream matches costs no call and waits in zenoti.unrouted."""
    del system.settings["DOWNSTREAM__ALL__EVENTS"]
    await system.start()
    await post(system, COMPLETED)
    (event,) = await system.take("unrouted", 1)
    assert inner(event)["data"]["enrichment"]["status"] == "skipped"
    assert system.api.asked == []
