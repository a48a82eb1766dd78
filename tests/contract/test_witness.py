"""Witnesses of queues, on a real RabbitMQ and a simulated one."""

import asyncio
from contextlib import AsyncExitStack

import aiormq.exceptions
import pytest

from tests.conftest import Hand
from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from tests.simulation.hand import SimulatedHand
from zenoti_ingest.adapters.broker.deletion_witness import Witnesses


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
async def queue(hand: Hand, prefix: str) -> str:
    """A queue that goes with the connection."""
    await (await hand.channel()).queue_declare(prefix, exclusive=True)
    return prefix


async def made_anew(hand: Hand, queue: str) -> None:
    """Delete it, and declare another of its name."""
    await (await hand.channel()).queue_delete(queue)
    await (await hand.channel()).queue_declare(queue, exclusive=True)


async def test_a_queue_made_anew_is_reported_to_each_owner(hand: Hand, queue: str) -> None:
    """The first to look does not hide it from the second; once set up again it is reported no more."""
    first, other = Witnesses([queue], owner=lambda: "one"), Witnesses([queue], owner=lambda: "other")
    async with AsyncExitStack() as ended:
        for witnesses in (first, other):
            await witnesses.set_up(hand.connection)
            ended.push_async_callback(witnesses.remove, hand.connection)
        assert await first.deleted(hand.connection) == []
        await made_anew(hand, queue)
        assert await first.deleted(hand.connection) == [queue]
        await first.set_up(hand.connection)
        assert await first.deleted(hand.connection) == []
        assert await other.deleted(hand.connection) == [queue]


async def test_what_we_remove_ourselves_is_no_deletion(hand: Hand, queue: str) -> None:
    """Neither for a check under way, nor for a later check."""
    queues = [queue, f"{queue}.second", f"{queue}.third"]  # a look asks for one after the other: it comes too late
    for name in queues[1:]:
        await (await hand.channel()).queue_declare(name, exclusive=True)
    witnesses = Witnesses(queues, owner=lambda: "one")
    await witnesses.set_up(hand.connection)
    found, _ = await asyncio.gather(witnesses.deleted(hand.connection), witnesses.remove(hand.connection))
    assert found == []
    assert await witnesses.deleted(hand.connection) == []


async def test_setting_up_returns_what_was_deleted(hand: Hand, queue: str) -> None:
    """A deletion after the last check is not hidden by the new witness, and is reported once."""
    witnesses = Witnesses([queue], owner=lambda: "one")
    assert await witnesses.set_up(hand.connection) == []
    assert await witnesses.set_up(hand.connection) == []
    await made_anew(hand, queue)
    assert await witnesses.set_up(hand.connection) == [queue]
    assert await witnesses.set_up(hand.connection) == []
    await witnesses.remove(hand.connection)


@pytest.mark.parametrize("which", [0, 1])
async def test_a_set_up_that_fails_hides_no_deletion(hand: Hand, queue: str, which: int) -> None:
    """A queue is away as its witness is to be bound, and back by the next look: it has been deleted."""
    queues = [queue, f"{queue}.second"]
    await (await hand.channel()).queue_declare(queues[1], exclusive=True)
    witnesses = Witnesses(queues, owner=lambda: "one")
    await witnesses.set_up(hand.connection)
    await (await hand.channel()).queue_delete(queues[which])
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
        await witnesses.set_up(hand.connection)
    await (await hand.channel()).queue_declare(queues[which], exclusive=True)
    assert await witnesses.deleted(hand.connection) == [queues[which]]
    assert await witnesses.set_up(hand.connection) == [queues[which]]
    assert await witnesses.deleted(hand.connection) == []
    await witnesses.remove(hand.connection)
