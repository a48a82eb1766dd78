"""A great backlog, drained by two processes: every event comes out, and memory stays where it was."""

import asyncio
import contextlib
import time

from tests.bench.speed.bench import STEP_SECONDS, Bench, fresh_tag, require_all
from tests.bench.speed.figures import Figure, Goal
from tests.bench.speed.processes import resident_mib
from tests.bench.speed.sides import Side
from tests.bench.speed.trace import Arrived

PROCESSES = 2
SETTLED_SHARE = 0.1  # until so much has come, memory is on its way to where it stays
LEAST_PER_SECOND = 100
POLL_SECONDS = 0.5


async def backlog(bench: Bench, count: int) -> list[Figure]:
    """So many raw events, an API call for five of them."""
    at, tag = bench.ours, fresh_tag()
    await at.queues.fill(tag, count)
    print(f"backlog: {count} raw events are there", flush=True)
    arrived, samples = Arrived(tag, count), list[tuple[int, list[float]]]()
    async with at.running(*["consume"] * PROCESSES):
        looking = asyncio.create_task(_look(at, arrived, samples))
        asked, cpu, began = int(await bench.api.ask("", within=STEP_SECONDS)), at.cpu_seconds(), time.monotonic()
        within = STEP_SECONDS + count / LEAST_PER_SECOND
        await at.queues.watch("out.all", arrived, lambda _: not arrived.missing, within=within)
        seconds, cpu = time.monotonic() - began, at.cpu_seconds() - cpu
        asked = int(await bench.api.ask("", within=STEP_SECONDS)) - asked
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        after = [resident_mib(pid) for pid in at.pids]
    require_all(arrived, at)
    later = [mib for distinct, mib in samples if distinct >= SETTLED_SHARE * count] or [mib for _, mib in samples]
    spread = max(max(turns) - min(turns) for turns in zip(*later, strict=True))
    return [
        Figure(f"backlog of {count:,}: events/s", count / seconds),
        Figure("backlog: CPU µs an event", cpu * 1_000_000 / count),
        Figure("backlog: API calls an event", asked / count),
        Figure("backlog: RSS MiB, most less least after the first tenth", spread, None, Goal(20, "ours", "most")),
        Figure("backlog: RSS MiB of the larger afterwards", max(after), None, Goal(90, "ours", "most")),
        *_course(samples, count),
    ]


def _course(samples: list[tuple[int, list[float]]], count: int) -> list[Figure]:
    """Memory along the way."""
    found = []
    for share in (0.0, 0.1, 0.25, 0.5, 0.75):
        at = next((max(mib) for distinct, mib in samples if distinct >= share * count), None)
        if at is not None:
            found.append(Figure(f"backlog: RSS MiB of the larger once {share:.0%} had come", at))
    return found


async def _look(at: Side, arrived: Arrived, samples: list[tuple[int, list[float]]]) -> None:
    while True:
        samples.append((arrived.distinct, [resident_mib(pid) for pid in at.pids]))
        await asyncio.sleep(POLL_SECONDS)
