"""The closing-time run: real processes, the simulator's fixed trace, the active consumer killed in the middle."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.acceptance.conftest import System, ZenotiApi, free_ports, http
from tests.acceptance.signing import signed
from tests.bench.closing_time.quota_use import Call, Waited
from tests.bench.closing_time.recorder import Recorder
from tests.eventually import eventually

EVENTS_OF_AN_INVOICE = 5
GUEST_EVERY_SECONDS = 1.0
START_SECONDS = 60.0
SLACK_SECONDS = 150.0
LEASE_SECONDS, LEAST_LEASE_SECONDS = 5.0, 0.5
TRACE_SECONDS = 2 * 1080  # the trace, and as long again for what it leaves behind


class Trace(NamedTuple):
    """What is to be run; calls_per_minute is the vendor's, before speed."""

    speed: float = 20.0
    processes: int = 2
    invoices: int = 300
    calls_per_minute: float = 60.0
    seed: int = 1


class Observed(NamedTuple):
    """What was seen; times are the clock's. `counted` is what the simulator says, `copies` what came out in all.

    `ways` are the seconds from the beginning of a call until an event that it served had come out downstream.
    """

    calls: list[Call]
    events: list[Waited]
    guests: list[float]
    killed_at: float
    counted: dict[str, Any]
    copies: int
    ways: list[float]


class _Out:
    """What has come downstream: of each id the first, and when."""

    def __init__(self) -> None:
        self.events: dict[str, Waited] = {}
        self.guests: dict[str, float] = {}
        self.accepted: dict[str, float] = {}
        self.copies = 0
        self.ways: list[float] = []

    def guest_seconds(self) -> list[float]:
        """From the door's 202 to the queue, for each guest that has come."""
        return [max(0.0, self.guests[key] - at) for key, at in self.accepted.items() if key in self.guests]

    async def keep(self, message: AbstractIncomingMessage) -> None:
        """Note one message."""
        now, event = time.time(), json.loads(message.body)
        await message.ack()
        if event["data"]["enrichment"]["status"] == "not_applicable":
            self.guests.setdefault(event["eventid"], now)
            return
        self.copies += 1
        fetched_at = _seconds(event["data"]["enrichment"]["fetched_at"])
        self.ways.append(now - fetched_at)
        self.events.setdefault(event["id"], Waited(_seconds(event["receivedat"]), event["subject"], fetched_at))


async def closing_time(broker_url: str, folder: Path, trace: Trace) -> Observed:
    """Run it to its end: every event has come out, with the invoice; fails where that takes too long."""
    out, expected = _Out(), trace.invoices * EVENTS_OF_AN_INVOICE
    within = TRACE_SECONDS / trace.speed + SLACK_SECONDS
    async with _installation(broker_url, folder, trace) as (system, recorder, urls), system.connection.channel() as ch:
        ports = free_ports(len(urls))
        await system.spawn("intake", "intake")
        for number in range(len(urls)):  # one by one: the first to subscribe is active
            await _consumer(system, number, urls, ports)
        await system.ready(system.intake_admin, within=START_SECONDS)
        await (await ch.get_queue(f"{system.prefix}.out.all")).consume(out.keep)
        simulator = await system.spawn("simulate", *_words(system, trace))
        guests = asyncio.create_task(_guests(system, out))
        # Each invoice needs a call, so calls are still to come, however far what has come out lags behind them.
        await eventually(lambda: len(recorder.calls) >= trace.invoices * 0.75, within=within)
        killed_at = time.time()
        system.processes["consume-0"].kill()
        await system.processes["consume-0"].wait()
        await _consumer(system, 0, urls, ports)
        await eventually(lambda: len(out.events) == expected, within=within)
        guests.cancel()
        await asyncio.wait([guests])
        await eventually(lambda: len(out.guest_seconds()) == len(out.accepted))
        async with asyncio.timeout(within):
            await simulator.wait()
        log = system.log("simulate")
    counted = json.loads(log[log.index("{\n") :])["counters"]
    events = list(out.events.values())
    return Observed(recorder.calls, events, out.guest_seconds(), killed_at, counted, out.copies, out.ways)


@asynccontextmanager
async def _installation(
    broker_url: str, folder: Path, trace: Trace
) -> AsyncIterator[tuple[System, Recorder, list[str]]]:
    """Everything declared, nothing running; a recorder before the simulator's API."""
    connection = await aio_pika.connect(broker_url)
    system = System(broker_url=broker_url, folder=folder, api=ZenotiApi(), connection=connection)
    recorder = Recorder(f"http://127.0.0.1:{system.simulator_port}")
    del system.settings["DOWNSTREAM__INVOICES__EVENTS"]
    system.settings["SOURCES__MAIN__CALLS_PER_MINUTE"] = f"{trace.calls_per_minute * trace.speed:g}"
    system.settings["CONSUMER__LEASE_SECONDS"] = f"{max(LEAST_LEASE_SECONDS, LEASE_SECONDS / trace.speed):g}"
    system.settings["LOG__LEVEL"] = "info"
    try:
        urls = await recorder.start(trace.processes)
        system.settings["SOURCES__MAIN__BASE_URL"] = urls[0]
        assert (await system.run("topology", "apply"))[0] == 0
        yield system, recorder, urls
    finally:
        await system.stop()
        await recorder.stop()
        await connection.close()


async def _consumer(system: System, number: int, urls: list[str], ports: list[int]) -> None:
    """Start a consumer, with an address of the API that is its own; returns when it has subscribed."""
    system.settings["SOURCES__MAIN__BASE_URL"] = urls[number]
    system.settings["CONSUMER__ADMIN_PORT"] = str(ports[number])
    await system.spawn(f"consume-{number}", "consume")
    await system.ready(ports[number], within=START_SECONDS)


def _words(system: System, trace: Trace) -> tuple[str, ...]:
    return (
        *("simulate", "--port", str(system.simulator_port), "--trace", "closing-time", "--json"),
        *("--speed", f"{trace.speed:g}", "--seed", str(trace.seed), "--invoices", str(trace.invoices)),
        *("--calls-per-minute", f"{trace.calls_per_minute:g}", "--linger", f"{SLACK_SECONDS:g}"),
    )


async def _guests(system: System, out: _Out) -> None:
    """Post an event that needs no invoice, one a second, until cancelled."""
    while True:
        event_id = f"guest-{len(out.accepted)}"
        event = {"event_id": event_id, "event_type": "Guest.Updated", "data": {"id": event_id}}
        body = json.dumps(event).encode()
        status, _, said = await http("POST", system.door, body=body, headers=signed(body))
        assert status == HTTPStatus.ACCEPTED, said
        out.accepted[event_id] = time.time()
        await asyncio.sleep(GUEST_EVERY_SECONDS)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
