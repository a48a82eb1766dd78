"""Redrive and replay, killed and stopped: every message accounted for."""

import asyncio
import json
import random
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage

from tests.acceptance.conftest import ROOT, System
from tests.eventually import eventually

COUNT = 300
KILLS = 10
MOST_BEFORE_A_KILL = 25
REDRIVE = ("dead", "redrive", "--all")
REPLAY = ("archive", "replay", "--since", "2h")
MEGABYTE_OF_KB = 1024
PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


async def fill(system: System, queue: str, count: int, *, size: int = 2) -> None:
    """Put webhooks (in `dead`: letters) into `<prefix>.<queue>`, some hundred at a time."""
    now = datetime.now(UTC) - timedelta(hours=1)
    async with system.connection.channel() as channel:

        async def put(number: int) -> None:
            at = (now + timedelta(milliseconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            headers: dict[str, Any] = {"source": "main", "receipt_id": f"r-{number}", "received_at": at}
            if queue == "dead":
                headers |= {"reason": "refused", "stage": "translate", "detail": f"code 400 at byte {number}"}
                headers |= {"dead_at": at, "event_id": f"e-{number}", "event_type": "invoice.closed"}
            message = Message(b"{}".ljust(size), headers=headers, message_id=f"r-{number}")
            message.delivery_mode = DeliveryMode.PERSISTENT
            await channel.default_exchange.publish(message, routing_key=f"{system.prefix}.{queue}")

        for start in range(0, count, 300):
            await asyncio.gather(*(put(number) for number in range(start, min(count, start + 300))))


@asynccontextmanager
async def raw_taken(system: System) -> AsyncIterator[Counter[str]]:
    """Take what comes to the raw queue: how often each message came."""
    came: Counter[str] = Counter()
    async with system.connection.channel() as channel:

        async def keep(message: AbstractIncomingMessage) -> None:
            came[message.message_id or ""] += 1
            await message.ack()

        queue = await channel.get_queue(f"{system.prefix}.raw.main")
        await queue.consume(keep)
        yield came


@pytest.fixture
async def declared(system: System) -> System:
    """An installation that is declared; nothing of it runs."""
    assert (await system.run("topology", "apply"))[0] == 0
    return system


async def killed_again_and_again(system: System, came: Counter[str], *command: str) -> None:
    """Run it KILLS times, each killed -9 after a random number of messages."""
    seed = secrets.randbelow(10**6)
    print("seed", seed)  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)  # noqa: S311  # moments
    for turn in range(KILLS):
        enough = came.total() + chance.randint(1, MOST_BEFORE_A_KILL)
        process = await system.spawn(f"run-{turn}", *command)
        await eventually(lambda enough=enough: came.total() >= enough, within=20)  # type: ignore[misc]  # bound at once
        process.kill()
        await process.wait()


@pytest.mark.xdist_group("heavy")  # one of them at a time
@pytest.mark.timeout(240)
async def test_a_redrive_killed_ten_times_loses_none(declared: System) -> None:
    """Ten kill -9 in mid-redrive lose no letter, and each kill brings at most one of them twice."""
    await fill(declared, "dead", COUNT)
    async with raw_taken(declared) as came:
        await killed_again_and_again(declared, came, *REDRIVE)
        code, out, err = await declared.run(*REDRIVE, "--json", within=60)
        assert code == 0, err
        assert json.loads(out)["stayed"] == []
        await eventually(lambda: len(came) == COUNT)
    assert came.total() <= COUNT + KILLS
    assert await declared.depth("dead") == 0


@pytest.mark.xdist_group("heavy")  # one of them at a time
@pytest.mark.timeout(240)
async def test_a_replay_killed_ten_times_loses_none(declared: System) -> None:
    """Ten kill -9 in mid-replay lose nothing: run to its end, each event has come, and the archive is as it was."""
    await fill(declared, "archive", COUNT)
    async with raw_taken(declared) as came:
        await killed_again_and_again(declared, came, *REPLAY)
        before = Counter(came)
        code, out, err = await declared.run(*REPLAY, "--json", within=60)
        assert code == 0, err
        assert json.loads(out)["replayed"] == COUNT
        await eventually(lambda: len(came - before) == COUNT)
    _, out, _ = await declared.run("archive", "list", "--since", "2h", "--json")
    assert json.loads(out)["count"] == COUNT


@pytest.mark.parametrize(("queue", "command"), [("dead", REDRIVE), ("archive", REPLAY)], ids=["redrive", "replay"])
async def test_live_events_go_first_and_a_stop_is_clean(declared: System, queue: str, command: tuple[str, ...]) -> None:
    """While the raw queue is long it waits and says for what; stopped, it says how to go on, and none comes twice."""
    await fill(declared, queue, COUNT)
    waiting = await declared.spawn("waiting", *command, "--json")
    await eventually(
        lambda: f"events ready in {declared.prefix}.raw.main, nobody consumes" in declared.log("waiting"), within=30
    )
    waiting.send_signal(signal.SIGTERM)
    assert await waiting.wait() == 1
    log = declared.log("waiting")
    printed = json.loads(log[log.index("{\n") :])
    assert printed["cut_short"] == "stopped"
    assert await declared.depth("raw.main") <= 150
    more = () if queue == "dead" else ("--after", str(printed["done_up_to_offset"]))
    async with raw_taken(declared) as came:
        code, _, err = await declared.run(*command, *more)
        assert code == 0, err
        await eventually(lambda: len(came) == COUNT)
    assert came.total() == COUNT


async def test_a_replay_keeps_to_its_rate(declared: System) -> None:
    """With --rate, events come no faster than so many a second."""
    await fill(declared, "archive", 30)
    loop = asyncio.get_running_loop()
    async with raw_taken(declared) as came:
        process = await declared.spawn("replay", *REPLAY, "--rate", "10")
        await eventually(lambda: came, within=20)
        begun = loop.time()
        assert await process.wait() == 0
    assert loop.time() - begun > 2
    assert came.total() == 30


@pytest.mark.xdist_group("heavy")  # one of them at a time
@pytest.mark.timeout(240)
async def test_many_letters_in_bounded_memory(declared: System) -> None:
    """Looking at 20 MB of letters, or redriving them in a dry run, takes hardly more memory than a few."""

    async def peak(*command: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PEAK, sys.executable, "-m", "zenoti_ingest", "dead", *command),
            cwd=ROOT,
            env=declared.environ,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        assert process.returncode == 0
        return int(out)

    await fill(declared, "dead", 20)
    few = await peak("list", "--json")
    await fill(declared, "dead", 1_000, size=20_000)
    assert await peak("list", "--json") < few + 10 * MEGABYTE_OF_KB
    assert await peak("redrive", "--all", "--dry-run") < few + 10 * MEGABYTE_OF_KB
