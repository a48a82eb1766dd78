"""Two runs of another kind: an API that is away for a hundred consumer time-outs, and a long time without any fault."""

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tests.chaos.rounds import SETTLE_SECONDS, Outcome, Say, Struck, alive, settle
from tests.chaos.world import World

TIMEOUT_SECONDS = 3  # the broker's consumer time-out in an outage; 30 minutes where nobody sets it
RESTART_SECONDS = 25.0
MODE_SECONDS = 7.0
MODES = ("down", "hang", "503")
WARM_UP_SECONDS = 180.0
SAMPLE_SECONDS = 10.0
FLAT_KIB = 10 * 1024
CALLS_PER_MINUTE = 1200  # in the scenario `partial`


@dataclass(frozen=True)
class Scenario:
    """What a run needs of the nodes and of the product's settings, beside the suite's own.

    Attributes:
        minutes: how long it takes where nobody says.
        config: lines for rabbitmq.conf.
        advanced: the text of advanced.config.
        settings: of the product.
        rate: events a second where nobody says.
    """

    minutes: float
    config: str = ""
    advanced: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    rate: float = 45.0


SCENARIOS = {
    "chaos": Scenario(minutes=2, settings={"RETRY__MAX_ATTEMPTS": "1000"}),
    # The ladder's attempts are the default's: an outage must not use them up.
    "outage": Scenario(
        minutes=5.5,
        config=f"consumer_timeout = {1000 * TIMEOUT_SECONDS}\n",
        advanced="[{rabbit, [{channel_tick_interval, 1000}]}].\n",  # else the time-out is looked at once a minute
        settings={"CONSUMER__HOLD_SECONDS": str(TIMEOUT_SECONDS / 2)},
    ),
    "away": Scenario(minutes=30),
    # A quota that is a quota: two thirds of the events need a call each, which is 480 a minute.
    "partial": Scenario(
        minutes=10,
        rate=12,
        settings={"SOURCES__MAIN__CALLS_PER_MINUTE": str(CALLS_PER_MINUTE), "BROKER__MAX_MESSAGE_BYTES": "65536"},
    ),
    # What is remembered grows for as long as the window; here it is full before the first sample.
    "soak": Scenario(minutes=23, settings={"CONSUMER__DUPLICATE_WINDOW_SECONDS": str(WARM_UP_SECONDS / 2)}),
}


async def outage(world: World, *, seconds: float, say: Say) -> Outcome:
    """Let the API be away in turn by each of its ways, restart the consumers all the time, then heal and settle."""
    begun = time.monotonic()
    rng = Random(f"{world.plan.seed} outage")
    struck: list[Struck] = []
    sending = asyncio.create_task(world.load.run())
    try:
        await alive(world)
        failing = asyncio.create_task(_fail_in_turn(world))
        try:
            for turn in itertools.count():
                await asyncio.sleep(min(RESTART_SECONDS, seconds / 12))
                if time.monotonic() - begun > seconds:
                    break
                struck.append(await _restart(world, rng, turn, begun=begun))
                say(f"{struck[-1].at:7.1f} s  {struck[-1].what}; API {world.api.mode}; ready {await world.depths()}")
        finally:
            failing.cancel()
            await asyncio.wait([failing])
        await world.api.become("ok")
        life = await alive(world, within=SETTLE_SECONDS)  # first comes what has waited
    finally:
        sending.cancel()
    timeouts = sum(_timeouts(text.read_text(errors="replace")) for text in world.plan.folder.glob("node-*.log"))
    away = f"{seconds:.0f} s, {seconds / TIMEOUT_SECONDS:.0f} consumer time-outs of {TIMEOUT_SECONDS} s"
    notes = [
        f"the API was away for {away}; {len(struck)} restarts; alive {life:.1f} s after its return",
        f"consumers that the broker timed out: {timeouts}",
    ]
    settlement, left = await settle(world, say=say)
    return Outcome(time.monotonic() - begun, struck, settlement, left, notes)


async def soak(world: World, *, seconds: float, say: Say) -> Outcome:
    """Let events flow, and look at each daemon's memory: after a warm-up it must not grow."""
    begun = time.monotonic()
    samples: dict[str, list[int]] = {daemon.name: [] for daemon in world.daemons}
    sending = asyncio.create_task(world.load.run())
    try:
        await asyncio.sleep(min(WARM_UP_SECONDS, seconds / 4))
        while time.monotonic() - begun < seconds:
            for daemon in world.daemons:
                samples[daemon.name].append(daemon.resident_kib())
            await asyncio.sleep(SAMPLE_SECONDS)
        await alive(world)
    finally:
        sending.cancel()
    notes = ["", "| resident MiB | after warm-up | least | most | at the end |", "|---|--:|--:|--:|--:|"]
    for name, found in samples.items():
        first, least, most, last = (f"{kib / 1024:.1f}" for kib in (found[0], min(found), max(found), found[-1]))
        notes.append(f"| {name} | {first} | {least} | {most} | {last} |")
        if max(found) - found[0] > FLAT_KIB:
            world.ledger.wrong.append(f"{name} grew by {(max(found) - found[0]) / 1024:.1f} MiB")
    settlement, left = await settle(world, say=say)
    return Outcome(time.monotonic() - begun, [], settlement, left, notes)


async def _fail_in_turn(world: World) -> None:
    for mode in itertools.cycle(MODES):
        await world.api.become(mode)
        await asyncio.sleep(MODE_SECONDS)


async def _restart(world: World, rng: Random, turn: int, *, begun: float) -> Struck:
    """A consumer ends, by SIGTERM and SIGKILL in turn, and starts anew."""
    at = time.monotonic()
    daemon = rng.choice(world.of("enrich") if turn % 3 else world.of("translate"))
    if turn % 2:
        await daemon.kill()
    elif complaint := await daemon.terminate():
        world.ledger.wrong.append(complaint)
    await daemon.start()
    what = f"{'kill -9 of' if turn % 2 else 'SIGTERM to'} {daemon.name}"
    return Struck(at - begun, "restart", what, time.monotonic() - at, accepted=0, retried=0)


def _timeouts(log: str) -> int:
    """How often a node's log says that it gave up on a consumer."""
    return sum("timed out" in line and "onsumer" in line for line in log.splitlines())
