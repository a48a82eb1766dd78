import asyncio
import json

import aiohttp
from aiohttp import web

from tests.acceptance.conftest import System, event_id, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

EVENTS = 600
INVOICES = 60


def event(number: int) -> bytes:
    """Every second one concerns an invoice."""
    data = {"invoice_id": f"invoice-{number % INVOICES}"} if number % 2 else {"id": f"guest-{number}"}
    return json.dumps({"event_id": f"event-{number}", "event_type": "Guestpass.redeemed", "data": data}).encode()


async def test_rolling_restarts_waste_nothing(system: System) -> None:
    """Two consumers, each stopped and started three times in turn while events come and the API is slow.

    Every event comes out once and enriched; each call that was made served events; nothing was charged; the events of
    an invoice come out in the order of their receipt.
    """

    async def slow(invoice_id: str) -> web.Response:
        await asyncio.sleep(0.2)  # the API's own slowness: calls are in flight when the signal comes
        return await system.api.invoice(invoice_id)

    system.api.answer = slow
    system.settings["CONSUMER__ADMIN_PORT"] = "0"
    system.settings["SOURCES__MAIN__CALLS_PER_MINUTE"] = "1200"
    await system.spawn("consume-0", "consume")
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    await system.spawn("consume-1", "consume")
    restarted = asyncio.Event()
    sent = 0

    async def load() -> None:
        nonlocal sent
        while not restarted.is_set():
            number = 2 * sent + 1  # an odd number: each has an invoice
            status, _, _ = await http("POST", system.door, body=event(number), headers=signed(event(number)))
            assert status == 202
            sent += 1

    loading = asyncio.create_task(load())
    for turn in range(6):
        name, enough = f"consume-{turn % 2}", sent + 40
        await eventually(lambda: sent > enough or loading.done(), within=30)  # noqa: B023  # awaited at once
        await eventually(lambda: system.log(name).count('"admin_listening"') > turn // 2, within=30)  # noqa: B023
        assert await system.terminate(name) == 0
        await system.spawn(name, "consume")
    restarted.set()
    await loading

    out = await system.take("out.all", sent, within=60)
    assert sorted(map(event_id, out)) == sorted(f"event-{2 * n + 1}" for n in range(sent))
    documents = [json.loads(m.body) for m in out]
    assert {d["data"]["enrichment"]["status"] for d in documents} == {"enriched"}
    served = {(d["subject"], d["data"]["enrichment"]["fetched_at"]) for d in documents}
    assert len(system.api.asked) == len(served), "a call was made for nothing"
    for invoice_id in {d["subject"] for d in documents}:
        received = [d["receivedat"] for d in documents if d["subject"] == invoice_id]
        assert received == sorted(received), invoice_id
    assert {await system.depth(queue) for queue in ("raw.main", "enrich.main.0", "retry.1s", "dead")} == {0}


async def test_sigterm_under_load_loses_nothing(system: System) -> None:
    """SIGTERM under load: each process ends with 0 within its drain time; nothing is lost or left unacked."""

    async def slow(invoice_id: str) -> web.Response:
        await asyncio.sleep(0.3)  # the API's own slowness: calls are in flight when the signal comes
        return await system.api.invoice(invoice_id)

    system.api.answer = slow
    await system.start()
    accepted: set[str] = set()

    async def load() -> None:
        for number in range(EVENTS):
            body = event(number)
            try:
                status, _, _ = await http("POST", system.door, body=body, headers=signed(body))
            except (OSError, aiohttp.ClientError):
                continue  # the door has closed; Zenoti would try again
            if status == 202:
                accepted.add(f"event-{number}")

    loading = asyncio.create_task(load())
    await eventually(lambda: len(accepted) > EVENTS // 4, within=30)
    assert await system.terminate("consume") == 0
    await eventually(lambda: len(accepted) > EVENTS // 2, within=30)
    assert await system.terminate("intake") == 0
    async with asyncio.timeout(60):
        await loading
    await system.start()

    out = await system.take("out.all", len(accepted), within=30)
    assert set(map(event_id, out)) == accepted
    assert len(out) == len(accepted), "an orderly stop makes no duplicates"
    assert await system.terminate("consume") == 0
    depths = {queue: await system.depth(queue) for queue in ("raw.main", "enrich.main.0", "retry.1s", "dead")}
    assert set(depths.values()) == {0}
