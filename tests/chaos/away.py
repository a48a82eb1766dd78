"""A broker away for long, in each of its ways, with webhooks coming and the intake killed: the spool at work."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from tests.chaos.faults import ALARM, NO_ALARM
from tests.chaos.rounds import SETTLE_SECONDS, Outcome, Say, Struck, alive, settle
from tests.chaos.world import World

KILLS = 2
ANSWERED_SECONDS = 2.0  # what is promised
DRAINING = 0.1  # of the rate, while what has piled up drains: all of it runs on one small machine
HEAD = [
    "| broker | s | accepted | p50 s | p99 s | slowest 202 s | no 202 | s until new events came out |",
    "|---|--:|--:|--:|--:|--:|---|--:|",
]
Do = Callable[[World], Awaitable[None]]


async def away(world: World, *, seconds: float, say: Say) -> Outcome:
    """Stop the broker, freeze it, block it by an alarm, each for a third of the time; then settle."""
    begun = time.monotonic()
    rng = Random(f"{world.plan.seed} away")
    struck: list[Struck] = []
    notes = list(HEAD)
    sending = asyncio.create_task(world.load.run())
    try:
        await alive(world)
        for name in _WAYS:
            at, accepted = time.monotonic() - begun, len(world.ledger.accepted)
            notes.append(await _once(world, rng, name, seconds=seconds / 3))
            say(notes[-1])
            lasted = time.monotonic() - begun - at
            struck.append(Struck(at, name, "", lasted, len(world.ledger.accepted) - accepted, retried=0))
    finally:
        sending.cancel()
    await _empty_spool(world)
    return Outcome(time.monotonic() - begun, struck, *await settle(world, say=say), notes)


async def _once(world: World, rng: Random, name: str, *, seconds: float) -> str:
    """One way of being away, the intake killed within; returns a row of the table."""
    strike, heal = _WAYS[name]
    before, waits = Counter(world.ledger.refusals), world.load.waits
    waits.clear()
    at = time.monotonic()
    await strike(world)
    for _ in range(KILLS):
        await asyncio.sleep(seconds / (KILLS + 1))
        daemon = rng.choice(world.of("intake"))
        await daemon.kill()
        await daemon.start()
    await asyncio.sleep(max(0.0, at + seconds - time.monotonic()))
    found, missed = sorted(waits), world.ledger.refusals - before
    if found[-1] > ANSWERED_SECONDS:
        world.ledger.wrong.append(f"broker {name}: a 202 took {found[-1]:.2f} s")
    world.load.rate *= DRAINING
    await heal(world)
    healed = time.monotonic()
    await alive(world, within=2 * seconds + SETTLE_SECONDS)
    world.load.rate /= DRAINING
    p50, p99 = (found[int(len(found) * share)] for share in (0.5, 0.99))
    times = f"{p50:.3f} | {p99:.3f} | {found[-1]:.2f}"
    none = ", ".join(f"{why}: {count}" for why, count in missed.items())
    return f"| {name} | {healed - at:.0f} | {len(found)} | {times} | {none} | {time.monotonic() - healed:.0f} |"


async def _empty_spool(world: World) -> None:
    """Everything that went to the disk must leave it."""
    begun = time.monotonic()
    while waiting := await asyncio.to_thread(lambda: list((world.plan.folder / "spool").rglob("*.db"))):
        if time.monotonic() - begun > SETTLE_SECONDS:
            world.ledger.wrong.append(f"the spool is not empty: {len(waiting)} file(s)")
            return
        await asyncio.sleep(0.5)


async def _block(world: World) -> None:
    await world.broker.nodes[0].control("set_vm_memory_high_watermark", ALARM)


async def _unblock(world: World) -> None:
    await world.broker.nodes[0].control("set_vm_memory_high_watermark", NO_ALARM)


async def _freeze(world: World) -> None:
    world.broker.nodes[0].freeze()


async def _thaw(world: World) -> None:
    world.broker.nodes[0].thaw()


_WAYS: Mapping[str, tuple[Do, Do]] = {
    "stopped": (lambda world: world.broker.nodes[0].stop(), lambda world: world.broker.nodes[0].start()),
    "frozen": (_freeze, _thaw),
    "blocked by an alarm": (_block, _unblock),
}
