"""What several tests need: the broker, names of their own on it, connections, and a hand to look with."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

import aio_pika
import aiormq.abc
import aiormq.exceptions
import hypothesis
import pytest
from aio_pika.abc import AbstractConnection
from yarl import URL

from tests.proxy import Proxy
from zenoti_ingest import telemetry
from zenoti_ingest.adapters.broker import Link, Prepare, topology
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.topology.declared import Archive, Downstream, Topology, whole_topology
from zenoti_ingest.core.topology.names import Names

# An example may take as long as a busy machine makes it; a hang is found by the tests' own time limit. The examples
# are the same in each run, so that a commit that passed here passes elsewhere. New examples:
# `.venv/bin/python -m pytest tests/unit --hypothesis-profile search`.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("repeatable")

BROKER_VARIABLE = "ZENOTI_INGEST_BROKER__URL"
DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/"
GREETING = b"AMQP\x00\x00\x09\x01"
STEP_SECONDS = 10.0

OpenLink = Callable[..., Awaitable[Link]]


async def lose_channels(link: Link) -> None:
    """Close every channel of a connection beneath those who use it."""
    transport = link.connection().transport
    assert transport is not None
    for channel in list(transport.connection.channels.values()):
        if channel is not None:
            await channel.close()


@pytest.fixture(scope="session", autouse=True)
def _telemetry() -> None:
    telemetry.configure(level="debug", fmt="json")


@pytest.fixture(scope="session")
def broker_url() -> str:
    """The broker's URL; without a broker there is nothing to test with."""
    url = os.environ.get(BROKER_VARIABLE, "").split(",")[0].strip() or DEFAULT_URL
    at = URL(url)
    try:
        with socket.create_connection((at.host or "", at.port or 5672), timeout=5) as talk:
            talk.settimeout(5)
            talk.sendall(GREETING)
            answered = talk.recv(1)
    except OSError:
        answered = b""
    if not answered:
        pytest.exit(
            f"No RabbitMQ answers at {at.host}:{at.port}. `make test` starts a broker; {BROKER_VARIABLE} names yours.",
            1,
        )
    return url


def fresh_prefix() -> str:
    """A first word for names on the broker that nobody else has."""
    return f"zi-t{secrets.token_hex(4)}"


@pytest.fixture
def prefix() -> str:
    """A prefix of this test's own."""
    return fresh_prefix()


def topology_of(names: Names) -> Topology:
    """All of it for one source, a downstream for everything and one for invoices."""
    return whole_topology(
        names,
        sources=("main",),
        downstreams=(
            Downstream(name="all", queue=f"{names.prefix}.out.all"),
            Downstream(name="invoices", queue=f"{names.prefix}.out.invoices", events=("invoice.#",)),
        ),
        delays_seconds=(1, 2),
        archive=Archive(max_age="1h", max_bytes=1_000_000),
    )


@pytest.fixture(scope="module")
def names(broker_url: str) -> Iterator[Names]:
    """Names beneath a prefix of this module's own, declared while its tests run: new queues take 2 s to be safe."""
    own = Names(fresh_prefix())
    declared = topology_of(own)
    asyncio.run(_on_connection(broker_url, partial(topology.declare, topology=declared)))
    yield own
    asyncio.run(_on_connection(broker_url, partial(topology.delete, topology=declared)))


async def _on_connection(url: str, action: Callable[[AbstractConnection], Awaitable[object]]) -> None:
    async with asyncio.timeout(3 * STEP_SECONDS), await aio_pika.connect(url, timeout=STEP_SECONDS) as connection:
        await action(connection)


class Hand:
    """Looks at the broker's queues and puts messages there, beside the code under test."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self._channel: aiormq.abc.AbstractChannel | None = None

    async def channel(self) -> aiormq.abc.AbstractChannel:
        """A channel; another after the broker has closed it."""
        if self._channel is None or self._channel.is_closed:
            assert self.connection.transport is not None
            self._channel = await self.connection.transport.connection.channel(on_return_raises=True)
        return self._channel

    async def ready(self, queue: str) -> int:
        """Messages that nobody holds; -1 where there is no such queue."""
        try:
            answer = await (await self.channel()).queue_declare(queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return -1
        return answer.message_count or 0

    async def consumers(self, queue: str) -> int:
        """How many consume it."""
        return (await (await self.channel()).queue_declare(queue, passive=True)).consumer_count or 0

    async def take(self, queue: str) -> aiormq.abc.DeliveredMessage | None:
        """The first message, taken out; None where it is empty."""
        message = await (await self.channel()).basic_get(queue, no_ack=True)
        return message if message.message_count is not None else None

    async def drain(self, queue: str) -> list[aiormq.abc.DeliveredMessage]:
        """All that is there, taken out."""
        found = []
        while (message := await self.take(queue)) is not None:
            found.append(message)
        return found

    async def put(self, message: Outgoing) -> None:
        """Publish, confirmed."""
        await (await self.channel()).basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=aiormq.spec.Basic.Properties(
                delivery_mode=2,
                headers=dict(message.headers),
                message_id=message.message_id,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
            ),
            mandatory=True,
            timeout=STEP_SECONDS,
        )

    async def queue(self, name: str) -> str:
        """A quorum queue of the test's own, which the fixture deletes."""
        await (await self.channel()).queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        return name

    async def purge(self, topology: Topology) -> None:
        """Empty every queue that can be emptied."""
        for queue in topology.queues:
            if queue.arguments.get("x-queue-type") != "stream":
                await (await self.channel()).queue_purge(queue.name)


@pytest.fixture
async def real_hand(broker_url: str) -> AsyncIterator[Hand]:
    """A hand on the broker, with a connection of its own."""
    async with await aio_pika.connect(broker_url, timeout=STEP_SECONDS) as connection:
        yield Hand(connection)


@pytest.fixture
def hand(real_hand: Hand) -> Hand:
    """The same; a suite that also runs on the simulated broker has another."""
    return real_hand


@pytest.fixture
async def own_queue(hand: Hand, prefix: str) -> AsyncIterator[str]:
    """An empty quorum queue."""
    name = await hand.queue(f"{prefix}.queue")
    yield name
    await (await hand.channel()).queue_delete(name)


@pytest.fixture
async def open_link(broker_url: str) -> AsyncIterator[OpenLink]:
    """Opens connections that end with the test; waits until they are up, by default."""
    async with AsyncExitStack() as ending:

        async def opened(
            url: str = broker_url,
            *,
            wait: bool = True,
            prepare: Prepare | None = None,
            budget: SizeBudget | None = None,
        ) -> Link:
            link = Link(lambda: [url], name="zenoti-ingest test", prepare=prepare, budget=budget)
            ending.push_async_callback(_ended, asyncio.create_task(link.run()))
            if wait:
                async with asyncio.timeout(STEP_SECONDS):
                    await link.wait_ready()
            return link

        yield opened


async def _ended(task: asyncio.Task[None]) -> None:
    assert not task.done(), f"the task ended by itself: {task}"
    task.cancel()
    await asyncio.wait([task], timeout=STEP_SECONDS)
    assert task.cancelled()


@pytest.fixture
async def link(open_link: OpenLink) -> Link:
    """A connection that is up."""
    return await open_link()


@pytest.fixture
async def proxy(broker_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the broker."""
    async with Proxy(broker_url) as between:
        yield between
