"""A receiver whose queue takes no events: the others get theirs, and `status` says what waits."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from pamqp.common import FieldTable

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

GUESTS, INVOICES, AT_ONCE = 230, 5, 23
FULL: FieldTable = {"x-queue-type": "quorum", "x-max-length": 3, "x-overflow": "reject-publish"}


@pytest.fixture
async def with_a_full_receiver(system: System) -> AsyncIterator[System]:
    """Beside the two usual receivers a third, whose own queue is full at three."""
    theirs = f"{system.prefix}-theirs"
    async with system.connection.channel() as channel:
        await channel.declare_queue(theirs, durable=True, arguments=FULL)
        system.settings |= {"DOWNSTREAM__FULL__QUEUE": theirs, "DOWNSTREAM__FULL__DECLARE": "false"}
        yield system
        await channel.queue_delete(theirs)


async def post(system: System, number: int, *, invoice: str = "") -> None:
    """One event through the door."""
    kind, data = (
        ("Invoice.Closed", {"invoice": {"id": invoice}}) if invoice else ("Guest.Created", {"id": f"g-{number}"})
    )
    body = json.dumps({"event_id": f"e-{number:04}", "event_type": kind, "data": data}).encode()
    status, _, _ = await http("POST", system.door, body=body, headers=signed(body))
    assert status == 202


async def ids(system: System, queue: str, *, events: int, within: float) -> Counter[str]:
    """Zenoti's ids in a queue, once so many different events have come."""
    found: Counter[str] = Counter()
    async with system.connection.channel() as channel:
        source = await channel.get_queue(queue)

        async def enough() -> bool:
            while (message := await source.get(no_ack=True, fail=False)) is not None:
                found[json.loads(message.body)["data"]["event"]["event_id"]] += 1
            return len(found) >= events

        await eventually(enough, within=within)
    return found


async def test_a_full_receiver_holds_up_nobody(with_a_full_receiver: System) -> None:
    """230 events that one receiver refuses: the others have them and five invoices behind them, at most twice each.

    `status` names the receiver, how many events wait, and since when. Once it reads, it gets every event.
    """
    system = with_a_full_receiver
    await system.start()
    for first in range(0, GUESTS, AT_ONCE):
        await asyncio.gather(*(post(system, number) for number in range(first, min(first + AT_ONCE, GUESTS))))
    began = time.monotonic()
    for number in range(INVOICES):
        await post(system, GUESTS + number, invoice=f"i-{number}")
    invoices = await ids(system, f"{system.prefix}.out.invoices", events=INVOICES, within=15)
    assert max(invoices.values()) == 1
    everything = await ids(system, f"{system.prefix}.out.all", events=GUESTS + INVOICES, within=15)
    assert max(everything.values()) <= 2
    assert time.monotonic() - began < 15

    async def alarm() -> str:
        code, out, _ = await system.run("status", "--json")
        texts = [
            alarm["text"] for alarm in json.loads(out)["alarms"] if alarm["text"].startswith("full takes no events")
        ]
        return texts[0] if code in {0, 1} and texts else ""

    text = await eventually(alarm, within=30)
    assert "since 20" in text
    assert f"wait in {system.prefix}.wait.full" in text
    theirs = await ids(system, f"{system.prefix}-theirs", events=GUESTS + INVOICES, within=60)
    assert len(theirs) == GUESTS + INVOICES
    await eventually(lambda: is_empty(system, "wait.full"), within=10)


async def is_empty(system: System, queue: str) -> bool:
    """Whether nothing lies ready in a queue."""
    return await system.depth(queue) == 0


async def test_a_receivers_queue_is_deleted(system: System) -> None:
    """It is declared anew within seconds, what came out meanwhile arrives, and `status` gives the replay command."""
    await system.start()
    async with system.connection.channel() as channel:
        await channel.queue_delete(f"{system.prefix}.out.invoices")
    for number in range(5):
        await post(system, number, invoice=f"i-{number}")
    await ids(system, f"{system.prefix}.out.all", events=5, within=15)
    await eventually(lambda: is_empty(system, "out.all"), within=10)

    async def is_there() -> bool:
        async with system.connection.channel() as channel:
            try:
                await channel.declare_queue(f"{system.prefix}.out.invoices", passive=True)
            except Exception:  # noqa: BLE001  # not yet
                return False
        return True

    await eventually(is_there, within=15)
    assert len(await ids(system, f"{system.prefix}.out.invoices", events=5, within=30)) == 5

    async def command() -> str:
        _, out, _ = await system.run("status", "--json")
        texts = [alarm["text"] for alarm in json.loads(out)["alarms"] if "archive replay" in alarm["text"]]
        return texts[0] if texts else ""

    text = await eventually(command, within=30)
    words = re.findall(r"`zenoti-ingest (archive replay [^`]+)`", text)[0].split()
    assert words[-2:] == ["--to", "invoices"]
    code, out, _ = await system.run(*words, "--json")
    assert code == 0, out
    again = await ids(system, f"{system.prefix}.out.invoices", events=5, within=30)
    assert len(again) == 5
    assert await system.depth("out.all") == 0  # the others get nothing twice
