"""One receiver that takes no events, on a real broker: the others get theirs, its own wait and arrive in order."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiormq.abc import ArgumentsType

from tests.conftest import Hand
from tests.eventually import eventually
from tests.way import STOP_SECONDS
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import PublishUnconfirmed
from zenoti_ingest.core.topology.declared import Downstream, Topology, whole_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.consuming import consume
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.waiting import WaitQueue

LIMIT = 3
FULL: ArgumentsType = {"x-queue-type": "quorum", "x-max-length": LIMIT, "x-overflow": "reject-publish"}
WITHIN = 20.0


class World:
    """Three receivers: `a` and `c` take all, `b` has a queue of its own that is full at three."""

    def __init__(self, hand: Hand, link: Link, names: Names, topology: Topology) -> None:
        self.hand, self.link, self.names, self.topology = hand, link, names, topology
        self.queues = {name: f"{names.prefix}.{'theirs' if name == 'b' else f'out.{name}'}" for name in "abc"}

    def fan_out(self) -> FanOut:
        """What one process knows of the receivers."""
        return FanOut(self.link, names=self.names, patterns=dict.fromkeys("abc", ("*.#",)), clock=HOST.clock)

    def message(self, number: int) -> Outgoing:
        """One event."""
        return Outgoing(
            exchange=self.names.events,
            routing_key="main.guest.created",
            body=b"%d" % number,
            message_id=f"e-{number:04}",
            headers={"ce-id": f"e-{number:04}"},
            content_type="application/cloudevents+json",
        )

    async def publish(self, fan_out: FanOut, numbers: Sequence[int], *, at_once: int = 50) -> None:
        """Publish events as a stage does, so many at a time; an attempt that is not confirmed is repeated."""
        gate = asyncio.Semaphore(at_once)

        async def publish_one(number: int) -> None:
            publication = fan_out.publication(self.message(number))
            async with gate, asyncio.timeout(WITHIN):
                while True:
                    try:
                        return await publication.attempt()
                    except PublishUnconfirmed:
                        continue

        await asyncio.gather(*map(publish_one, numbers))

    @asynccontextmanager
    async def waiting(self, *, fan_outs: Sequence[FanOut] = ()) -> AsyncIterator[None]:
        """The wait queue of `b` is read by two processes, and looked at for these fan-outs."""
        stop = asyncio.Event()
        stages = [WaitQueue(self.link, names=self.names, receiver="b") for _ in range(2)]
        tasks = [
            asyncio.create_task(consume(s, link=self.link, publisher=self.link, stop=stop, clock=HOST.clock))
            for s in stages
        ]
        watches = [asyncio.create_task(fan_out.watch(self.link.ready)) for fan_out in fan_outs]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            stop.set()
            await asyncio.wait_for(asyncio.gather(*tasks), STOP_SECONDS)

    async def came(self, name: str) -> list[str]:
        """The ids in a receiver's queue, taken out."""
        found = await self.hand.drain(self.queues[name])
        assert not [key for message in found for key in message.header.properties.headers or {} if key == "x-death"]
        return [message.header.properties.message_id or "" for message in found]

    async def read_all(self, name: str, count: int) -> list[str]:
        """What a slow receiver reads until it has had so many different events."""
        found: list[str] = []

        async def enough() -> bool:
            found.extend(await self.came(name))
            return len(set(found)) >= count

        await eventually(enough, within=WITHIN)
        return found


@pytest.fixture
async def world(hand: Hand, link: Link, prefix: str) -> AsyncIterator[World]:
    """The receivers' queues, with all that the fan-out needs."""
    names = Names(prefix)
    receivers = [Downstream(name=name, queue=f"{prefix}.out.{name}") for name in "ac"]
    receivers.append(Downstream(name="b", queue=f"{prefix}.theirs", declare=False))
    await (await hand.channel()).queue_declare(f"{prefix}.theirs", durable=True, arguments=FULL)
    topology = whole_topology(names, sources=("main",), downstreams=receivers, delays_seconds=(1,), archive=None)
    await broker_topology.declare(hand.connection, topology)
    yield World(hand, link, names, topology)
    await broker_topology.delete(hand.connection, topology)


def ids(numbers: Sequence[int]) -> list[str]:
    """Their message ids."""
    return [f"e-{number:04}" for number in numbers]


async def test_all_take(world: World) -> None:
    """While every receiver takes events, each gets one copy, in order, and nothing waits."""
    await world.publish(world.fan_out(), range(LIMIT))
    assert [await world.came(name) for name in "abc"] == [ids(range(LIMIT))] * 3
    assert await world.hand.ready(world.names.waiting("b")) == 0


async def test_one_full_receiver(world: World) -> None:
    """The others have every event before the full one reads, at most twice; its own wait, and arrive in order."""
    fan_out = world.fan_out()
    await world.publish(fan_out, range(200))
    for name in "ac":
        copies = Counter(await world.came(name))
        assert sorted(copies) == ids(range(200))
        assert max(copies.values()) <= 2
        assert copies.total() <= 200 + 50  # what was in flight as the refusal began
    assert fan_out.receivers.refusals.keys() == {"b"}
    had = await world.came("b")  # the broker lets in what is under way as the limit is reached
    assert await world.hand.ready(world.names.waiting("b")) == 200 - len(had)
    assert len(had) <= LIMIT + 50
    async with world.waiting():
        read = await world.read_all("b", 200 - len(had))
    assert sorted(set(had + read)) == ids(range(200))
    assert read == sorted(read)


async def test_events_after_the_refusal_began_come_once(world: World) -> None:
    """What is published once a receiver is known to refuse reaches the others exactly once."""
    fan_out = world.fan_out()
    await world.publish(fan_out, range(20), at_once=1)
    assert fan_out.receivers.refusals
    await world.came("a")
    await world.publish(fan_out, range(100, 200))
    assert await world.came("a") == ids(range(100, 200))


async def test_it_takes_events_again(world: World) -> None:
    """Once the wait queue is empty an event asks; from then on one publish reaches all, and nothing waits."""
    fan_out = world.fan_out()
    await world.publish(fan_out, range(20), at_once=1)
    assert fan_out.receivers.refusals.keys() == {"b"}
    async with world.waiting(fan_outs=[fan_out]):
        read = await world.read_all("b", 20)
        await eventually(lambda: not fan_out.receivers.refusals["b"].has_waiting, within=WITHIN)
        await world.publish(fan_out, [20], at_once=1)
        assert not fan_out.receivers.refusals
        read += await world.read_all("b", 1)
    assert sorted(set(read)) == ids(range(21))


async def test_a_queue_that_is_gone(world: World) -> None:
    """With the receiver's queue deleted its events wait; once it is there again they arrive, and all others did."""
    fan_out = world.fan_out()
    await (await world.hand.channel()).queue_delete(world.queues["b"])
    await world.publish(fan_out, range(10))
    assert await world.came("a") == ids(range(10))
    assert await world.hand.ready(world.names.waiting("b")) == 10
    await (await world.hand.channel()).queue_declare(world.queues["b"], durable=True, arguments=FULL)
    await broker_topology.declare(world.hand.connection, world.topology)
    async with world.waiting():
        assert await world.read_all("b", 10) == ids(range(10))


async def test_a_queue_that_is_gone_while_it_refuses(world: World) -> None:
    """A refusing receiver whose queue is deleted loses no event that is published meanwhile."""
    fan_out = world.fan_out()
    await world.publish(fan_out, range(10), at_once=1)
    had = await world.came("b")
    await (await world.hand.channel()).queue_delete(world.queues["b"])
    await world.publish(fan_out, range(10, 20), at_once=1)
    await (await world.hand.channel()).queue_declare(world.queues["b"], durable=True, arguments=FULL)
    await broker_topology.declare(world.hand.connection, world.topology)
    async with world.waiting():
        assert sorted(set(had + await world.read_all("b", 20 - len(had)))) == ids(range(20))


async def test_somebody_elses_queue_refuses(world: World, prefix: str) -> None:
    """A queue that is no receiver's and refuses holds up nothing; ours have each event, and soon no second copy."""
    fan_out, channel = world.fan_out(), await world.hand.channel()
    await channel.queue_declare(f"{prefix}.strange", durable=True, arguments={**FULL, "x-max-length": 0})
    await channel.queue_bind(f"{prefix}.strange", world.names.events, "#")
    try:
        await world.publish(fan_out, range(LIMIT), at_once=1)
        copies = Counter(await world.came("a"))
        assert sorted(copies) == ids(range(LIMIT))
        assert not fan_out.receivers.refusals
        await world.publish(fan_out, range(10, 20), at_once=1)
        assert await world.came("a") == ids(range(10, 20))  # each receiver alone: no further copies
    finally:
        await channel.queue_delete(f"{prefix}.strange")


async def test_for_one_receiver_alone(world: World) -> None:
    """A publication for one receiver reaches no other."""
    await world.fan_out().publication(world.message(1), only="a").attempt()
    assert [await world.came(name) for name in "abc"] == [ids([1]), [], []]


async def test_the_direct_binding_of_an_earlier_release(world: World) -> None:
    """Beside the new way it makes no second copy, and the next declaration removes it."""
    channel: Any = await world.hand.channel()
    await channel.queue_bind(world.queues["a"], world.names.events, "*.#")
    await world.publish(world.fan_out(), [1])
    assert await world.came("a") == ids([1])
    await broker_topology.declare(world.hand.connection, world.topology)
    await channel.exchange_unbind(world.names.receiver("a"), world.names.events, "*.#")
    await world.publish(world.fan_out(), [2])
    assert await world.came("a") == []
