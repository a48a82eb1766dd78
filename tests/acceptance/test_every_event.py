import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.acceptance.conftest import API_KEY, System, http
from tests.acceptance.signing import signed
from zenoti_ingest.operations.simulate import serving  # it stands for the vendor
from zenoti_ingest.simulator.world import WebhookEvent, World


def message_id(event: WebhookEvent) -> str:
    """What the event is known by downstream: its own id and a digest of type and data, or the digest of its body."""
    if not event.event_id:
        return "sha256:" + hashlib.sha256(event.body).hexdigest()
    data = bytes(msgspec.json.decode(event.body, type=dict[str, msgspec.Raw])["data"])
    kind = routing_key(event).removeprefix("main.").encode()
    return f"{event.event_id}.{hashlib.sha256(kind + bytes(1) + data).hexdigest()[:16]}"


def routing_key(event: WebhookEvent) -> str:
    """`<source>.<event type>` in lower case, odd characters as dashes."""
    return "main." + re.sub(r"[^a-z0-9._-]", "-", event.event_type.lower())


def expected_status(event: WebhookEvent) -> str:
    """What is to become of it: enriched where it names an invoice; a deletion is not worth a call."""
    if not event.invoice_id:
        return "not_applicable"
    return "skipped" if event.event_type == "AppointmentGroup.Delete" else "enriched"


def expected_subject(event: WebhookEvent) -> str | None:
    """The invoice that it names, or else the id of what it is about."""
    body: dict[str, Any] = json.loads(event.body)
    return event.invoice_id or body.get("data", body).get("id")


def expected_invoice(world: World, event: WebhookEvent) -> bytes:
    """The API's invoice of the event, by the default expands; null for none, or for a deleted invoice."""
    document = world.invoice(event.invoice_id, expand=["InvoiceItems", "Transactions", "Appointments"])
    return (document or b'{"invoice":null,"error":null}').removeprefix(b'{"invoice":').removesuffix(b',"error":null}')


@pytest.mark.parametrize("enveloped", [True, False], ids=["enveloped", "bare, its type in the path"])
async def test_every_event(system: System, *, enveloped: bool) -> None:
    """Every kind of event reaches its routing key byte for byte; those whose invoice is known are enriched with it."""
    world = World(11)
    events = world.catalogue(now=datetime.now(UTC))
    events = events if enveloped else tuple(world.bare(event) for event in events)
    async with serving(world, host="127.0.0.1", port=0, api_key=API_KEY) as port:
        system.settings["SOURCES__MAIN__BASE_URL"] = f"http://127.0.0.1:{port}"
        await system.start()
        for event in events:
            world.sent(event)
        for event in events:
            path = "/" + quote(event.path_type, safe="") if event.path_type else ""
            answer, _, said = await http("POST", system.door + path, body=event.body, headers=signed(event.body))
            assert answer == 202, said
        out = {message.message_id: message for message in await system.take("out.all", len(events), within=30)}

    assert out.keys() == {message_id(event) for event in events}
    for event in events:
        message = out[message_id(event)]
        assert event.body in message.body
        assert message.routing_key == routing_key(event)
        received, status = json.loads(message.body), expected_status(event)
        assert received["data"]["event"] == json.loads(event.body)
        assert (event.event_type, received["data"]["enrichment"]["status"]) == (event.event_type, status)
        assert received.get("subject") == expected_subject(event)
        assert b'"invoice":' + expected_invoice(world, event) in message.body
        assert (received["data"]["invoice"] or {}).get("id", "") == (
            event.invoice_id.lower() if status == "enriched" else ""
        )
    assert await system.depth("dead") == 0
    assert await system.depth("unrouted") == 0


async def test_simulate_sends_the_others(system: System) -> None:
    """`simulate --others` sends other kinds of events too, which arrive; an impossible share is wrong usage."""
    system.settings["SOURCES__MAIN__BASE_URL"] = f"http://127.0.0.1:{system.simulator_port}"
    await system.start()
    simulate = ("simulate", "--port", str(system.simulator_port), "--speed", "60", "--linger", "5", "--visits", "4")
    code, _, err = await system.run(*simulate, "--others", "0.5")
    assert code == 0, err
    out = await system.take("out.all", 40)
    kinds = {str(message.routing_key) for message in out}
    assert len(kinds) > 5
    assert "main.guestpass.redeemed" in kinds
    code, _, err = await system.run(*simulate, "--others", "1")
    assert (code, "--others" in err) == (2, True)
