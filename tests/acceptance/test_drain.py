import asyncio
import json

import aiohttp
from aiohttp import web

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

EVENTS = 600
INVOICES = 60


def event(number: int) -> bytes:
    """Every second one concerns an invoice."""
    data = {"invoice_id": f"invoice-{number % INVOICES}"} if number % 2 else {"id": f"guest-{number}"}
    return json.dumps({"event_id": f"event-{number}", "event_type": "Guestpass.redeemed", "data": data}).encode()


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
    assert {message.message_id for message in out} == accepted
    assert len(out) == len(accepted), "an orderly stop makes no duplicates"
    assert await system.terminate("consume") == 0
    depths = {queue: await system.depth(queue) for queue in ("raw.main", "enrich.main.0", "retry.1s", "dead")}
    assert set(depths.values()) == {0}
