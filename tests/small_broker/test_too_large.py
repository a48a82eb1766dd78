"""Too large for the broker, through spawned daemons: nothing is lost, nothing is held up, the operator finds it."""

import asyncio
import gzip
import json
import socket
from pathlib import Path
from typing import Any

import aio_pika
from aiohttp import web

from tests.acceptance.conftest import SOURCE, System, free_ports, http
from tests.acceptance.signing import signed
from tests.eventually import eventually
from tests.small_broker.conftest import LIMIT

HERE = socket.gethostname()


def event(event_id: str, *, size: int = 0, invoice: str = "") -> bytes:
    """A webhook of about such a size."""
    data: dict[str, Any] = {"id": "g", "note": "x" * size}
    if invoice:
        data["invoice"] = {"id": invoice}
    kind = "Invoice.Closed" if invoice else "Guest.Created"
    return json.dumps({"event_id": event_id, "event_type": kind, "data": data}).encode()


async def post(system: System, body: bytes, **headers: str) -> str:
    """Send an event, which must be accepted; return its receipt."""
    status, _, said = await http("POST", system.door, body=body, headers=signed(body) | headers)
    assert status == 202, said
    return str(json.loads(said)["receipt_id"])


async def ids(system: System, count: int, *, within: float = 10.0) -> set[str]:
    """The `event_id` of each event that came out."""
    return {json.loads(m.body)["data"]["event"]["event_id"] for m in await system.take("out.all", count, within=within)}


async def test_one_among_small_ones(system: System) -> None:
    """The small events come out within seconds, the large event is a letter; nothing comes twice more than it must."""
    await system.start()
    large = event("large", size=3 * LIMIT)
    receipt, *_ = await asyncio.gather(post(system, large), *(post(system, event(f"s-{n}")) for n in range(5)))
    assert await ids(system, 5) == {f"s-{n}" for n in range(5)}
    await eventually(lambda: system.depth("dead"), within=10)
    status, said, _ = await system.run("dead", "show", receipt, "--json")
    assert status == 0
    letter = json.loads(said)["letter"]
    assert (letter["reason"], letter["stage"], letter["source"]) == ("too-large", "intake", SOURCE)
    assert letter["body_at"].startswith(f"disk:{HERE}:{system.settings['INTAKE__SPOOL_DIR']}/corrupt/")
    await post(system, large)
    assert await asyncio.gather(*(post(system, event(f"t-{n}")) for n in range(5)))
    assert await ids(system, 5) == {f"t-{n}" for n in range(5)}

    status, said, _ = await system.run("dead", "redrive", "--reason", "too-large", "--json")
    printed = json.loads(said)
    assert (status, printed["redriven"], len(printed["stayed"])) == (1, 0, 2)
    assert str(LIMIT) in printed["stayed"][0]
    assert await system.depth("dead") == 2
    status, said, _ = await system.run("dead", "discard", "--reason", "too-large", "--json")
    assert (status, json.loads(said)["discarded"]) == (0, 2)
    assert list(Path(letter["body_at"].split(":", 2)[2]).parent.iterdir()) == []  # a look, no more
    assert system.log("intake").count("size_budget_lowered") == 1


async def test_at_the_head_of_the_spool(system: System, broker_url: str) -> None:
    """Spooled while the broker was away, with 36 behind it; and the process killed: all come out, and the letter."""
    (closed,) = free_ports(1)
    system.settings["BROKER__URL"] = f"amqp://guest:guest@127.0.0.1:{closed}/"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin, whole=False)
    await post(system, event("large", size=6 * LIMIT))
    for n in range(36):
        await post(system, event(f"s-{n}"))
    killed = system.processes.pop("intake")
    killed.kill()
    await killed.wait()
    system.settings["BROKER__URL"] = broker_url
    await system.start()
    assert await ids(system, 36, within=20) == {f"s-{n}" for n in range(36)}
    [letter] = await system.take("dead", 1)
    assert (letter.body, letter.headers["reason"]) == (b"", "too-large")


async def test_an_invoice_that_makes_it_too_large(system: System) -> None:
    """Event and invoice are too large together: a letter; redriven once the invoice is smaller, the event comes out.

    The event was compressed, and is inflated again out of the archive, byte for byte.
    """
    sizes = {"i-1": LIMIT, "i-2": 10}

    async def answer(invoice_id: str) -> web.Response:
        return web.json_response({"invoice": {"id": invoice_id, "note": "y" * sizes[invoice_id]}, "error": None})

    system.api.answer = answer
    system.settings["SOURCES__MAIN__EXPAND"] = "gst_parameters"
    await system.start()
    sent = event("e-1", size=LIMIT // 2, invoice="i-1")
    await post(system, gzip.compress(sent), **{"Content-Encoding": "gzip"})
    await post(system, gzip.compress(event("e-0", size=2 * LIMIT)), **{"Content-Encoding": "gzip"})
    await post(system, event("e-2", invoice="i-2"))
    assert await ids(system, 1) == {"e-2"}

    async def two_letters() -> bool:
        return await system.depth("dead") == 2

    await eventually(two_letters, within=10)
    status, said, _ = await system.run("dead", "list", "--json")
    letters = json.loads(said)["letters"]
    assert status == 0
    assert {(letter["stage"], letter["reason"], letter["body_at"]) for letter in letters} == {
        ("enrich", "too-large", "archive"),
        ("translate", "too-large", "archive"),
    }
    sizes["i-1"] = 10
    status, said, err = await system.run("dead", "redrive", "--all", "--json")
    assert (status, json.loads(said)["redriven"]) == (0, 2), err
    [came] = await system.take("out.all", 1)
    assert b'"event":' + sent in came.body
    await eventually(lambda: system.depth("dead"), within=10)  # the other event is too large again


async def test_a_body_on_disk_goes_back(system: System) -> None:
    """With a larger budget the body goes back from the disk, and its file is removed. One elsewhere is named."""
    system.settings["BROKER__MAX_MESSAGE_BYTES"] = "65536"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    sent = event("large", size=80_000)
    receipt = await post(system, sent, **{"Content-Encoding": "identity"})
    await eventually(lambda: system.depth("dead"), within=10)
    async with system.connection.channel() as channel:
        exchange = await channel.get_exchange(f"{system.prefix}.work")
        for number, place in enumerate(
            ("disk:elsewhere:/var/lib/x.record", "disk:" + HERE + ":/etc/passwd", "archive")
        ):
            headers = {"reason": "too-large", "source": "main", "stage": "intake", "body_at": place}
            headers["received_at"] = "2031-05-06T17:08:00.000000Z"
            strange = aio_pika.Message(b"", headers=headers, message_id=f"strange-{number}")  # type: ignore[arg-type]
            await exchange.publish(strange, routing_key=f"{system.prefix}.dead")
    del system.settings["BROKER__MAX_MESSAGE_BYTES"]
    status, said, err = await system.run("dead", "redrive", "--reason", "too-large", "--json")
    printed = json.loads(said)
    assert (status, printed["redriven"]) == (1, 1), err
    assert {line.split(": ", 1)[0] for line in printed["stayed"]} == {"strange-0", "strange-1", "strange-2"}
    assert any("elsewhere" in line for line in printed["stayed"])
    [back] = await system.take("raw.main", 1)
    assert (back.body, back.message_id, back.content_encoding) == (sent, receipt, "identity")
    assert back.headers["redriven"] == "1"
    corrupt = Path(system.settings["INTAKE__SPOOL_DIR"]) / "corrupt"
    assert list(corrupt.iterdir()) == []  # a look, no more
    status, said, _ = await system.run("dead", "discard", "--all", "--json")
    assert (status, json.loads(said)["left_on_disk"]) == (0, ["elsewhere:/var/lib/x.record"])
