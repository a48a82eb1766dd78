"""The faults: each strikes, lasts, and is healed by itself; what it did it returns in a few words.

No two faults of one family at a time: they would heal each other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.chaos import hands
from tests.chaos.daemons import Daemon
from tests.chaos.world import World

Strike = Callable[[World, Random], Awaitable[str]]
ALARM, NO_ALARM = "0.00001", "0.4"  # vm_memory_high_watermark


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: in reports, and for --only and --without.
        family: what it works on.
        strike: does it, and heals it.
        weight: how often in a pack of cards; what takes long is dealt less.
        nodes: at least so many of the broker.
    """

    name: str
    family: str
    strike: Strike
    weight: int = 3
    nodes: int = 1


async def _lasting(rng: Random, least: float, most: float) -> str:
    seconds = rng.uniform(least, most)
    await asyncio.sleep(seconds)
    return f"{seconds:.1f} s"


# Processes


async def _kill(kind: str, world: World, rng: Random) -> str:
    daemon = rng.choice(world.of(kind))
    await daemon.kill()
    lasted = await _lasting(rng, 0, 2)
    await daemon.start()
    return f"kill -9 of {daemon.name}, {lasted}"


async def _kill_consumers(world: World, rng: Random) -> str:
    consumers = world.of("translate") + world.of("enrich")
    await asyncio.gather(*(daemon.kill() for daemon in consumers))
    lasted = await _lasting(rng, 0, 2)
    await asyncio.gather(*(daemon.start() for daemon in consumers))
    return f"kill -9 of all {len(consumers)} consumers, {lasted}"


async def _hang(world: World, rng: Random) -> str:
    daemon: Daemon = rng.choice(world.daemons)
    daemon.freeze()
    try:
        lasted = await _lasting(rng, 1, 4)
    finally:
        daemon.thaw()
    return f"SIGSTOP of {daemon.name}, {lasted}"


async def _deploy(world: World, rng: Random) -> str:
    """One of each kind after the other: the others go on meanwhile."""
    chosen = [rng.choice(world.of(kind)) for kind in ("intake", "translate", "enrich")]
    for daemon in chosen:
        if complaint := await daemon.terminate():
            world.ledger.wrong.append(complaint)
        await daemon.start()
    return f"SIGTERM to {', '.join(daemon.name for daemon in chosen)} in turn"


# The broker


async def _node_killed(world: World, rng: Random) -> str:
    node = rng.choice(world.broker.nodes)
    await node.kill()
    lasted = await _lasting(rng, 0, 3)
    await node.start()
    return f"kill -9 of {node.name}, {lasted}"


async def _node_stopped(world: World, rng: Random) -> str:
    node = rng.choice(world.broker.nodes)
    await node.stop()
    lasted = await _lasting(rng, 0, 3)
    await node.start()
    return f"SIGTERM to {node.name}, {lasted}"


async def _node_frozen(world: World, rng: Random) -> str:
    node = rng.choice(world.broker.nodes)
    node.freeze()
    try:
        lasted = await _lasting(rng, 1, 6)
    finally:
        node.thaw()
    return f"SIGSTOP of {node.name}, {lasted}"


async def _all_killed(world: World, rng: Random) -> str:
    await asyncio.gather(*(node.kill() for node in world.broker.nodes))
    lasted = await _lasting(rng, 0, 2)
    await asyncio.gather(*(node.start() for node in world.broker.nodes))
    return f"kill -9 of all {len(world.broker.nodes)} nodes, {lasted}"


async def _node_parted(world: World, rng: Random) -> str:
    node = rng.choice(world.broker.nodes)
    others = [other for other in world.broker.nodes if other is not node]
    await node.part_from(others)
    try:
        lasted = await _lasting(rng, 3, 8)
    finally:
        await node.join_again(others)
    return f"{node.name} parted from the others, {lasted}"


async def _alarm(world: World, rng: Random) -> str:
    node = rng.choice(world.broker.nodes)
    await node.control("set_vm_memory_high_watermark", ALARM)
    try:
        lasted = await _lasting(rng, 1, 5)
    finally:
        await node.control("set_vm_memory_high_watermark", NO_ALARM)
    return f"memory alarm on {node.name}, {lasted}"


# The network between daemons and broker


async def _cut(world: World, _: Random) -> str:
    for proxy in world.broker.proxies:
        proxy.cut()
    return "every connection reset"


async def _frozen(world: World, rng: Random, *, answers_only: bool) -> str:
    """Too short for heartbeats to notice, or long enough."""
    proxy = rng.choice(world.broker.proxies)
    proxy.freeze(answers_only=answers_only)
    try:
        lasted = await (_lasting(rng, 1, 5) if rng.random() < 0.8 else _lasting(rng, 13, 15))
    finally:
        proxy.thaw()
    return f"{'answers' if answers_only else 'everything'} held back, {lasted}"


async def _half_open(world: World, rng: Random) -> str:
    """A partition as firewalls make it: what was held back is gone with its connections."""
    proxy = rng.choice(world.broker.proxies)
    proxy.freeze()
    try:
        lasted = await _lasting(rng, 1, 5)
    finally:
        proxy.cut()
        proxy.thaw()
    return f"held back and then reset, {lasted}"


async def _refused(world: World, rng: Random) -> str:
    for proxy in world.broker.proxies:
        proxy.refusing = True
        proxy.cut()
    try:
        lasted = await _lasting(rng, 1, 5)
    finally:
        for proxy in world.broker.proxies:
            proxy.refusing = False
    return f"no way to any node, {lasted}"


# The API


async def _api(mode: str, world: World, rng: Random) -> str:
    await world.api.become(mode)
    try:
        lasted = await _lasting(rng, 1, 5)
    finally:
        await world.api.become("ok")
    return f"API {mode}, {lasted}"


# Zenoti, and strangers


async def _repeated(world: World, rng: Random) -> str:
    count = rng.randrange(20, 100)
    world.load.repeat(count)
    return f"{count} webhooks once more, in another order"


async def _malformed(world: World, _: Random) -> str:
    for _number in range(3):
        world.load.send(world.load.maker.malformed())
    return "3 bodies that are no JSON"


async def _unreadable(world: World, _: Random) -> str:
    await hands.put_poison(world.broker.urls)
    world.ledger.frame_poison()
    return "a message that the client library cannot read"


FAULTS = (
    Fault("kill intake", "process", partial(_kill, "intake")),
    Fault("kill translate", "process", partial(_kill, "translate")),
    Fault("kill enrich", "process", partial(_kill, "enrich")),
    Fault("kill consumers", "process", _kill_consumers, weight=2),
    Fault("hang process", "process", _hang),
    Fault("deploy", "process", _deploy, weight=2),
    Fault("kill node", "broker", _node_killed, weight=2),
    Fault("stop node", "broker", _node_stopped, weight=2),
    Fault("freeze node", "broker", _node_frozen, weight=2),
    Fault("kill cluster", "broker", _all_killed, weight=1, nodes=2),
    Fault("part node", "broker", _node_parted, weight=2, nodes=3),
    Fault("memory alarm", "broker", _alarm, weight=2),
    Fault("cut connections", "network", _cut),
    Fault("freeze connections", "network", partial(_frozen, answers_only=False), weight=2),
    Fault("freeze answers", "network", partial(_frozen, answers_only=True), weight=2),
    Fault("half-open", "network", _half_open),
    Fault("refuse connections", "network", _refused),
    *(
        Fault(f"API {mode}", "API", partial(_api, mode), weight=2)
        for mode in ("down", "slow", "hang", "half", "garbage", "500", "429", "401")
    ),
    Fault("duplicates", "webhooks", _repeated),
    Fault("malformed body", "webhooks", _malformed, weight=2),
    Fault("unreadable message", "webhooks", _unreadable, weight=1),
)
