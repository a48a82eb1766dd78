"""Odd webhooks through the real door: what decides nothing stops nothing. And which of two events are the same."""

import json
from typing import Any

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually
from tests.strange import decoded, strange

COUNTED = b'{"event_id":"%s","event_type":"%s","data":{"n":%d}}'


async def post(system: System, body: bytes, encoding: str = "") -> str:
    """Post a signed body; returns the receipt."""
    headers = signed(body) | ({"Content-Encoding": encoding} if encoding else {})
    status, _, said = await http("POST", system.door, body=body, headers=headers)
    assert status == 202, said
    return str(json.loads(said)["receipt_id"])


async def test_what_is_odd_comes_out(system: System) -> None:
    """Each of them leaves under its routing key, enriched where it names an invoice, its body byte for byte."""
    await system.start()
    cases = {await post(system, case.body, case.encoding): case for case in strange()}
    out = {str(m.headers["ce-receiptid"]): m for m in await system.take("out.all", len(cases), within=60)}
    assert out.keys() == cases.keys()
    for receipt, case in cases.items():
        message = out[receipt]
        event: dict[str, Any] = decoded(message.body)
        found = (message.routing_key, event["data"]["enrichment"]["status"], event["id"])
        assert (case.name, *found) == (case.name, case.key, case.status, message.message_id)
        assert b'"event":' + case.plain + b',"invoice":' in message.body, case.name
    assert len({message.message_id for message in out.values()}) == len(out)
    assert await system.depth("dead") == 0


async def test_which_two_events_are_the_same(system: System) -> None:
    """The same event_id with other data, or of another type, is another event; only an equal event is dropped."""
    await system.start()
    first = COUNTED % (b"e-1", b"Guest.Created", 1)
    for body in (
        first,
        COUNTED % (b"e-1", b"Guest.Created", 2),
        COUNTED % (b"e-1", b"Guest.Updated", 1),
        COUNTED % (b"e-1", b"GUEST.CREATED", 1),
        first.replace(b"{", b'{"id":"another delivery",', 1),
        first.replace(b"1}", b"1.0}"),
        COUNTED % (b"last", b"Guest.Created", 1),
    ):
        await post(system, body)
    out = await system.take("out.all", 5)
    assert [str(message.headers["ce-eventid"]) for message in out] == ["e-1"] * 4 + ["last"]
    assert len({message.message_id for message in out}) == 5

    async def raw_is_empty() -> bool:
        return await system.depth("raw.main") == 0

    await eventually(raw_is_empty, within=10)
    assert await system.depth("out.all") == 0
