"""`make crowd`: what 5,000 slow or idle connections do to good requests. By turns in one run, quiet and crowded."""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import aio_pika
import aiohttp

from tests.acceptance.conftest import ROOT, System, ZenotiApi
from tests.acceptance.signing import signed
from tests.bench.speed.processes import resident_mib

BROKER_VARIABLE = "ZENOTI_INGEST_BROKER__URL"
GOOD_CONNECTIONS = 16
WARM_UP_SECONDS = 3.0
COME_SECONDS = 120.0  # 10 where the machine has nothing else to do
TWICE = 2.0
MOST_MIB = 150


class Turn(NamedTuple):
    """What good requests met: seconds from when each was due to its 202, how many got none, memory in MiB.

    Attributes:
        made: connections by the crowd until the turn's end.
    """

    p50: float
    p99: float
    failed: int
    resident: float
    made: int = 0


async def good_requests(door: str, *, rate: float, seconds: float) -> tuple[list[float], int]:
    """Events at a steady pace, whether or not earlier events have been answered; a wait counts from when it was due."""
    waits: list[float] = []
    failed = 0

    async def post(due: float, number: int) -> None:
        nonlocal failed
        body = json.dumps({"event_type": "guest.updated", "event_id": f"{due}-{number}", "data": {}}).encode()
        try:
            async with session.post(door, data=body, headers=signed(body)) as answer:
                await answer.read()
                failed += answer.status != 202
        except (aiohttp.ClientError, TimeoutError):
            failed += 1
        waits.append(time.monotonic() - due)

    connector = aiohttp.TCPConnector(limit=GOOD_CONNECTIONS)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session,
        asyncio.TaskGroup() as posts,
    ):
        begun = time.monotonic()
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            posts.create_task(post(due, number))
    return waits, failed


async def turn(system: System, *, rate: float, seconds: float) -> Turn:
    """Good requests for a while, as things are."""
    await good_requests(system.door, rate=rate, seconds=WARM_UP_SECONDS)
    waits, failed = await good_requests(system.door, rate=rate, seconds=seconds)
    found = sorted(waits)
    p50, p99 = (found[int(len(found) * share)] for share in (0.5, 0.99))
    return Turn(p50, p99, failed, resident_mib(system.processes["intake"].pid))


async def crowded(system: System, *, crowd: int, rate: float, seconds: float) -> Turn:
    """The same, with the crowd at the door."""
    command = (sys.executable, "-m", "tests.bench.crowd.crowd", str(system.port), str(crowd))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(COME_SECONDS):
            await process.stdout.readline()
        found = await turn(system, rate=rate, seconds=seconds)
    finally:
        process.stdin.close()
        async with asyncio.timeout(60):
            made, _ = await process.communicate()
    return found._replace(made=int(made))


async def run(given: argparse.Namespace) -> bool:
    """Print a row a turn and the verdict; whether it holds."""
    connection = await aio_pika.connect(given.broker)
    folder = Path(tempfile.mkdtemp(prefix="crowd-"))
    system = System(broker_url=given.broker, folder=folder, api=ZenotiApi(), connection=connection)
    system.settings |= {"LOG__LEVEL": "info", "INTAKE__MAX_CONNECTIONS": str(given.max_connections)}
    del system.settings["SOURCES__MAIN__BASE_URL"]  # the door asks no API
    quiet, full = list[Turn](), list[Turn]()
    print(f"{given.crowd} in the crowd, {given.rate:g} good requests a second, max_connections {given.max_connections}")
    print("| turn | p50 ms | p99 ms | without 202 | RSS MiB | connections of the crowd |\n|---|--:|--:|--:|--:|--:|")
    try:
        await system.spawn("intake", "intake")
        await system.ready(system.intake_admin, within=60)
        await turn(system, rate=given.rate, seconds=given.seconds)
        for which in ("quiet", "crowd") * given.turns:
            found = (
                await turn(system, rate=given.rate, seconds=given.seconds)
                if which == "quiet"
                else await crowded(system, crowd=given.crowd, rate=given.rate, seconds=given.seconds)
            )
            (quiet if which == "quiet" else full).append(found)
            print(
                f"| {which} | {1000 * found.p50:.1f} | {1000 * found.p99:.1f} | {found.failed} | {found.resident:.0f} "
                f"| {found.made} |"
            )
    finally:
        await system.stop()
        await connection.close()
    ratio = statistics.median(t.p99 for t in full) / statistics.median(t.p99 for t in quiet)
    most = max(t.resident for t in full)
    print(f"p99 crowded / quiet (medians): {ratio:.2f}; RSS at most {most:.0f} MiB")
    return ratio <= TWICE and most < MOST_MIB and not any(t.failed for t in (*quiet, *full))


def main() -> int:
    """Exit status 0: good requests are answered, their p99 within twice the quiet run's, memory within bounds."""
    parser = argparse.ArgumentParser(prog="make crowd")
    parser.add_argument("--broker", default=os.environ.get(BROKER_VARIABLE), help="its URL")
    parser.add_argument("--crowd", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=100.0, help="good requests a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--max-connections", type=int, default=6000, help="as in the settings")
    return 0 if asyncio.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    raise SystemExit(main())
