"""The port `Publishes`: one contract for the fake of the tests and for the connection to the real broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import DeliveryError
from pamqp.common import FieldValue

from tests.conftest import Hand, OpenLink
from tests.eventually import next_turn
from tests.fakes import FakePublisher
from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import PublishRefused, PublishUnconfirmed, TooLarge, Unroutable
from zenoti_ingest.stages.ports import Publishes

CLOSED_PORT = "amqp://guest:guest@127.0.0.1:1/"
WITHIN = 5.0


class Port(msgspec.Struct):
    """A publisher, a publisher whose broker is away, and what came of the publishing."""

    publisher: Publishes
    away: Publishes
    exchange: str
    arrived: Callable[[], Awaitable[list[Outgoing]]]

    def message(self, number: int = 0, *, exchange: str = "", routing_key: str = "bound") -> Outgoing:
        """A message with everything that a message can have."""
        return Outgoing(
            exchange=exchange or self.exchange,
            routing_key=routing_key,
            body=b"\x00\xff body %d" % number,
            message_id=f"id-{number}",
            headers={"text": "ünïcode", "number": number, "long": "x" * 1000},
            content_type="application/json",
            content_encoding="gzip",
        )


@pytest.fixture
def fake_port() -> Port:
    """The fake of the tests."""
    fake, away = FakePublisher(), FakePublisher()
    fake.unroutable, fake.missing, fake.full, away.away = {"unbound"}, {"not-there"}, {"full"}, True

    async def kept() -> list[Outgoing]:
        return fake.published

    return Port(fake, away, "exchange", kept)


@pytest.fixture
async def real_port(hand: Hand, open_link: OpenLink, own_queue: str, prefix: str) -> AsyncIterator[Port]:
    """The connection to the broker, with an exchange and a queue of its own."""
    exchange = f"{prefix}.exchange"
    channel = await hand.channel()
    await channel.exchange_declare(exchange, exchange_type="direct", durable=True)
    await channel.queue_bind(own_queue, exchange, "bound")
    full: dict[str, FieldValue] = {"x-queue-type": "quorum", "x-max-length": 0, "x-overflow": "reject-publish"}
    await channel.queue_declare(f"{prefix}.full", durable=True, arguments=full)
    await channel.queue_bind(f"{prefix}.full", exchange, "full")
    while await confirms(channel, exchange, "full"):  # the limit overshoots
        pass

    async def taken() -> list[Outgoing]:
        return [_as_published(message) for message in await hand.drain(own_queue)]

    yield Port(await open_link(), await open_link(CLOSED_PORT, wait=False), exchange, taken)
    await (await hand.channel()).exchange_delete(exchange)
    await (await hand.channel()).queue_delete(f"{prefix}.full")


async def confirms(channel: AbstractChannel, exchange: str, routing_key: str) -> bool:
    """Whether the broker takes a message."""
    try:
        await channel.basic_publish(b"", exchange=exchange, routing_key=routing_key)
    except DeliveryError:
        return False
    return True


@pytest.fixture
async def simulated_port() -> Port:
    """The broker of the simulated world."""
    broker = SimulatedBroker(seeded(1))
    broker.declare_exchange("exchange", "direct")
    for name in ("bound", "full"):
        broker.declare_queue(name, {"x-queue-type": "quorum"})
        broker.bind("exchange", name, name)
    broker.queues["full"].refuses = True
    away = SimulatedLink(broker)
    away.cut(back_after=3600.0)
    await asyncio.sleep(0)

    async def arrived() -> list[Outgoing]:
        return [stored.message for stored in broker.queues["bound"].ready]

    return Port(SimulatedLink(broker), away, "exchange", arrived)


@pytest.fixture(params=["fake", "simulated", "real"])
def port(request: pytest.FixtureRequest) -> Port:
    """The fake, then the real adapter."""
    found = request.getfixturevalue(f"{request.param}_port")
    assert isinstance(found, Port)
    return found


def _as_published(message: DeliveredMessage) -> Outgoing:
    properties = message.header.properties
    return Outgoing(
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        body=message.body,
        message_id=properties.message_id or "",
        headers={k: v for k, v in (properties.headers or {}).items() if k != "x-delivery-count"},  # the broker's own
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
    )


async def test_a_confirmed_publish_arrives(port: Port) -> None:
    """What was confirmed is there: exchange, routing key, body, headers, ids and content fields as they were given."""
    await port.publisher.publish(port.message(7), within=WITHIN)
    assert await port.arrived() == [port.message(7)]


async def test_what_was_left_out_stays_out(port: Port) -> None:
    """An empty body, no headers and no content fields arrive as that."""
    bare = Outgoing(exchange=port.exchange, routing_key="bound", body=b"", message_id="bare", headers={})
    await port.publisher.publish(bare, within=WITHIN)
    assert await port.arrived() == [bare]


async def test_a_large_body_arrives_whole(port: Port) -> None:
    """A body of many frames arrives byte for byte."""
    large = msgspec.structs.replace(port.message(), body=bytes(range(256)) * 8192)
    await port.publisher.publish(large, within=WITHIN)
    assert await port.arrived() == [large]


async def test_unroutable(port: Port) -> None:
    """A message that no queue is bound for raises Unroutable, and those around it arrive."""
    await port.publisher.publish(port.message(1), within=WITHIN)
    with pytest.raises(Unroutable, match="unbound"):
        await port.publisher.publish(port.message(2, routing_key="unbound"), within=WITHIN)
    await port.publisher.publish(port.message(3), within=WITHIN)
    assert [m.message_id for m in await port.arrived()] == ["id-1", "id-3"]


async def test_refused(port: Port) -> None:
    """A message for a queue that takes no more raises PublishRefused at once, and those around it arrive."""
    await port.publisher.publish(port.message(1), within=WITHIN)
    with pytest.raises(PublishRefused):
        await port.publisher.publish(port.message(2, routing_key="full"), within=WITHIN)
    await port.publisher.publish(port.message(3), within=WITHIN)
    assert [m.message_id for m in await port.arrived()] == ["id-1", "id-3"]


async def test_too_large(port: Port) -> None:
    """A body over the budget raises TooLarge and is not sent; those in flight beside it and one of the size arrive."""
    large = [msgspec.structs.replace(port.message(n), body=bytes(DEFAULT_MAX_MESSAGE_BYTES + n)) for n in (0, 1)]
    small = [port.message(2), port.message(3)]
    publishes = [port.publisher.publish(m, within=3 * WITHIN) for m in (small[0], large[1], small[1], large[0])]
    results = await asyncio.gather(*publishes, return_exceptions=True)
    assert [type(r) for r in results] == [type(None), TooLarge, type(None), type(None)]
    assert await port.arrived() == [*small, large[0]]


async def test_unconfirmed_where_there_is_no_broker(port: Port) -> None:
    """Without a broker a publish raises PublishUnconfirmed, and does not take longer than it was given."""
    async with asyncio.timeout(2):
        with pytest.raises(PublishUnconfirmed):
            await port.away.publish(port.message(), within=0.3)


async def test_publishes_at_one_time_keep_their_order(port: Port) -> None:
    """Publishes begun together arrive in the order in which they were begun."""
    await asyncio.gather(*(port.publisher.publish(port.message(n), within=WITHIN) for n in range(100)))
    assert [m.message_id for m in await port.arrived()] == [f"id-{n}" for n in range(100)]


async def test_publishes_begun_one_by_one_keep_their_order(port: Port) -> None:
    """Publishes begun one after the other arrive so, the first of them on an exchange not used before included."""
    publishes = []
    for number in range(100):
        publishes.append(asyncio.create_task(port.publisher.publish(port.message(number), within=2 * WITHIN)))
        await next_turn()
    await asyncio.gather(*publishes)
    assert [m.message_id for m in await port.arrived()] == [f"id-{n}" for n in range(100)]


async def test_a_wrong_exchange_spoils_only_its_own_publishes(port: Port) -> None:
    """A publish to an exchange that is not there raises; other and later publishes arrive."""
    wrong = port.message(99, exchange="not-there")
    results = await asyncio.gather(
        *(port.publisher.publish(m, within=WITHIN) for m in (port.message(1), wrong, port.message(2))),
        return_exceptions=True,
    )
    await port.publisher.publish(port.message(3), within=WITHIN)
    assert [type(r) for r in results] == [type(None), PublishUnconfirmed, type(None)]
    assert [m.message_id for m in await port.arrived()] == ["id-1", "id-2", "id-3"]


async def test_the_publisher_may_be_cancelled(port: Port) -> None:
    """A caller who is cancelled gets his cancellation, not an error of the broker, and the next publish works."""
    publishing = asyncio.create_task(port.away.publish(port.message(), within=WITHIN))
    if isinstance(port.away, FakePublisher):
        port.away.away = False  # the fake does not wait: cancelled before it begins
    else:
        await next_turn()
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    await port.publisher.publish(port.message(4), within=WITHIN)
    assert [m.message_id for m in await port.arrived()] == ["id-4"]


async def test_the_real_one_publishes_persistently(link: Publishes, hand: Hand, own_queue: str) -> None:
    """Every message is persistent (delivery mode 2)."""
    message = Outgoing(exchange="", routing_key=own_queue, body=b"", message_id="one", headers={})
    await link.publish(message, within=WITHIN)
    taken = await hand.take(own_queue)
    assert taken is not None
    assert taken.header.properties.delivery_mode == 2
