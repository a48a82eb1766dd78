"""The calls of all processes together, counted where the API receives them: never more than the quota in any 60 s."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator

import pytest
from aio_pika import DeliveryMode, Message
from aiohttp import web

from tests.acceptance.conftest import System, ZenotiApi, free_ports
from tests.eventually import eventually

WINDOW_SECONDS = 60.0
FROZEN_SECONDS = 40.0  # by then the broker has missed heartbeats, and the successor has waited out the lease
READY_SECONDS = 30.0


class Counted(ZenotiApi):
    """The API as one process sees it; notes its calls, and those of all. Invoices whose id begins with `s` fail."""

    def __init__(self, calls: list[float]) -> None:
        super().__init__()
        self.calls = calls
        self.own: list[float] = []
        self.answer = self.noted

    async def noted(self, invoice_id: str) -> web.Response:
        """Note the call, and answer."""
        self.own.append(time.monotonic())
        self.calls.append(self.own[-1])
        if invoice_id.startswith("s"):
            return web.Response(status=500, body=b'{"Message": "an error"}', content_type="application/json")
        return await self.invoice(invoice_id)


class Fleet:
    """Consumers of one installation, each with the API at an address of its own; all is declared, events can be put."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.calls: list[float] = []
        self.apis: list[Counted] = []

    async def add(self) -> None:
        """Another consumer, ready; the first is active."""
        api, (port,) = Counted(self.calls), free_ports(1)
        await api.start()
        self.apis.append(api)
        self.system.settings |= {"SOURCES__MAIN__BASE_URL": api.url, "CONSUMER__ADMIN_PORT": str(port)}
        await self.system.spawn(self.name(len(self.apis) - 1), "consume", "--stage", "enrich")
        await self.system.ready(port, within=READY_SECONDS)

    async def put(self, *invoices: str) -> None:
        """An event of each invoice, on the lane."""
        async with self.system.connection.channel() as channel:
            for number, invoice in enumerate(invoices):
                data = {"event_id": f"e-{number}", "event_type": "Invoice.Closed", "data": {"invoice": {"id": invoice}}}
                headers = {
                    "source": "main",
                    "receipt_id": f"{number:05}",
                    "received_at": f"2031-05-06T17:08:{number:06}",
                }
                message = Message(
                    json.dumps(data).encode(),
                    headers=headers,  # type: ignore[arg-type]  # the library's own table is wider
                    delivery_mode=DeliveryMode.PERSISTENT,
                )
                await channel.default_exchange.publish(message, routing_key=f"{self.system.prefix}.enrich.main.0")

    def name(self, number: int) -> str:
        """Of a process."""
        return f"consume-{number}"

    def send(self, number: int, what: signal.Signals) -> None:
        """A signal to a process."""
        self.system.processes[self.name(number)].send_signal(what)

    @property
    def active(self) -> int:
        """Which process made the last call."""
        return max(range(len(self.apis)), key=lambda number: max(self.apis[number].own, default=0.0))

    @property
    def worst(self) -> int:
        """The most calls in any 60 s."""
        return max(sum(at <= call < at + WINDOW_SECONDS for call in self.calls) for at in self.calls)


@pytest.fixture
async def fleet(system: System) -> AsyncIterator[Fleet]:
    """Nothing runs yet."""
    made = Fleet(system)
    assert (await system.run("topology", "apply"))[0] == 0
    yield made
    for process in system.processes.values():
        if process.returncode is None:
            process.kill()
    for api in made.apis:
        await api.stop()


async def lasts(seconds: float) -> None:
    """So much time goes by."""
    await asyncio.sleep(seconds)


@pytest.mark.timeout(180)
async def test_sick_invoices_and_three_processes(fleet: Fleet) -> None:
    """Twelve calls a minute are twelve, with five invoices that always fail: probes count, from any process."""
    fleet.system.settings |= {"SOURCES__MAIN__CALLS_PER_MINUTE": "12", "RETRY__DELAYS_SECONDS": "1"}
    for _ in range(3):
        await fleet.add()
    await fleet.put(*(f"s-{n}" for n in range(5)), *(f"i-{n}" for n in range(40)))
    await lasts(80)
    assert fleet.worst <= 12
    assert len(fleet.calls) >= 12, "at work"


@pytest.mark.timeout(240)
async def test_a_frozen_process(fleet: Fleet) -> None:
    """Frozen while it was active, it makes no call when it goes on; its successor has kept the quota of both."""
    fleet.system.settings["SOURCES__MAIN__CALLS_PER_MINUTE"] = "60"
    for _ in range(2):
        await fleet.add()
    await fleet.put(*(f"i-{n}" for n in range(400)))
    first, second = fleet.apis
    await eventually(lambda: len(first.own) >= 5, within=READY_SECONDS)
    fleet.send(0, signal.SIGSTOP)
    before = len(first.own)
    await lasts(FROZEN_SECONDS)
    fleet.send(0, signal.SIGCONT)
    await eventually(lambda: second.own, within=READY_SECONDS)
    await lasts(20)
    assert len(first.own) - before <= 1, "one at most that had left before it was frozen"
    assert fleet.worst <= 60


@pytest.mark.timeout(240)
async def test_kills_in_a_row(fleet: Fleet) -> None:
    """Each active process is killed in turn; the successors keep the quota of all, and wait as long as they must."""
    fleet.system.settings["SOURCES__MAIN__CALLS_PER_MINUTE"] = "60"
    for _ in range(3):
        await fleet.add()
    await fleet.put(*(f"i-{n}" for n in range(400)))
    for _ in range(2):
        so_far = len(fleet.calls)
        await eventually(lambda: len(fleet.calls) >= so_far + 12, within=60)  # noqa: B023  # awaited at once
        active = fleet.active
        fleet.send(active, signal.SIGKILL)
        killed_at = time.monotonic()
        await eventually(lambda: fleet.active != active, within=READY_SECONDS)  # noqa: B023  # awaited at once
        assert 14.5 < fleet.calls[-1] - killed_at < 20
    await lasts(15)
    assert fleet.worst <= 60


@pytest.mark.timeout(120)
async def test_an_order_to_stop(fleet: Fleet) -> None:
    """A stop in order hands the lane on within a second, at one pace."""
    fleet.system.settings["SOURCES__MAIN__CALLS_PER_MINUTE"] = "60"
    for _ in range(2):
        await fleet.add()
    await fleet.put(*(f"i-{n}" for n in range(100)))
    first, second = fleet.apis
    await eventually(lambda: len(first.own) >= 5, within=READY_SECONDS)
    assert await fleet.system.terminate(fleet.name(0)) == 0
    await eventually(lambda: len(second.own) >= 3, within=READY_SECONDS)
    assert 0.8 < second.own[0] - first.own[-1] < 2.5
    assert fleet.worst <= 60
