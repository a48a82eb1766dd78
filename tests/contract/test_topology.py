"""The declared topology against a broker's, real and simulated: compare, declare, verify, delete."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.conftest import Hand, topology_of
from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from tests.simulation.hand import SimulatedHand
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.broker.topology import Declared
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.invoices import baton
from zenoti_ingest.core.topology.declared import Binding, Exchange, Queue, Topology
from zenoti_ingest.core.topology.differences import Difference
from zenoti_ingest.core.topology.names import Names

QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
async def simulated_hand() -> Hand:
    """On the broker of the simulated world."""
    return SimulatedHand(SimulatedLink(SimulatedBroker(seeded(1))))


@pytest.fixture(params=["simulated", "real"])
def hand(request: pytest.FixtureRequest) -> Hand:
    """On each of them."""
    found: Hand = request.getfixturevalue(f"{request.param}_hand")
    return found


@pytest.fixture
async def small(hand: Hand, prefix: str) -> AsyncIterator[Topology]:
    """An exchange, two queues and their bindings, none of them declared; deleted after the test."""
    topology = Topology(
        (Exchange(f"{prefix}.x", "topic"),),
        (Queue(f"{prefix}.a", QUORUM), Queue(f"{prefix}.b", QUORUM)),
        (Binding(f"{prefix}.x", f"{prefix}.a", "a.#"), Binding(f"{prefix}.x", f"{prefix}.b", "b.#")),
    )
    yield topology
    await broker_topology.delete(hand.connection, topology)


async def made(hand: Hand, topology: Topology) -> None:
    """Declare it without the product: no wait for new queues to be safe, and no bindings."""
    channel = await hand.channel()
    for exchange in topology.exchanges:
        await channel.exchange_declare(exchange.name, exchange_type=exchange.kind, durable=True)
    for queue in topology.queues:
        await channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))


async def test_declare_returns_how_many_queues_are_new(hand: Hand, small: Topology) -> None:
    """Each new queue is counted once, whether all are new or only some."""
    first, second = small.queues
    of_one = Topology(small.exchanges, (first,), small.bindings[:1])
    assert await broker_topology.declare(hand.connection, of_one) == Declared(1)
    assert await broker_topology.declare(hand.connection, small) == Declared(1)
    assert await broker_topology.declare(hand.connection, small) == Declared(0)
    assert await hand.ready(second.name) == 0


async def test_new_lanes_begin_with_a_baton(hand: Hand, prefix: str) -> None:
    """Where the lane is new nobody can have called; where it is not, an earlier release may be calling right now."""
    names = Names(prefix)
    topology = topology_of(names)
    try:
        await broker_topology.declare(hand.connection, topology)
        assert [baton.decode(m.body) for m in await hand.drain(names.turn("main"))] == [baton.Baton()]
        await broker_topology.declare(hand.connection, topology)
        assert not await hand.ready(names.turn("main"))
        await (await hand.channel()).queue_delete(names.turn("main"))
        assert await broker_topology.declare(hand.connection, topology) == Declared(1)
        assert not await hand.ready(names.turn("main"))
    finally:
        await broker_topology.delete(hand.connection, topology)


async def test_declare_binds_what_lost_its_binding(hand: Hand, small: Topology) -> None:
    """A binding that somebody removed is back after the next declare, though the queue was never away."""
    [exchange], [queue, _] = small.exchanges, small.queues
    await broker_topology.declare(hand.connection, small)
    await (await hand.channel()).queue_unbind(queue.name, exchange.name, "a.#")
    await broker_topology.declare(hand.connection, small)
    await hand.put(Outgoing(exchange=exchange.name, routing_key="a.b", body=b"x", message_id="1", headers={}))
    assert await hand.ready(queue.name) == 1


async def test_compare_returns_what_is_missing_and_makes_nothing(hand: Hand, small: Topology) -> None:
    """Each missing exchange and queue is named, and still missing afterwards; so it is when asked passively."""
    missing = [Difference("exchange", small.exchanges[0].name, "missing", "")] + [
        Difference("queue", queue.name, "missing", "") for queue in small.queues
    ]
    assert await broker_topology.compare(hand.connection, small) == missing
    assert await broker_topology.compare(hand.connection, small, passive=True) == missing
    assert await hand.ready(small.queues[0].name) == -1


async def test_compare_returns_what_is_different(hand: Hand, small: Topology) -> None:
    """A queue with other arguments and an exchange of another kind are named, with the broker's words for it."""
    await made(hand, small)
    other = Topology(
        (Exchange(small.exchanges[0].name, "direct"),),
        (Queue(small.queues[0].name, {**QUORUM, "x-max-length": 5}), small.queues[1]),
        (),
    )
    found = await broker_topology.compare(hand.connection, other)
    assert [(d.kind, d.name, d.state) for d in found] == [
        ("exchange", small.exchanges[0].name, "different"),
        ("queue", small.queues[0].name, "different"),
    ]
    assert "type" in found[0].detail
    assert "x-max-length" in found[1].detail
    assert await broker_topology.compare(hand.connection, other, passive=True) == []


async def test_declare_refuses_a_queue_with_other_arguments(hand: Hand, small: Topology) -> None:
    """A queue that is there with other arguments stops declare before it makes anything, and is named."""
    first, second = small.queues
    await (await hand.channel()).queue_declare(first.name, durable=True, arguments={**QUORUM, "x-delivery-limit": 3})
    with pytest.raises(TopologyMismatch, match=first.name) as caught:
        await broker_topology.declare(hand.connection, small)
    assert "x-delivery-limit" in str(caught.value)
    assert await hand.ready(second.name) == -1


async def test_verify(hand: Hand, small: Topology) -> None:
    """Verify names what is missing and how much more, makes nothing, and is content once all is there."""
    with pytest.raises(TopologyMismatch, match=rf"{small.exchanges[0].name} is missing \(and 2 more\)"):
        await broker_topology.verify(hand.connection, small)
    assert await hand.ready(small.queues[0].name) == -1
    await made(hand, small)
    await broker_topology.verify(hand.connection, small)


async def test_a_queue_of_the_downstreams_own(hand: Hand, small: Topology) -> None:
    """With `declare = false` a missing queue is not made but named; an existing queue is bound as it is."""
    theirs, ours = msgspec.structs.replace(small.queues[0], ours=False, receiver="theirs"), small.queues[1]
    topology = msgspec.structs.replace(small, queues=(theirs, ours))
    assert await broker_topology.declare(hand.connection, topology) == Declared(1, absent=(theirs.name,))
    assert await hand.ready(theirs.name) == -1
    await (await hand.channel()).queue_declare(theirs.name, durable=True, arguments={**QUORUM, "x-max-length": 7})
    assert await broker_topology.declare(hand.connection, topology) == Declared(0)
    await hand.put(Outgoing(exchange=small.exchanges[0].name, routing_key="a", body=b"x", message_id="1", headers={}))
    assert await hand.ready(theirs.name) == 1


async def test_depths(hand: Hand, small: Topology, prefix: str) -> None:
    """Depths returns the messages of each queue, and None for a missing queue, without losing the others."""
    await made(hand, small)
    first, second = (queue.name for queue in small.queues)
    await hand.put(Outgoing(exchange="", routing_key=second, body=b"x", message_id="1", headers={}))
    found = await broker_topology.depths(hand.connection, [first, f"{prefix}.not-there", second])
    assert found == {first: (0, 0), f"{prefix}.not-there": None, second: (1, 0)}


async def test_delete(hand: Hand, small: Topology) -> None:
    """After delete all of it is missing; to delete what is missing is no error."""
    await made(hand, small)
    await broker_topology.delete(hand.connection, small)
    assert len(await broker_topology.compare(hand.connection, small, passive=True)) == 3
    await broker_topology.delete(hand.connection, small)
