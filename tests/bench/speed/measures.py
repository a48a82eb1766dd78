"""The measures, each by turns among the sides in one run. Goals are those that the project set itself."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from tests.bench.speed.bench import Bench, fresh_tag, require_all
from tests.bench.speed.figures import Figure, Goal, Turn, quantile
from tests.bench.speed.load import Plan
from tests.bench.speed.processes import Helper
from tests.bench.speed.sides import Side
from tests.bench.speed.trace import Arrived

MANY, FEW = 64, 16
DOOR_EVENTS = 8_000
PACED_SECONDS = 4
WAY_EVENTS = 5_000
TRANSLATE_EVENTS = 8_000
FASTSTREAM_EVENTS = 1_000
LATENCY_PER_SECOND = 100.0
STEP_SECONDS = 30.0
TURN_SECONDS = 120.0

Measure = Callable[[Bench], Awaitable[list[Figure]]]


async def door(bench: Bench) -> list[Figure]:
    """Confirmed posts a second, as fast as 64 connections can; then 16 connections at half of that, by the clock."""
    alone = await _load_alone(bench)
    count = bench.size.events(DOOR_EVENTS)
    async with bench.ours.running("intake"), bench.obvious.running("intake"):
        sides = (bench.ours, bench.obvious)
        full = [partial(bench.door_turn, side, count=count, connections=MANY) for side in sides]
        ours, theirs = await bench.by_turns(full)
        half = [_half(bench, side, found.per_second) for side, found in zip(sides, (ours, theirs), strict=True)]
        paced, their_paced = await bench.by_turns(half)
        resident = bench.ours.resident_mib()
    return [
        Figure("door, 64 connections: confirmed POSTs/s", ours.per_second, theirs.per_second, Goal(2.0)),
        Figure("door, 64 connections: p50 ms", ours.p50, theirs.p50),
        Figure("door, 64 connections: p99 ms", ours.p99, theirs.p99, Goal(1.0, at="most")),
        Figure("door, 64 connections: CPU µs an event", ours.cpu, theirs.cpu),
        Figure("door, 64 connections: broker's CPU µs an event", ours.broker_cpu, theirs.broker_cpu),
        Figure("door, 64 connections: % withheld", ours.withheld, theirs.withheld),
        Figure("door, 16 connections, half of its maximum: POSTs/s", paced.per_second, their_paced.per_second),
        Figure("door, 16 connections, half of its maximum: p50 ms", paced.p50, their_paced.p50),
        Figure(
            "door, 16 connections, half of its maximum: p99 ms", paced.p99, their_paced.p99, Goal(25, "ours", "most")
        ),
        Figure("door, 16 connections, half of its maximum: % withheld", paced.withheld, their_paced.withheld),
        Figure("door, afterwards: RSS MiB", resident),
        Figure("the load alone, against a door that only answers: POSTs/s", alone),
    ]


def _half(bench: Bench, at: Side, most: float) -> Callable[[], Awaitable[Turn]]:
    count = bench.size.events(int(most / 2 * PACED_SECONDS))
    return partial(bench.door_turn, at, count=count, connections=FEW, rate=most / 2)


async def _load_alone(bench: Bench) -> float:
    """What the load can do where the other end does next to nothing."""
    count, found = bench.size.events(DOOR_EVENTS), []
    async with Helper("stand_ins", "0") as door_alone:
        port = int(await door_alone.hear(within=STEP_SECONDS))
        for _ in range(3):
            seen = await bench.post(Plan(port=port, tag=fresh_tag(), count=count, connections=MANY))
            found.append(count / seen.seconds)
    return statistics.median(found)


async def translate(bench: Bench) -> list[Figure]:
    """One process of translate alone against the obvious consumer without its call: a backlog, to the next queue."""
    count = bench.size.events(TRANSLATE_EVENTS)
    async with bench.ours.running("pass-on"), bench.obvious.running("pass-on"):
        ours, theirs = await bench.by_turns(
            [
                partial(bench.backlog_turn, bench.ours, count=count, to="enrich.main.0"),
                partial(bench.backlog_turn, bench.obvious, count=count, to="out.all"),
            ]
        )
    return [
        Figure("translate, one process: events/s", ours.per_second, theirs.per_second, Goal(1.0)),
        Figure("translate, one process: CPU µs an event", ours.cpu, theirs.cpu),
        Figure("translate, one process: broker's CPU µs an event", ours.broker_cpu, theirs.broker_cpu),
        Figure("translate, one process: % withheld", ours.withheld, theirs.withheld),
    ]


async def enrich(bench: Bench) -> list[Figure]:
    """One process of enrich alone, from the lane, against the obvious consumer, from the raw queue: to downstream."""
    count = bench.size.events(WAY_EVENTS)
    async with bench.ours.running("enrich"), bench.obvious.running("consume"):
        ours, theirs = await bench.by_turns(
            [
                partial(bench.backlog_turn, bench.ours, count=count, to="out.all", passed_on=True),
                partial(bench.backlog_turn, bench.obvious, count=count, to="out.all"),
            ]
        )
    return [
        Figure("enrich, one process: events/s", ours.per_second, theirs.per_second),
        Figure("enrich, one process: CPU µs an event", ours.cpu, theirs.cpu),
        Figure("enrich, one process: broker's CPU µs an event", ours.broker_cpu, theirs.broker_cpu),
        Figure("enrich, one process: API calls an event", ours.calls, theirs.calls),
        Figure("enrich, one process: % withheld", ours.withheld, theirs.withheld),
    ]


async def way(bench: Bench) -> list[Figure]:
    """From the raw queue to downstream: two processes of ours against one of each reference."""
    counts = [(bench.ours, WAY_EVENTS), (bench.obvious, WAY_EVENTS)]
    async with AsyncExitStack() as running:
        await running.enter_async_context(bench.ours.running("consume", "consume"))
        await running.enter_async_context(bench.obvious.running("consume"))
        if bench.faststream is not None:
            await running.enter_async_context(bench.faststream.running("consume"))
            counts.append((bench.faststream, FASTSTREAM_EVENTS))
        ours, theirs, *others = await bench.by_turns(
            [partial(bench.backlog_turn, side, count=bench.size.events(n), to="out.all") for side, n in counts]
        )
        resident = bench.ours.resident_mib()
    return [
        Figure("way, two processes: events/s", ours.per_second, theirs.per_second, Goal(1.3)),
        Figure("way, two processes: CPU µs an event", ours.cpu, theirs.cpu),
        Figure("way, two processes: broker's CPU µs an event", ours.broker_cpu, theirs.broker_cpu),
        Figure("way, two processes: API calls an event", ours.calls, theirs.calls),
        Figure("way, two processes: % withheld", ours.withheld, theirs.withheld),
        Figure("way, afterwards: RSS MiB of the larger", resident),
        *(
            figure
            for other in others
            for figure in (
                Figure("way, against FastStream: events/s", ours.per_second, other.per_second, Goal(6.0)),
                Figure("way, against FastStream: CPU µs an event", ours.cpu, other.cpu),
            )
        ),
    ]


async def cost(bench: Bench) -> list[Figure]:
    """All processes of a side, from the door to downstream: what an event costs."""
    count = bench.size.events(WAY_EVENTS)
    async with (
        bench.ours.running("intake", "consume", "consume"),
        bench.obvious.running("intake", "consume"),
    ):
        turns = [partial(_whole_turn, bench, side, count=count) for side in (bench.ours, bench.obvious)]
        ours, theirs = await bench.by_turns(turns)
    return [
        Figure("door to downstream: CPU µs an event", ours.cpu, theirs.cpu, Goal(1.2, at="most")),
        Figure("door to downstream: broker's CPU µs an event", ours.broker_cpu, theirs.broker_cpu),
        Figure("door to downstream: events/s", ours.per_second, theirs.per_second),
        Figure("door to downstream: % withheld", ours.withheld, theirs.withheld),
    ]


async def _whole_turn(bench: Bench, at: Side, *, count: int) -> Turn:
    """As many posts as 64 connections can, until all of them are downstream."""
    plan = Plan(port=at.port, tag=fresh_tag(), count=count, connections=MANY)
    cpu, broker_cpu = at.cpu_seconds(), bench.broker_cpu_seconds()
    seen = await bench.post(plan)
    seconds = await at.queues.filled("out.all", count, within=TURN_SECONDS) - seen.begun[0]
    per_event = 1_000_000 / count
    cpu, broker_cpu = at.cpu_seconds() - cpu, bench.broker_cpu_seconds() - broker_cpu
    require_all(await at.queues.drain("out.all", plan.tag, count), at)
    return Turn(count / seconds, cpu * per_event, broker_cpu * per_event)


async def latency(bench: Bench) -> list[Figure]:
    """From when a post is due to its event's arrival downstream, at 100 a second."""
    count = bench.size.events(int(LATENCY_PER_SECOND * PACED_SECONDS))
    async with (
        bench.ours.running("intake", "consume", "consume"),
        bench.obvious.running("intake", "consume"),
    ):
        turns = [partial(_latency_turn, bench, side, count=count) for side in (bench.ours, bench.obvious)]
        ours, theirs = await bench.by_turns(turns)
    return [
        Figure("door to downstream at 100/s, API in 50 ms: p50 ms", ours.p50, theirs.p50, Goal(75, "ours", "most")),
        Figure("door to downstream at 100/s, API in 50 ms: p99 ms", ours.p99, theirs.p99, Goal(150, "ours", "most")),
        Figure("door to downstream at 100/s: CPU µs an event", ours.cpu, theirs.cpu),
        Figure("door to downstream at 100/s: % withheld", ours.withheld, theirs.withheld),
    ]


async def _latency_turn(bench: Bench, at: Side, *, count: int) -> Turn:
    plan = Plan(port=at.port, tag=fresh_tag(), count=count, connections=FEW, rate=LATENCY_PER_SECOND)
    arrived, cpu = Arrived(plan.tag, count), at.cpu_seconds()
    watching = asyncio.create_task(
        at.queues.watch("out.all", arrived, lambda _: not arrived.missing, within=TURN_SECONDS)
    )
    seen = await bench.post(plan)
    times = await watching
    require_all(arrived, at)
    waits = [1000 * (came - begun) for came, begun in zip(times, seen.begun, strict=True)]
    cpu = (at.cpu_seconds() - cpu) * 1_000_000 / count
    return Turn(count / seen.seconds, cpu, 0.0, quantile(waits, 0.5), quantile(waits, 0.99))


async def start(bench: Bench) -> list[Figure]:
    """From the command to a /readyz that says so, broker up, everything declared."""
    return [
        Figure(
            f"start of {word} to ready: s",
            await _start_seconds(bench, bench.ours, word),
            None,
            Goal(0.8, "ours", "most"),
        )
        for word in ("intake", "consume")
    ]


async def _start_seconds(bench: Bench, at: Side, word: str) -> float:
    found = []
    for _ in range(bench.size.turns):
        began = time.monotonic()
        async with at.running(word):
            found.append(time.monotonic() - began)
    return statistics.median(found)


MEASURES: dict[str, Measure] = {
    "door": door,
    "translate": translate,
    "enrich": enrich,
    "way": way,
    "cost": cost,
    "latency": latency,
    "start": start,
}
