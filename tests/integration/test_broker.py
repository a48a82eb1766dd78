"""Link and BrokerSubscription on a real RabbitMQ, through a proxy where the connection must suffer."""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from aio_pika.abc import AbstractConnection
from aiohttp.test_utils import unused_port

from tests.conftest import Hand, OpenLink
from tests.eventually import eventually, next_turn
from tests.proxy import Proxy
from zenoti_ingest.adapters.broker import BrokerSubscription, Link, library
from zenoti_ingest.adapters.broker import link as link_module
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable, ConfirmTimedOut, PublishUnconfirmed, TopologyMismatch

WITHIN = 5.0
BACK_SECONDS = 10.0
# AMQP 0-9-1 method frames on channel 0: connection.blocked with the reason "disk", connection.unblocked.
BLOCKED = b"\x01\x00\x00" + (9).to_bytes(4, "big") + b"\x00\x0a\x00\x3c\x04disk\xce"
UNBLOCKED = b"\x01\x00\x00" + (4).to_bytes(4, "big") + b"\x00\x0a\x00\x3d\xce"


class Inbox:
    """What a subscription delivered."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    async def take(self, delivery: Delivery) -> None:
        """Keep it, unsettled."""
        self.deliveries.append(delivery)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies, as they came."""
        return [d.body for d in self.deliveries]

    async def holds(self, count: int, *, within: float = WITHIN) -> list[bytes]:
        """The bodies, once there are so many."""
        await eventually(lambda: len(self.deliveries) >= count, within=within)
        return self.bodies


def message(queue: str, number: int = 0, **fields: Any) -> Outgoing:
    """A message straight to a queue."""
    plain = Outgoing(exchange="", routing_key=queue, body=b"%d" % number, message_id=f"id-{number}", headers={})
    return msgspec.structs.replace(plain, **fields)


async def fill(hand: Hand, queue: str, count: int) -> list[bytes]:
    """So many messages; their bodies in order."""
    for number in range(count):
        await hand.put(message(queue, number))
    return [b"%d" % number for number in range(count)]


def subscription(link: Link, queue: str, inbox: Inbox, *, prefetch: int = 100, **more: Any) -> BrokerSubscription:
    """A subscription into the inbox."""
    return link.subscribe(queue, prefetch=prefetch, on_delivery=inbox.take, **more)


async def test_a_delivery_is_what_was_published(link: Link, own_queue: str) -> None:
    """Body, headers, id and content fields are delivered as they were published."""
    sent = message(
        own_queue, body=b"\x00\xff", headers={"a": "ü", "n": 3}, content_type="text/x", content_encoding="gzip"
    )
    await link.publish(sent, within=WITHIN)
    inbox = Inbox()
    async with subscription(link, own_queue, inbox):
        await inbox.holds(1)
    [got] = inbox.deliveries
    headers: Mapping[str, Any] = {k: v for k, v in got.headers.items() if not k.startswith("x-")}
    assert (got.body, headers, got.message_id) == (sent.body, sent.headers, sent.message_id)
    assert (got.content_type, got.content_encoding) == (sent.content_type, sent.content_encoding)


async def test_closing_hands_back_in_order(link: Link, hand: Hand, own_queue: str) -> None:
    """What was not settled comes again, in the order of before, and what was acked does not."""
    bodies = await fill(hand, own_queue, 20)
    first, second = Inbox(), Inbox()
    async with subscription(link, own_queue, first):
        assert await first.holds(20) == bodies
        for delivery in first.deliveries[::2]:
            assert delivery.ack()
    async with subscription(link, own_queue, second):
        await hand.put(message(own_queue, 99))
        assert await second.holds(11) == [*bodies[1::2], b"99"]


@pytest.mark.parametrize("seed", range(5))
async def test_acks_settle_what_they_are_for(link: Link, hand: Hand, own_queue: str, seed: int) -> None:
    """Acks in any order, many in one turn of the event loop or few, settle their deliveries and no others."""
    chance = random.Random(seed)  # noqa: S311  # a test that is the same each time
    bodies = await fill(hand, own_queue, 100)
    first, second = Inbox(), Inbox()
    async with subscription(link, own_queue, first):
        await first.holds(100)
        acked = chance.sample(first.deliveries, chance.choice([1, 50, 90, 100]))
        for delivery in acked:
            assert delivery.ack()
            if chance.random() < 0.2:
                await next_turn()
    async with subscription(link, own_queue, second):
        await hand.put(message(own_queue, 999))
        left = [body for body in bodies if body not in {delivery.body for delivery in acked}]
        assert await second.holds(len(left) + 1) == [*left, b"999"]


async def test_what_never_reached_us_is_not_acked_with_others(
    link: Link, hand: Hand, own_queue: str, prefix: str
) -> None:
    """A message that the channel got and the subscription did not see is handed back, whatever is acked after it."""
    aside = f"{prefix}.aside"
    await (await hand.channel()).queue_declare(aside)
    await hand.put(message(aside, 1))
    inbox = Inbox()
    async with subscription(link, own_queue, inbox):
        transport = link.connection().transport
        assert transport is not None
        [*_, channel] = transport.connection.channels.values()
        assert channel is not None
        assert (await channel.basic_get(aside)).body == b"1"
        await fill(hand, own_queue, 3)
        await inbox.holds(3)
        for delivery in inbox.deliveries:
            assert delivery.ack()
    assert await eventually(lambda: hand.ready(aside)) == 1
    assert await hand.ready(own_queue) == 0
    await (await hand.channel()).queue_delete(aside)


async def test_the_prefetch_is_kept(link: Link, hand: Hand, own_queue: str) -> None:
    """No more than the prefetch is in hand; each ack brings the next."""
    await fill(hand, own_queue, 10)
    inbox = Inbox()
    async with subscription(link, own_queue, inbox, prefetch=3):
        await inbox.holds(3)
        assert await hand.ready(own_queue) == 7
        assert len(inbox.deliveries) == 3
        inbox.deliveries[0].ack()
        await inbox.holds(4)
        assert await eventually(lambda: hand.ready(own_queue), within=1) == 6
        assert len(inbox.deliveries) == 4


async def test_an_ack_after_the_close_says_so(link: Link, hand: Hand, own_queue: str) -> None:
    """A delivery whose channel is gone cannot be acked: False, and it comes again."""
    await fill(hand, own_queue, 1)
    inbox = Inbox()
    async with subscription(link, own_queue, inbox):
        await inbox.holds(1)
    assert inbox.deliveries[0].ack() is False
    assert await eventually(lambda: hand.ready(own_queue)) == 1


async def test_a_queue_deleted_under_a_consumer_ends_the_subscription(link: Link, hand: Hand, own_queue: str) -> None:
    """The deletion of its queue ends a subscription, and it says why."""
    async with subscription(link, own_queue, Inbox()) as open_one:
        await (await hand.channel()).queue_delete(own_queue)
        await eventually(open_one.ended.is_set)
    assert "cancelled" in open_one.detail


async def test_no_queue_to_subscribe_to(link: Link, prefix: str) -> None:
    """Subscribing to a queue that is not there raises BrokerUnavailable with its name."""
    with pytest.raises(BrokerUnavailable, match=prefix):
        async with subscription(link, f"{prefix}.not-there", Inbox()):
            pytest.fail("it could subscribe")


async def test_a_close_that_is_answered_late(
    open_link: OpenLink, proxy: Proxy, own_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is slow to close a channel gets no second Close, for which it would end the connection."""
    monkeypatch.setattr(library, "CLOSE_SECONDS", 0.2)
    link = await open_link(proxy.url)
    async with subscription(link, own_queue, Inbox()):
        proxy.freeze(answers_only=True)
    proxy.thaw()
    await link.publish(message(own_queue), within=WITHIN)
    assert await link.ready(own_queue) == 1
    assert proxy.connections == 1


async def test_a_defect_of_the_receiver_ends_the_subscription(link: Link, hand: Hand, own_queue: str) -> None:
    """A delivery whose receiver raises is not forgotten in our hands: the subscription ends, and it comes again."""
    await fill(hand, own_queue, 1)

    async def broken(_: Delivery) -> None:
        raise ValueError("a defect")

    async with link.subscribe(own_queue, prefetch=1, on_delivery=broken) as open_one:
        await eventually(open_one.ended.is_set)
    assert await eventually(lambda: hand.ready(own_queue)) == 1


async def test_a_lost_connection_ends_the_subscription(
    open_link: OpenLink, proxy: Proxy, hand: Hand, own_queue: str
) -> None:
    """A cut ends the subscription; after it the deliveries come again, to the connection that came back by itself."""
    bodies = await fill(hand, own_queue, 5)
    link = await open_link(proxy.url)
    first, second = Inbox(), Inbox()
    async with subscription(link, own_queue, first) as open_one:
        await first.holds(5)
        proxy.cut()
        await eventually(open_one.ended.is_set)
        assert first.deliveries[0].ack() is False
    await eventually(lambda: not link.state.ready)
    async with asyncio.timeout(BACK_SECONDS):
        await link.wait_ready()
    async with subscription(link, own_queue, second):
        assert await second.holds(5) == bodies


async def test_publishes_in_flight_when_the_connection_is_cut(
    open_link: OpenLink, proxy: Proxy, hand: Hand, own_queue: str
) -> None:
    """Each publish in flight at a cut raises PublishUnconfirmed; the link comes back and says how it stands."""
    link = await open_link(proxy.url)
    await link.publish(message(own_queue), within=WITHIN)
    assert (link.state.ready, link.state.detail) == (True, "")
    proxy.freeze(answers_only=True)
    publishing = asyncio.gather(
        *(link.publish(message(own_queue, n), within=WITHIN) for n in range(1, 4)), return_exceptions=True
    )
    await eventually(lambda: _is(hand, own_queue, 4))
    proxy.refusing = True
    proxy.cut()
    assert [type(r) for r in await publishing] == [PublishUnconfirmed] * 3
    await eventually(lambda: not link.state.ready and link.state.detail)
    proxy.refusing = False
    proxy.thaw()
    await eventually(lambda: link.state.ready, within=BACK_SECONDS)
    await link.publish(message(own_queue, 4), within=WITHIN)
    assert [m.body for m in await hand.drain(own_queue)][-1] == b"4"


async def test_a_publish_while_a_channel_is_opened(link: Link, own_queue: str) -> None:
    """Publishes that go on coming before there is a channel are all sent at once when it is there, in order."""
    begun = [asyncio.create_task(link.publish(message(own_queue, 0), within=WITHIN))]
    while not begun[0].done():
        more = range(len(begun), len(begun) + 3)
        begun += [asyncio.create_task(link.publish(message(own_queue, number), within=WITHIN)) for number in more]
        await next_turn()
    transport = link.connection().transport
    assert transport is not None
    [*_, channel] = transport.connection.channels.values()
    await next_turn()
    assert len(begun) > 3  # the first had to wait
    assert getattr(channel, "delivery_tag", None) == len(begun)  # counts what is sent
    await asyncio.gather(*begun)
    inbox = Inbox()
    async with subscription(link, own_queue, inbox, prefetch=len(begun)):
        assert await inbox.holds(len(begun)) == [b"%d" % number for number in range(len(begun))]


async def test_a_channel_that_the_broker_closes_under_publishes(
    open_link: OpenLink, proxy: Proxy, own_queue: str
) -> None:
    """Further publishes never cost the connection: nothing more is written to a channel that is being closed."""
    link = await open_link(proxy.url)
    nowhere = message(own_queue, exchange=f"{own_queue}.no-such-exchange")
    begun = list[asyncio.Task[None]]()
    for _ in range(20):
        for _ in range(50):
            begun.append(asyncio.create_task(link.publish(nowhere, within=WITHIN)))
            await next_turn()
        await asyncio.sleep(0.01)
    failed = await asyncio.gather(*begun, return_exceptions=True)
    assert {type(error) for error in failed} == {PublishUnconfirmed}
    await link.publish(message(own_queue), within=WITHIN)
    assert proxy.connections == 1


async def test_cut_while_a_publish_opens_its_channel(open_link: OpenLink, proxy: Proxy, own_queue: str) -> None:
    """A connection lost while a first publish opens its channel: PublishUnconfirmed, as at any other time."""
    link = await open_link(proxy.url)
    proxy.freeze()
    publishing = asyncio.gather(
        *(link.publish(message(own_queue, n), within=2.0) for n in range(3)), return_exceptions=True
    )
    await asyncio.wait([publishing], timeout=0.2)
    proxy.refusing = True
    proxy.cut()
    proxy.thaw()
    assert [type(r) for r in await publishing] == [PublishUnconfirmed] * 3


async def test_a_publish_waits_for_the_connection(
    open_link: OpenLink, proxy: Proxy, hand: Hand, own_queue: str
) -> None:
    """A publish begun while the connection is away goes out once it is back, within its deadline."""
    proxy.refusing = True
    link = await open_link(proxy.url, wait=False)
    await eventually(lambda: proxy.connections > 1)
    publishing = asyncio.create_task(link.publish(message(own_queue, 1), within=BACK_SECONDS))
    proxy.refusing = False
    await publishing
    assert [m.body for m in await hand.drain(own_queue)] == [b"1"]


async def test_a_black_hole(open_link: OpenLink, proxy: Proxy, own_queue: str) -> None:
    """On a connection that hangs a publish raises PublishUnconfirmed within its deadline, never a cancellation."""
    link = await open_link(proxy.url)
    await link.publish(message(own_queue), within=WITHIN)
    proxy.freeze()
    begun = time.monotonic()
    with pytest.raises(PublishUnconfirmed):
        await link.publish(message(own_queue, 1), within=0.5)
    assert time.monotonic() - begun < 1.5


async def test_a_connection_that_the_broker_blocks(open_link: OpenLink, proxy: Proxy, own_queue: str) -> None:
    """While an alarm blocks it the link is not ready and says why, nothing is written, and publishes fail in time."""
    link = await open_link(proxy.url)
    await link.publish(message(own_queue), within=WITHIN)
    proxy.answer(BLOCKED)
    await eventually(lambda: not link.state.ready)
    assert "short of memory or disk" in link.state.detail
    with pytest.raises(PublishUnconfirmed, match="short of memory or disk"):
        await link.publish(message(own_queue, 1), within=0.2)
    publishing = asyncio.create_task(link.publish(message(own_queue, 2), within=BACK_SECONDS))
    proxy.answer(UNBLOCKED)
    await publishing
    assert link.state.ready


async def test_a_blocked_connection_that_dies(open_link: OpenLink, proxy: Proxy, own_queue: str) -> None:
    """A connection lost while it is blocked is made anew."""
    link = await open_link(proxy.url)
    proxy.answer(BLOCKED)
    await eventually(lambda: not link.state.ready)
    proxy.cut()
    await link.publish(message(own_queue), within=BACK_SECONDS)


async def test_publishes_that_nobody_waits_for_any_more(
    open_link: OpenLink, proxy: Proxy, own_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many without a confirm the channel is changed, so the library's book of them does not grow."""
    monkeypatch.setattr(link_module, "MAX_UNCONFIRMED", 20)
    link = await open_link(proxy.url)
    await link.publish(message(own_queue), within=WITHIN)
    transport = link.connection().transport
    assert transport is not None
    old = {number for number, channel in transport.connection.channels.items() if channel is not None}
    proxy.freeze(answers_only=True)
    attempts = [link.publish(message(own_queue, n), within=0.3) for n in range(20)]
    failed = await asyncio.gather(*attempts, return_exceptions=True)
    assert {type(error) for error in failed} == {ConfirmTimedOut}
    proxy.thaw()
    await link.publish(message(own_queue, 99), within=BACK_SECONDS)
    await eventually(lambda: old.isdisjoint(transport.connection.channels))


async def test_the_death_of_a_hanging_connection(open_link: OpenLink, proxy: Proxy, hand: Hand, own_queue: str) -> None:
    """When heartbeats find a connection hanging, what waits on it ends with errors of ours, and the link comes back.

    The library cancels tasks that nobody cancelled.
    """
    await fill(hand, own_queue, 1)
    link = await open_link(f"{proxy.url}?heartbeat=2")  # found dead after 3 x (2 + 1) s
    hung = link.connection()
    await link.publish(message(own_queue, 1), within=WITHIN)
    inbox = Inbox()
    async with subscription(link, own_queue, inbox) as open_one:
        await inbox.holds(1)
        proxy.freeze()

        async def ask(connection: AbstractConnection) -> None:
            await connection.channel()

        results = await asyncio.gather(
            link.publish(message(own_queue, 2), within=15),
            link.use(ask, within=15),
            asyncio.wait_for(open_one.ended.wait(), 15),
            return_exceptions=True,
        )
    assert [type(r) for r in results] == [PublishUnconfirmed, BrokerUnavailable, bool]
    proxy.cut()
    proxy.thaw()
    # Those who waited are notified some turns before the link is, which counts the dead connection as ready until then.
    await eventually(lambda: link.state.ready and link.connection() is not hung, within=BACK_SECONDS)
    await link.publish(message(own_queue, 3), within=WITHIN)


async def test_leaving_a_subscription_while_its_connection_dies(
    open_link: OpenLink, proxy: Proxy, hand: Hand, own_queue: str
) -> None:
    """Leaving a subscription on a hanging connection ends in time, and cancels none of the tasks that leave."""
    link = await open_link(f"{proxy.url}?heartbeat=1")  # found dead between 6 and 7 s after the last frame

    async def lives(seconds: float) -> str:
        async with subscription(link, own_queue, Inbox()):
            await eventually(proxy.is_frozen)
            frozen_at = time.monotonic()
            await eventually(lambda: time.monotonic() - frozen_at > seconds, within=10)
        return "left"

    leaving = [asyncio.create_task(lives(4.5 + n / 5)) for n in range(13)]
    await eventually(lambda: _has_consumers(hand, own_queue, len(leaving)))
    proxy.freeze()
    await asyncio.wait(leaving, timeout=20)
    assert [task.cancelled() or task.result() for task in leaving] == ["left"] * len(leaving)


async def test_a_mismatch_found_later_does_not_end_the_link(proxy: Proxy) -> None:
    """After a first success a TopologyMismatch is shown in the state and retried; it does not end the process."""
    prepared = 0

    async def prepare(_: AbstractConnection) -> None:
        nonlocal prepared
        prepared += 1
        if prepared == 2:
            raise TopologyMismatch("not as declared")

    link = Link(lambda: [proxy.url], name="zenoti-ingest test", prepare=prepare, refuse_mismatch=True)
    running = asyncio.create_task(link.run())
    try:
        await eventually(lambda: link.state.ready, within=BACK_SECONDS)
        proxy.cut()
        await eventually(lambda: prepared == 3 or running.done(), within=BACK_SECONDS)
        assert not running.done()
        await eventually(lambda: link.state.ready, within=BACK_SECONDS)
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=BACK_SECONDS)


async def test_a_mismatch_at_the_first_connection_ends_the_link(broker_url: str) -> None:
    """With `refuse_mismatch` a mismatch found at first ends `run` with it."""

    async def prepare(_: AbstractConnection) -> None:
        raise TopologyMismatch("not as declared")

    link = Link(lambda: [broker_url], name="zenoti-ingest test", prepare=prepare, refuse_mismatch=True)
    async with asyncio.timeout(BACK_SECONDS):
        with pytest.raises(TopologyMismatch):
            await link.run()


async def test_each_node_is_tried_in_turn(broker_url: str) -> None:
    """If the first node is away, the next node is used."""
    nodes = [f"amqp://guest:guest@127.0.0.1:{unused_port()}/", broker_url]
    link = Link(lambda: nodes, name="zenoti-ingest test")
    running = asyncio.create_task(link.run())
    try:
        await eventually(lambda: link.state.ready, within=BACK_SECONDS)
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=BACK_SECONDS)


async def test_two_links_are_strangers(open_link: OpenLink, proxy: Proxy, hand: Hand, own_queue: str) -> None:
    """A link whose connection is cut disturbs neither the publishes nor the subscription of another."""
    cut, whole = await open_link(proxy.url), await open_link()
    inbox = Inbox()
    async with subscription(whole, own_queue, inbox) as open_one:
        await cut.publish(message(own_queue, 1), within=WITHIN)
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: not cut.state.ready)
        await whole.publish(message(own_queue, 2), within=WITHIN)
        assert await inbox.holds(2) == [b"1", b"2"]
        for delivery in inbox.deliveries:
            assert delivery.ack()
        assert not open_one.ended.is_set()
    assert await hand.ready(own_queue) == 0


async def _has_consumers(hand: Hand, queue: str, count: int) -> bool:
    return await hand.consumers(queue) == count


async def _is(hand: Hand, queue: str, count: int) -> bool:
    return await hand.ready(queue) == count


async def test_a_call_that_we_cancel_stays_cancelled(link: Link) -> None:
    """The library can end a cancelled call in an error of its own: it is a cancellation all the same."""
    begun = asyncio.Event()

    async def converts(_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("as the library does") from None

    task = asyncio.create_task(link.use(converts, within=30))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_an_ack_gives_its_bytes_back(link: Link, hand: Hand, own_queue: str) -> None:
    """Once acked or rejected a body counts no more, and the next may come in its place."""
    inbox = Inbox()
    await fill(hand, own_queue, 3)
    async with subscription(link, own_queue, inbox, prefetch=1, max_bytes=1) as consumer:
        for count in (1, 2, 3):
            await inbox.holds(count)
            assert (consumer.bytes_in_hand, len(consumer.in_hand)) == (1, 1)
            if count == 3:
                consumer.reject(inbox.deliveries[-1].tag)
            else:
                inbox.deliveries[-1].ack()
        assert (consumer.bytes_in_hand, consumer.in_hand, consumer.passed_at) == (0, {}, 0)


async def test_how_often_what_is_in_hand_has_come_back(link: Link, hand: Hand, own_queue: str) -> None:
    """The highest count of those in hand; an acked delivery no longer counts."""
    await fill(hand, own_queue, 1)
    for returned in range(3):
        inbox = Inbox()
        async with subscription(link, own_queue, inbox) as consumer:
            await inbox.holds(1)
            assert consumer.most_returned == returned
            if returned == 2:
                inbox.deliveries[0].ack()
                assert consumer.most_returned == 0
