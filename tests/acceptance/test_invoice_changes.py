import asyncio
import json
from typing import Any

from aiohttp import web

from tests.acceptance.conftest import System, event_id, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

INVOICE_ID = "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0042"


class Changing:
    """An invoice whose version counts up, and a gate that keeps back answers that have been read already."""

    def __init__(self) -> None:
        self.version = 1
        self.gate = asyncio.Event()

    async def answer(self, invoice_id: str) -> web.Response:
        """The invoice as it stood when the call came, returned when the gate opens."""
        document = {"id": invoice_id, "version": self.version}
        parts: dict[str, Any] = {"invoice_items": [], "transactions": [], "appointments": []}
        await self.gate.wait()
        return web.json_response({"invoice": document | parts, "error": None})


async def post(system: System, event_id: str) -> None:
    """Report that the invoice was closed."""
    data = {"invoice": {"id": INVOICE_ID}}
    body = json.dumps({"event_id": event_id, "event_type": "Invoice.Closed", "data": data}).encode()
    status, _, said = await http("POST", system.door, body=body, headers=signed(body))
    assert status == 202, said


async def test_the_invoice_changes_between_two_events(system: System) -> None:
    """An event that comes while its invoice is being read gets the invoice as it is then, never the older state."""
    invoice = Changing()
    system.api.answer = invoice.answer
    await system.start()
    await post(system, "first")
    await eventually(lambda: system.api.asked, within=15)
    invoice.version = 2
    await post(system, "second")
    await eventually(lambda: in_hand(system, 2), within=15)
    invoice.gate.set()
    out = {event_id(message): json.loads(message.body)["data"] for message in await system.take("out.all", 2)}
    assert out["first"]["invoice"]["version"] == 1
    assert out["second"]["invoice"]["version"] == 2
    assert len(system.api.asked) == 2


async def in_hand(system: System, count: int) -> bool:
    """The lane holds so many events."""
    _, _, body = await http("GET", f"http://127.0.0.1:{system.consume_admin}/metrics")
    return f'lane_events{{source="main"}} {count}.0' in body.decode()
