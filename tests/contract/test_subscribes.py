"""Consuming: one contract for the fake of the tests and for a subscription on the real broker."""

import sys
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.conftest import Hand
from tests.eventually import eventually
from tests.fakes import FakeLink
from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.stages.ports import Subscribes, Subscription

COUNT = 5
SIZE = len(b"body 0")


class Port(msgspec.Struct):
    """A connection, and a queue in which COUNT messages wait."""

    link: Subscribes
    queue: str

    def subscribe(
        self, on_delivery: Callable[[Delivery], Awaitable[None]], *, max_bytes: int = sys.maxsize
    ) -> Subscription:
        """A subscription that takes all that waits, within a bound of bytes."""
        return self.link.subscribe(self.queue, prefetch=COUNT, on_delivery=on_delivery, max_bytes=max_bytes)


def message(number: int, *, queue: str) -> Outgoing:
    """One of those that wait."""
    return Outgoing(
        exchange="",
        routing_key=queue,
        body=b"body %d" % number,
        message_id=f"id-{number}",
        headers={"number": number},
        content_type="application/json",
        content_encoding="gzip",
    )


@pytest.fixture
def fake_port() -> Port:
    """The fake of the tests."""
    return Port(FakeLink(*(message(number, queue="queue") for number in range(COUNT))), "queue")


@pytest.fixture
async def real_port(link: Link, hand: Hand, own_queue: str) -> Port:
    """The broker."""
    for number in range(COUNT):
        await hand.put(message(number, queue=own_queue))
    return Port(link, own_queue)


@pytest.fixture
async def simulated_port() -> Port:
    """The broker of the simulated world."""
    broker = SimulatedBroker(seeded(1))
    broker.declare_queue("queue", {"x-queue-type": "quorum"})
    for number in range(COUNT):
        broker.route(message(number, queue="queue"))
    return Port(SimulatedLink(broker), "queue")


@pytest.fixture(params=["fake", "simulated", "real"])
def port(request: pytest.FixtureRequest) -> Port:
    """Each of them."""
    found: Port = request.getfixturevalue(f"{request.param}_port")
    return found


class Taker:
    """Takes deliveries, and acks those whose number is among the given."""

    def __init__(self, *acks: int) -> None:
        self._acks = acks
        self.taken: list[Delivery] = []

    @property
    def numbers(self) -> list[int]:
        """Which came, in order."""
        return [delivery.headers["number"] for delivery in self.taken]

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take a delivery."""
        self.taken.append(delivery)
        if delivery.headers["number"] in self._acks:
            assert delivery.ack()


async def test_what_waits_is_delivered_in_order_as_it_was_published(port: Port) -> None:
    """Everything that waits comes, in order, with body, headers and properties."""
    taker = Taker()
    async with port.subscribe(taker.on_delivery):
        await eventually(lambda: len(taker.taken) == COUNT)
    assert taker.numbers == list(range(COUNT))
    for number, delivery in enumerate(taker.taken):
        wanted = message(number, queue=port.queue)
        assert (delivery.body, delivery.message_id) == (wanted.body, wanted.message_id)
        assert (delivery.content_type, delivery.content_encoding) == ("application/json", "gzip")


async def test_what_is_not_acked_comes_again_and_what_is_does_not(port: Port) -> None:
    """Leaving hands back, in order, what was not acked."""
    first = Taker(0, 2)
    async with port.subscribe(first.on_delivery) as subscription:
        await eventually(lambda: len(first.taken) == COUNT)
        await subscription.handled()
    second = Taker(*range(COUNT))
    async with port.subscribe(second.on_delivery) as subscription:
        await eventually(lambda: len(second.taken) == COUNT - 2)
        await subscription.handled()
    assert second.numbers == [1, 3, 4]


async def test_an_ack_after_leaving_says_so(port: Port) -> None:
    """A delivery whose subscription is over cannot be acked, and the ack says so instead of raising."""
    taker = Taker()
    async with port.subscribe(taker.on_delivery):
        await eventually(lambda: len(taker.taken) == COUNT)
    assert not taker.taken[0].ack()


async def test_failing_ends_it_with_its_reason(port: Port) -> None:
    """`fail` sets `ended`, and the first reason counts."""
    taker = Taker()
    async with port.subscribe(taker.on_delivery) as subscription:
        assert not subscription.ended.is_set()
        subscription.fail("the first")
        subscription.fail("the second")
        assert subscription.ended.is_set()
        assert subscription.detail == "the first"


@pytest.mark.parametrize(("max_bytes", "kept"), [(SIZE, 1), (3 * SIZE - 1, 2), (3 * SIZE, 3), (1, 1)])
async def test_what_passes_the_bound_of_bytes_is_not_kept(port: Port, max_bytes: int, kept: int) -> None:
    """It ends, in order; only what is in hand can be settled, the rest comes again. A single body is kept."""
    first = Taker()
    async with port.subscribe(first.on_delivery, max_bytes=max_bytes) as subscription:
        await subscription.ended.wait()
        await subscription.handled()
        assert all(delivery.ack() for delivery in first.taken)
        assert (subscription.passed_at, subscription.orderly) == (kept, True)
    assert first.numbers == list(range(kept))
    second = Taker(*range(COUNT))
    async with port.subscribe(second.on_delivery) as subscription:
        await eventually(lambda: len(second.taken) == COUNT - kept)
        await subscription.handled()
    assert second.numbers == list(range(kept, COUNT))


async def test_what_is_in_hand_is_counted(port: Port) -> None:
    """Bytes come with a delivery; that as many are in hand as may be is said."""
    taker = Taker()
    async with port.subscribe(taker.on_delivery, max_bytes=COUNT * SIZE) as subscription:
        await subscription.filled.wait()
        await eventually(lambda: len(taker.taken) == COUNT)
        assert (subscription.bytes_in_hand, len(subscription.in_hand)) == (COUNT * SIZE, COUNT)
        assert (subscription.passed_at, subscription.ended.is_set()) == (0, False)


async def test_a_rejected_delivery_does_not_come_again(port: Port) -> None:
    """The broker has it then, not the next subscription."""
    taker = Taker(*range(1, COUNT))
    async with port.subscribe(taker.on_delivery) as subscription:
        await eventually(lambda: len(taker.taken) == COUNT)
        subscription.reject(taker.taken[0].tag)
        await subscription.acks_arrived()
    assert await port.link.ready(port.queue) == 0


async def test_what_nobody_holds_is_ready(port: Port) -> None:
    """Messages are ready before a subscription has them and after it is left, and not meanwhile."""

    async def are_ready(count: int) -> bool:
        return await port.link.ready(port.queue) == count

    await port.link.wait_ready()
    await eventually(lambda: are_ready(COUNT))
    taker = Taker()
    async with port.subscribe(taker.on_delivery) as subscription:
        await eventually(lambda: len(taker.taken) == COUNT)
        assert await are_ready(0)
        assert (subscription.delivered, len(subscription.unsettled)) == (COUNT, COUNT)
        assert subscription.held_seconds() >= 0
        taker.taken[0].ack()
        assert list(subscription.unsettled) == [delivery.tag for delivery in taker.taken[1:]]
        await subscription.acks_arrived()
    await eventually(lambda: are_ready(COUNT - 1))


async def test_a_subscription_that_was_left_answers_no_question(port: Port) -> None:
    """After its end nobody knows whether the last acks have arrived."""
    async with port.subscribe(Taker().on_delivery) as subscription:
        pass
    with pytest.raises(BrokerUnavailable):
        await subscription.acks_arrived()
