"""The whole way on this machine: `run` shows it live until Ctrl-C, `demo` makes the journey once, checks it, and ends.

Intake and consumers run as processes of their own, as in production, under a random prefix that is deleted afterwards.
The Zenoti simulator stands in for the vendor, in this process, so that what was sent can be held against what arrived.
`run` with an API key configured uses the configured sources and the real API, and sends nothing by itself.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deploy.local.broker import any_ports, free_ports
from zenoti_ingest import telemetry
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.app.broker import broker_link, downstreams_of, full_topology
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.routing import any_matches, normal_type, routing_key
from zenoti_ingest.core.failures.errors import WorkerError
from zenoti_ingest.core.topology.declared import Topology
from zenoti_ingest.operations.simulate import serving
from zenoti_ingest.operations.terminal import say, show, table
from zenoti_ingest.settings import CONFIG_ENV, ENV_PREFIX, Settings, load
from zenoti_ingest.simulator.sending import send_visits
from zenoti_ingest.simulator.webhooks import WebhookSender
from zenoti_ingest.simulator.world import WebhookEvent, World
from zenoti_schemas.enriched import EnrichedEvent

SOURCE: Final = "main"
BROKER_URL: Final = "ZENOTI_INGEST_BROKER__URL"
TOKEN: Final = "demo"  # noqa: S105  # on loopback, for an hour: so that curl can post without signing
DOWNSTREAMS: Final = {"ACCOUNTING": "invoice.#", "CRM": "appointment.#,appointmentgroup.#", "WAREHOUSE": "#"}
READY_SECONDS: Final = 30.0
ARRIVE_SECONDS: Final = 45.0
STOP_SECONDS: Final = 30.0
DEMO_RATE, RUN_RATE = 5.0, 1.0
ACCEPTED: Final = 202
_SHOWN: Final = 14


class Sent(msgspec.Struct):
    """One event that the door was offered: its body, the status it answered, and the queues it must reach."""

    event: WebhookEvent
    status: int
    queues: frozenset[str]


class Ledger:
    """What was sent, and what arrived where; an event is known by its body, which travels byte for byte."""

    def __init__(self, settings: Settings) -> None:
        self._downstreams = downstreams_of(settings)
        self.sent: dict[bytes, Sent] = {}
        self.arrived: dict[tuple[bytes, str], EnrichedEvent] = {}
        self.changed = asyncio.Event()
        self.latest: deque[tuple[str, str, EnrichedEvent]] = deque(maxlen=_SHOWN)

    def send(self, event: WebhookEvent, status: int) -> None:
        """The door answered."""
        key = routing_key(SOURCE, normal_type(event.event_type))
        queues = frozenset(d.queue for d in self._downstreams if any_matches(d.binding_keys, key))
        self.sent[event.body] = Sent(event, status, queues)

    def arrive(self, queue: str, body: bytes) -> EnrichedEvent:
        """A downstream queue delivered."""
        event = msgspec.json.decode(body, type=EnrichedEvent)
        self.arrived[bytes(event.data.event), queue] = event
        self.changed.set()
        self.latest.append((datetime.now(UTC).strftime("%H:%M:%S"), queue, event))
        return event

    def lacking(self) -> list[str]:
        """What is wrong, in words; empty where every event sent arrived enriched everywhere it should."""
        refused = [s for s in self.sent.values() if s.status != ACCEPTED]
        wrong = [f"{s.event.event_type}: the door answered {s.status}" for s in refused]
        for body, sent in self.sent.items():
            for queue in sorted(sent.queues):
                event = self.arrived.get((body, queue))
                if event is None:
                    wrong.append(f"{sent.event.event_type} did not arrive in {queue}")
                elif not _enriched(event, sent.event):
                    wrong.append(
                        f"{sent.event.event_type} arrived in {queue} with status {event.data.enrichment.status}"
                    )
        strangers = {queue for body, queue in self.arrived if queue not in self.sent.get(body, _NOBODYS).queues}
        return wrong + [f"{queue} holds what was not meant for it" for queue in sorted(strangers)]


_NOBODYS: Final = Sent(WebhookEvent("", b"", "", ""), 0, frozenset())


def _enriched(event: EnrichedEvent, sent: WebhookEvent) -> bool:
    invoice = msgspec.json.decode(event.data.invoice, type=dict[str, Any] | None) or {}
    return event.data.enrichment.status == "enriched" and invoice.get("id") == sent.invoice_id


async def main(mode: str) -> int:
    """Make the journey; returns the exit status."""
    configured = load(path=os.environ.get(CONFIG_ENV), environ=os.environ)
    telemetry.configure(level="error", fmt="console")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    own_api = mode == "run" and any(source.api_key for source in configured.sources.values())
    world = World(secrets.randbits(32))
    async with AsyncExitStack() as stack:
        api_port = await stack.enter_async_context(serving(world, host="127.0.0.1", port=0, api_key="simulator"))
        environ = _environment(configured, api_port=api_port, own_api=own_api)
        settings = load(path=environ.get(CONFIG_ENV), environ=environ)
        ledger = Ledger(settings)
        await stack.enter_async_context(_observer(settings, ledger))
        processes = await stack.enter_async_context(_daemons(settings, environ))
        source = "<source>" if own_api else f"{SOURCE}?token={TOKEN}"
        say(f"door      http://127.0.0.1:{settings.intake.port}/webhooks/{source}")
        say(f"broker    prefix {settings.broker.prefix}; logs in {_logs(settings)}")
        say(f"API       {'as configured; nothing is sent by itself' if own_api else f'simulated on port {api_port}'}")
        journey = _Journey(settings, world, ledger, stop)
        status = await (journey.demo() if mode == "demo" else journey.run(send=not own_api))
    return status or _unclean(processes)


class _Journey:
    def __init__(self, settings: Settings, world: World, ledger: Ledger, stop: asyncio.Event) -> None:
        self._settings, self._world, self._ledger, self._stop = settings, world, ledger, stop

    async def demo(self) -> int:
        """Send the seeds' two events and a visit; wait until all have arrived; tell."""
        await self._send(visits=1, rate=DEMO_RATE)
        waiting = [asyncio.create_task(self._all_arrived()), asyncio.create_task(self._stop.wait())]
        await asyncio.wait(waiting, timeout=ARRIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        show(_table(self._ledger))
        lacking = self._ledger.lacking()
        for line in lacking:
            say(f"WRONG     {line}")
        if not lacking:
            sent, arrived = len(self._ledger.sent), len(self._ledger.arrived)
            say(f"OK        {sent} events sent; each arrived enriched in every queue bound: {arrived} deliveries")
        return 1 if lacking else 0

    async def _all_arrived(self) -> None:
        while self._ledger.lacking():
            self._ledger.changed.clear()
            await self._ledger.changed.wait()

    async def run(self, *, send: bool) -> int:
        """Send visits without end, and show what arrives, until stop is set."""
        sending = asyncio.create_task(self._send(visits=None, rate=RUN_RATE) if send else self._stop.wait())
        stopping = asyncio.create_task(self._stop.wait())
        console = Console()
        showing = asyncio.create_task(self._live(console) if console.is_terminal else self._plain())
        await asyncio.wait([sending, stopping, showing], return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, stopping, showing):
            task.cancel()
        results = await asyncio.gather(sending, stopping, showing, return_exceptions=True)
        for failure in results:
            if isinstance(failure, Exception):
                raise failure
        say(f"stopping  {len(self._ledger.sent)} events sent, {len(self._ledger.arrived)} deliveries")
        return 0

    async def _send(self, *, visits: int | None, rate: float) -> None:
        source = self._settings.sources[SOURCE]
        url = f"http://127.0.0.1:{self._settings.intake.port}/webhooks/{SOURCE}"
        async with aiohttp.ClientSession() as session:
            sender = WebhookSender(url, secret=source.webhook_secret.given[0].encode(), token=TOKEN, session=session)
            await sender.ping()
            for event in self._world.seed_events(now=datetime.now(UTC)):
                self._world.sent(event)
                self._ledger.send(event, await sender.post(event))
            await send_visits(
                sender, self._world, visits=visits, rate=rate, now=lambda: datetime.now(UTC), on_sent=self._ledger.send
            )

    async def _live(self, console: Console) -> None:
        with Live(console=console, refresh_per_second=4, screen=False) as live:
            while True:
                live.update(self._picture())
                await asyncio.sleep(0.25)

    def _picture(self) -> Group:
        counts = {
            d.queue: sum(queue == d.queue for _, queue in self._ledger.arrived) for d in downstreams_of(self._settings)
        }
        told = "   ".join(f"{queue.rpartition('.')[2]} {count}" for queue, count in counts.items())
        rows = [
            (
                at,
                queue.rpartition(".")[2],
                event.type.removeprefix("com.zenoti."),
                (event.subject or "")[:8],
                event.data.enrichment.status,
                event.id[:24],
            )
            for at, queue, event in self._ledger.latest
        ]
        heads = ["at", "downstream", "type", "invoice", "enrichment", "id"]
        return Group(table(heads, rows), Text(f"sent {len(self._ledger.sent)}   {told}   (Ctrl-C ends)"))

    async def _plain(self) -> None:
        shown = 0
        while True:
            arrivals = list(self._ledger.arrived.items())
            for (_, queue), event in arrivals[shown:]:
                where, status = queue.rpartition(".")[2], event.data.enrichment.status
                say(f"{where:10} {event.type:40} {status:10} {event.subject} {event.id}")
            shown = len(arrivals)
            await asyncio.sleep(0.5)


def _table(ledger: Ledger) -> Any:
    rows = []
    for body, sent in ledger.sent.items():
        where = [queue.rpartition(".")[2] for queue in sorted(sent.queues) if (body, queue) in ledger.arrived]
        events = [ledger.arrived[body, queue] for queue in sent.queues if (body, queue) in ledger.arrived]
        shape = "enveloped" if sent.event.event_id else "bare"
        told = (events[0].data.enrichment.status, events[0].id[:24]) if events else ("-", "-")
        rows.append((sent.event.event_type, shape, sent.status, *told, sent.event.invoice_id, ", ".join(where)))
    return table(["event", "body", "door", "enrichment", "id", "invoice", "arrived in"], rows)


def _environment(configured: Settings, *, api_port: int, own_api: bool) -> dict[str, str]:
    """The daemons' environment: the configured broker, prefix and ports of our own, the simulator unless own_api.

    The door has the configured port, where that is free.
    """
    door, intake_admin, consumer_admin = free_ports(3, chain([configured.intake.port], any_ports()))
    ours = {
        "BROKER__PREFIX": f"zi-{secrets.token_hex(4)}",
        "INTAKE__PORT": str(door),
        "INTAKE__ADMIN_PORT": str(intake_admin),
        "CONSUMER__ADMIN_PORT": str(consumer_admin),
    }
    kept = dict(os.environ)
    if not own_api:  # nothing of the operator's own settings but the broker's address
        kept = {key: value for key, value in kept.items() if not key.startswith(ENV_PREFIX) or key == BROKER_URL}
        source = {"BASE_URL": f"http://127.0.0.1:{api_port}", "API_KEY": "simulator", "WEBHOOK_TOKEN": TOKEN}
        source |= {"WEBHOOK_SECRET": secrets.token_hex(16), "VERIFY": "observe"}
        ours |= {f"SOURCES__{SOURCE.upper()}__{key}": value for key, value in source.items()}
        ours |= {f"DOWNSTREAM__{name}__EVENTS": events for name, events in DOWNSTREAMS.items()}
        ours["ARCHIVE__MAX_BYTES"] = "50000000"
    return kept | {ENV_PREFIX + key: value for key, value in ours.items()}


@asynccontextmanager
async def _daemons(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Intake and consumers, ready; stopped by SIGTERM afterwards."""
    logs = _logs(settings)
    logs.mkdir(parents=True, exist_ok=True)
    processes = []
    try:
        for daemon in ("intake", "consume"):
            with (logs / f"{daemon}.log").open("wb") as log:
                # A session of their own: Ctrl-C on the terminal is for this process, which stops them in order.
                command = (sys.executable, "-m", "zenoti_ingest", daemon)
                processes.append(
                    await asyncio.create_subprocess_exec(
                        *command, env=environ, stderr=log, stdout=log, start_new_session=True
                    )
                )
        for port in (settings.intake.admin_port, settings.consumer.admin_port):
            await _ready(port, processes, logs)
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        for process in processes:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()


async def _ready(port: int, processes: list[asyncio.subprocess.Process], logs: Path) -> None:
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while asyncio.get_running_loop().time() < deadline and all(p.returncode is None for p in processes):
            with suppress(aiohttp.ClientError, TimeoutError):  # not listening yet
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.ok:
                        return
            await asyncio.sleep(0.1)
    raise SystemExit(f"the daemons are not ready within {READY_SECONDS:g} s; the last they said:\n{_tails(logs)}")


def _tails(logs: Path) -> str:
    return "\n".join(f"{p.name}: {line}" for p in sorted(logs.iterdir()) for line in p.read_text().splitlines()[-5:])


@asynccontextmanager
async def _observer(settings: Settings, ledger: Ledger) -> AsyncIterator[None]:
    """Declares the topology, reads every downstream queue into the ledger, and deletes all of it afterwards."""
    topology = full_topology(settings)
    link = broker_link(settings, name="journey", topology=topology)

    def ours(name: str) -> bool:  # a downstream's own queue is neither read nor deleted
        return name.startswith(f"{settings.broker.prefix}.")

    mine = Topology(
        tuple(exchange for exchange in topology.exchanges if ours(exchange.name)),
        tuple(queue for queue in topology.queues if ours(queue.name)),
        bindings=(),
    )
    async with AsyncExitStack() as undo:
        running = asyncio.create_task(link.run())
        undo.callback(running.cancel)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await link.wait_ready()
        except TimeoutError:
            raise SystemExit(f"no broker within {READY_SECONDS:g} s ({link.state.detail}); use `make demo`") from None
        undo.push_async_callback(link.use, lambda connection: broker_topology.delete(connection, mine), within=10.0)
        for queue in mine.queues:
            if queue.name in {downstream.queue for downstream in downstreams_of(settings)}:
                await undo.enter_async_context(_reading(link, queue.name, ledger))
        yield


def _reading(link: Link, queue: str, ledger: Ledger) -> Any:
    async def on_delivery(delivery: Delivery) -> None:
        ledger.arrive(queue, delivery.body)
        delivery.ack()

    return link.subscribe(queue, prefetch=100, on_delivery=on_delivery)


def _unclean(processes: list[asyncio.subprocess.Process]) -> int:
    """1 where a daemon did not end with 0 on SIGTERM."""
    codes = [process.returncode for process in processes]
    if any(codes):
        say(f"WRONG     the daemons ended with {codes}")
    return 1 if any(codes) else 0


def _logs(settings: Settings) -> Path:
    return Path("var/log") / settings.broker.prefix


if __name__ == "__main__":
    if sys.argv[1:] not in (["run"], ["demo"]):
        sys.exit("usage: python -m deploy.local.journey run|demo")
    try:
        sys.exit(asyncio.run(main(sys.argv[1])))
    except WorkerError as error:
        sys.exit(f"journey: {error}")
