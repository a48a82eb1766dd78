"""RabbitMQ: one supervised connection that publishes with confirms or consumes by hand-settled deliveries.

aio-pika opens connections; publish, consume and ack go over its lower-level channel, which costs a third less CPU and
hides nothing. Its robust connection is not used: it restores consumers only in some cases and lets publishes wait for
a reconnect without end. Here a lost connection fails everything on it at once, and whoever consumed subscribes anew.
"""

import asyncio
import random
import struct
from asyncio import FIRST_COMPLETED
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Self

import aio_pika
import aiormq.abc
import aiormq.exceptions
import msgspec
from aio_pika.abc import AbstractConnection
from pamqp import commands as spec
from pamqp.header import ContentHeader
from yarl import URL

from worker.core.errors import BrokerUnavailable, PublishUnconfirmed, TopologyMismatch, Unencodable, Unroutable
from worker.core.messages import Outgoing
from worker.telemetry import log
from worker.telemetry.metrics import connection_ready, connections_lost

CONNECT_SECONDS = 5.0
PREPARE_SECONDS = 60.0
CLOSE_SECONDS = 5.0
OPEN_CHANNEL_SECONDS = 10.0
HEARTBEAT_SECONDS = 10
MAX_BACKOFF_SECONDS = 5.0
BLOCKED_LOOK_SECONDS = 1.0
MAX_UNCONFIRMED = 200  # on one channel, of publishes that nobody waits for any more: the library keeps each in its book
BLOCKED = "the broker has blocked the connection: it is short of memory or disk"
ACKS_REACH_SECONDS = 0.1  # acks written just before a close can be lost, and their deliveries come again
_PERSISTENT = 2
# All that aiormq raises when the world fails; ChannelInvalidStateError is a RuntimeError, time-outs are OSErrors.
LOST = (aiormq.exceptions.AMQPError, aiormq.exceptions.ChannelInvalidStateError, OSError, RuntimeError)

Prepare = Callable[[AbstractConnection], Awaitable[None]]


class LinkState(msgspec.Struct, frozen=True):
    """What a connection says of itself: whether it is usable, what stands against it."""

    ready: bool
    detail: str


class Delivery(msgspec.Struct, frozen=True):
    """One message in our hands until it is acknowledged or its channel closes; `came_at` is the event loop's time."""

    body: bytes
    headers: Mapping[str, Any]
    message_id: str
    content_type: str | None
    content_encoding: str | None
    tag: int
    channel: aiormq.abc.AbstractChannel
    unsettled: dict[int, float] = {}
    came_at: float = 0.0
    exchange: str = ""
    routing_key: str = ""

    @property
    def returned(self) -> int:
        """How often it has come back unsettled, as the broker counts it: hand-backs too, up to 4.2."""
        count = self.headers.get("x-delivery-count")
        return count if isinstance(count, int) else 0

    async def ack(self) -> bool:
        """Settle it; False where its channel is gone and it will come again."""
        self.unsettled.pop(self.tag, None)
        try:
            await self.channel.basic_ack(self.tag, wait=False)
        except LOST:
            return False
        return True


class Link:
    """One connection, kept up for ever: backs off with jitter, tries each node in turn.

    Args:
        urls: the nodes, asked for anew at each attempt, since a file may change.
        name: how the broker's operator sees it.
        role: what metrics call it; `name` where not given.
        prepare: run on each new connection before it counts as ready.
        refuse_mismatch: a TopologyMismatch before the first success ends `run`.
    """

    def __init__(
        self,
        urls: Callable[[], Sequence[str]],
        *,
        name: str,
        role: str = "",
        prepare: Prepare | None = None,
        refuse_mismatch: bool = False,
    ) -> None:
        self._urls = urls
        self._name = name
        self._role = role or name
        self._prepare = prepare
        self._refuse_mismatch = refuse_mismatch
        self._connection: AbstractConnection | None = None
        self._ready = asyncio.Event()
        self._channels: dict[str, aiormq.abc.AbstractChannel] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unconfirmed: defaultdict[str, int] = defaultdict(int)
        self._abandoned: set[asyncio.Task[None]] = set()
        self._was_ready = False
        self.state = LinkState(ready=False, detail="not connected yet")
        connection_ready.labels(self._role).set(0)

    async def run(self) -> None:
        """Keep the connection up until cancelled.

        Raises:
            TopologyMismatch: with `refuse_mismatch`, when the first preparation finds one.
        """
        failures = 0
        while True:
            lost = asyncio.Event()
            try:
                with _no_foreign_cancel():
                    await self._connect(self._node(failures), lost)
                failures = 0
                self._was_ready = True
                self._become(ready=True, detail="")
                log.info("broker_connected", connection=self._name)
                await self._until_lost(lost)
                self._become(ready=False, detail="the connection was lost")
            except TopologyMismatch as error:
                if self._refuse_mismatch and not self._was_ready:
                    raise
                self._become(ready=False, detail=str(error))
            except (*LOST, BrokerUnavailable) as error:
                self._become(ready=False, detail=_what(error))
            finally:
                await self._drop()
            failures += 1
            connections_lost.labels(self._role).inc()
            delay = min(MAX_BACKOFF_SECONDS, 0.2 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
            log.warning("broker_away", connection=self._name, detail=self.state.detail, retry_seconds=round(delay, 1))
            await asyncio.sleep(delay)

    async def _until_lost(self, lost: asyncio.Event) -> None:
        """Return once the connection is lost; while the broker blocks it, it is not ready.

        The library tells of a block only in its log, and where one asks whether it may write; so somebody has to ask.
        """
        transport = self.connection().transport
        assert transport is not None  # noqa: S101  # it has just connected
        ended = asyncio.create_task(lost.wait())
        try:
            while not ended.done():
                unblocked = asyncio.create_task(transport.connection.ready())
                await asyncio.wait((ended, unblocked), timeout=BLOCKED_LOOK_SECONDS, return_when=FIRST_COMPLETED)
                if unblocked.done() and not self.state.ready:
                    log.info("broker_unblocked", connection=self._name)
                    self._become(ready=True, detail="")
                elif not unblocked.done() and not ended.done() and self.state.ready:
                    log.error("broker_blocked", connection=self._name)
                    self._become(ready=False, detail=BLOCKED)
                unblocked.cancel()
                await asyncio.wait((ended,), timeout=BLOCKED_LOOK_SECONDS)
        finally:
            ended.cancel()

    async def wait_ready(self) -> None:
        """Return once the connection can be used; callers set the deadline."""
        await self._ready.wait()

    async def use(self, action: Prepare, *, within: float) -> None:
        """Run something on the connection.

        Raises:
            BrokerUnavailable: there is none, or it did not answer within so many seconds.
        """
        try:
            with _no_foreign_cancel():
                async with asyncio.timeout(within):
                    await action(self.connection())
        except LOST as error:
            raise BrokerUnavailable(_what(error)) from error

    async def ready(self, queue: str) -> int:
        """Messages of a queue that nobody holds.

        Raises:
            BrokerUnavailable: the broker does not tell.
        """
        channel = await self.open_channel(confirms=False)
        try:
            with _no_foreign_cancel():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    return (await channel.queue_declare(queue, passive=True)).message_count or 0
        except LOST as error:
            raise BrokerUnavailable(_what(error)) from error
        finally:
            await _close(channel, name=queue)

    def connection(self) -> AbstractConnection:
        """The connection as it stands.

        Raises:
            BrokerUnavailable: there is none.
        """
        if self._connection is None or not self._ready.is_set():
            raise BrokerUnavailable(self.state.detail or "not connected")
        return self._connection

    async def publish(
        self, message: Outgoing, *, within: float, channel: aiormq.abc.AbstractChannel | None = None
    ) -> None:
        """Publish, and return once the broker has confirmed.

        Args:
            message: what and where to.
            within: seconds for all of it, the wait for a connection included.
            channel: to publish on, with confirms; None: the one of the exchange.

        Raises:
            PublishUnconfirmed: no confirm in time, a refusal, or a lost connection; the message may still arrive.
            Unroutable: no queue is bound for it.
            Unencodable: AMQP cannot carry it as it is.
        """
        try:
            with _no_foreign_cancel():
                async with asyncio.timeout(within):
                    channel = channel or await self._channel(message.exchange)
                    confirm = await channel.basic_publish(
                        message.body,
                        exchange=message.exchange,
                        routing_key=message.routing_key,
                        properties=_properties(message),
                        mandatory=True,
                    )
        except aiormq.exceptions.PublishError as error:
            raise Unroutable(f"no queue is bound to {message.exchange} for {message.routing_key}") from error
        except TimeoutError as error:
            if channel is not None:
                self._count_unconfirmed(message.exchange, channel)
            detail = self.state.detail or "the broker did not confirm"
            raise PublishUnconfirmed(f"{detail} (within {within:g} s)") from error
        except (*LOST, BrokerUnavailable) as error:
            raise PublishUnconfirmed(_what(error)) from error
        except (TypeError, ValueError, ArithmeticError, struct.error) as error:
            raise Unencodable(f"AMQP cannot carry it: {type(error).__name__}") from error
        if not isinstance(confirm, spec.Basic.Ack):
            raise PublishUnconfirmed(f"answered by {type(confirm).__name__}")

    def subscribe(
        self,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        arguments: Mapping[str, Any] | None = None,
        publishes: bool = False,
    ) -> "Subscription":
        """A consumer on a channel of its own, with confirms where it publishes too; it begins by being entered."""
        return Subscription(
            self, queue, prefetch=prefetch, on_delivery=on_delivery, arguments=arguments, publishes=publishes
        )

    async def open_channel(self, *, confirms: bool = True) -> aiormq.abc.AbstractChannel:
        """A channel of the caller's own, within OPEN_CHANNEL_SECONDS.

        Raises:
            BrokerUnavailable: it could not be opened.
        """
        transport = self.connection().transport
        if transport is None:
            raise BrokerUnavailable("not connected")
        try:
            with _no_foreign_cancel():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    return await transport.connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        except LOST as error:
            raise BrokerUnavailable(_what(error)) from error

    def _node(self, failures: int) -> str:
        urls = self._urls()
        return urls[failures % len(urls)]

    async def _connect(self, url: str, lost: asyncio.Event) -> None:
        target = URL(url)
        if "heartbeat" not in target.query:
            target = target.update_query(heartbeat=HEARTBEAT_SECONDS)
        try:
            async with asyncio.timeout(CONNECT_SECONDS + 1):
                self._connection = await aio_pika.connect(
                    target, timeout=CONNECT_SECONDS, client_properties={"connection_name": self._name}
                )
            self._connection.close_callbacks.add(lambda *_: lost.set())
            if self._prepare is not None:
                async with asyncio.timeout(PREPARE_SECONDS):
                    await self._prepare(self._connection)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{target.host_port_subcomponent} does not answer") from error

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._ready.clear()
        self._channels.clear()
        self._unconfirmed.clear()
        if connection is not None:
            await _close(connection, name=self._name)

    def _become(self, *, ready: bool, detail: str) -> None:
        if ready:
            self._ready.set()
        else:
            self._ready.clear()
        if (ready, detail) != (self.state.ready, self.state.detail):
            self.state = LinkState(ready=ready, detail=detail)
            connection_ready.labels(self._role).set(ready)

    async def _channel(self, exchange: str) -> aiormq.abc.AbstractChannel:
        """A channel per exchange: one wrong publish closes its channel and fails all that is in flight on it.

        Everybody goes through the lock, which is fair: nobody overtakes those who waited for the channel to open.
        """
        async with self._opening[exchange]:
            await self.wait_ready()
            channel = self._channels.get(exchange)
            if channel is None:
                channel = self._channels[exchange] = await self.open_channel()
                channel.closing.add_done_callback(lambda _: self._forget(exchange, channel))
            return channel

    def _forget(self, exchange: str, channel: aiormq.abc.AbstractChannel | None) -> None:
        if self._channels.get(exchange) is channel:
            del self._channels[exchange]
            self._unconfirmed.pop(exchange, None)

    def _count_unconfirmed(self, exchange: str, channel: aiormq.abc.AbstractChannel) -> None:
        """After too many of them take another channel; closing the old one clears the library's book of it."""
        if self._channels.get(exchange) is not channel:
            return
        self._unconfirmed[exchange] += 1
        if self._unconfirmed[exchange] >= MAX_UNCONFIRMED:
            self._forget(exchange, channel)
            closing = asyncio.create_task(_close(channel, name=self._name))
            self._abandoned.add(closing)
            closing.add_done_callback(self._abandoned.discard)


class Subscription:
    """A consumer's life, from subscribe to the close of its channel; closing hands back what is unsettled, in order.

    `ended` is set when the broker ended it, or `fail` was called; whoever owns it leaves the context and begins anew.

    Attributes:
        ended: it is over; what is in hand may still be settled while its channel lives.
        leaving: nothing new is to be begun; set with `ended` too.
        detail: why it ended.
        lost: the channel ended by itself, or with its connection.
        orderly: we ended it, and nothing is wrong.
        delivered: how many have come.
        unsettled: delivery tag -> when it came (the event loop's clock), oldest first.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        arguments: Mapping[str, Any] | None,
        publishes: bool = False,
    ) -> None:
        self._link = link
        self._publishes = publishes
        self._tag: str | None = None
        self._queue = queue
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._arguments = dict(arguments) if arguments else None
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._handling: set[asyncio.Task[None]] = set()
        self.unsettled: dict[int, float] = {}
        self.delivered = 0
        self.lost = False
        self.orderly = False
        self._left = False
        self.ended = asyncio.Event()
        self.leaving = asyncio.Event()
        self.detail = ""

    async def __aenter__(self) -> Self:
        """Subscribe.

        Raises:
            BrokerUnavailable: it could not be done.
        """
        self._channel = channel = await self._link.open_channel(confirms=self._publishes)
        channel.closing.add_done_callback(self._closed)
        channel.on_consumer_cancel_callbacks.add(lambda _: self.fail("the broker cancelled the consumer"))
        try:
            with _no_foreign_cancel():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    await channel.basic_qos(prefetch_count=self._prefetch)
                    await self._consume(channel)
        except LOST as error:
            raise BrokerUnavailable(f"cannot consume {self._queue}: {_what(error)}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the acks reach the broker, then close the channel; after a basic.cancel a standby would run beside."""
        channel = self._channel
        self._left = True
        if channel is None or channel.is_closed:
            return
        await asyncio.sleep(ACKS_REACH_SECONDS)
        await _close(channel, name=self._queue)

    async def handled(self) -> None:
        """Return once every delivery in hand has been handled."""
        while self._handling:
            await asyncio.wait(self._handling)

    def fail(self, detail: str, *, orderly: bool = False) -> None:
        """End it: what is unsettled is to be handed back."""
        if not self.ended.is_set():
            self.detail = detail
            self.orderly = orderly
            self.ended.set()
            self.leaving.set()

    async def next_page(self) -> None:
        """Take up to the prefetch again, beside what is in hand: that stays on the channel, unsettled.

        Raises:
            BrokerUnavailable: it could not be done.
        """
        channel = self._open_channel()
        try:
            with _no_foreign_cancel():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    await channel.basic_cancel(self._tag or "")
                    await self._consume(channel)
        except LOST as error:
            raise BrokerUnavailable(f"cannot go on consuming {self._queue}: {_what(error)}") from error

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """As Link.publish, on this channel: the broker handles it after the acks before it, and confirms it after them.

        Raises:
            PublishUnconfirmed, Unroutable, Unencodable: as there.
        """
        await self._link.publish(message, within=within, channel=self._open_channel())

    async def acks_arrived(self) -> None:
        """Return once the broker has handled every ack so far: it answers one question after what came before it.

        Raises:
            BrokerUnavailable: it does not answer, so the last ones may come again.
        """
        channel = self._open_channel()
        try:
            with _no_foreign_cancel():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    await channel.basic_qos(prefetch_count=self._prefetch)
        except LOST as error:
            raise BrokerUnavailable(f"the broker does not answer for {self._queue}: {_what(error)}") from error

    def held_seconds(self) -> float:
        """How long the oldest unsettled delivery has been in our hands."""
        oldest = next(iter(self.unsettled.values()), None)
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    def _open_channel(self) -> aiormq.abc.AbstractChannel:
        if self._channel is None or self._channel.is_closed:
            raise BrokerUnavailable(self.detail or "not subscribed")
        return self._channel

    async def _consume(self, channel: aiormq.abc.AbstractChannel) -> None:
        answer = await channel.basic_consume(self._queue, self._deliver, arguments=self._arguments)
        self._tag = answer.consumer_tag

    def _closed(self, _: object) -> None:
        if not self._left:
            self.lost = not self.ended.is_set()
            self.fail("the channel was closed")

    async def _deliver(self, message: aiormq.abc.DeliveredMessage) -> None:
        properties = message.header.properties
        tag, now = getattr(message.delivery, "delivery_tag", None), asyncio.get_running_loop().time()
        assert self._channel is not None and tag is not None  # noqa: S101, PT018  # a delivery has both by the protocol
        delivery = Delivery(
            body=message.body,
            headers=properties.headers or {},
            message_id=properties.message_id or "",
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            tag=tag,
            channel=self._channel,
            unsettled=self.unsettled,
            came_at=now,
            exchange=getattr(message.delivery, "exchange", None) or "",
            routing_key=getattr(message.delivery, "routing_key", None) or "",
        )
        self.delivered += 1
        self.unsettled[tag] = now
        # A task of our own: the library cancels its own when the channel closes, a publish in mid-confirm with it.
        task = asyncio.create_task(self._handle(delivery))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._on_delivery(delivery)
        except Exception:  # noqa: BLE001  # a defect of the receiver: told here, since the library would swallow it
            log.exception("defect", queue=self._queue)
            self.fail("a defect in the receiver")


async def _close(thing: AbstractConnection | aiormq.abc.AbstractChannel, *, name: str) -> None:
    """Close a connection or channel, within CLOSE_SECONDS; what is lost already is closed enough."""
    try:
        with _no_foreign_cancel():
            async with asyncio.timeout(CLOSE_SECONDS):
                await thing.close()
    except (*LOST, BrokerUnavailable) as error:
        log.debug("broker_close_failed", connection=name, detail=_what(error))


def _properties(message: Outgoing) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=message.headers,
        delivery_mode=_PERSISTENT,
        message_id=message.message_id,
    )


@contextmanager
def _no_foreign_cancel() -> Iterator[None]:
    """Cancelled or not is what we say, not the library.

    A connection that hangs makes it cancel tasks that nobody cancelled: that is a lost connection. And a call that we
    cancel can end in one of its own errors: that is a cancellation.
    """
    task = asyncio.current_task()
    try:
        yield
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling() > 0:
            raise
        raise BrokerUnavailable("the connection hangs") from error
    except Exception as error:
        if task is not None and task.cancelling() > 0:
            raise asyncio.CancelledError from error
        raise


def _tolerate(unmarshal: Callable[[ContentHeader, bytes], None]) -> Callable[[ContentHeader, bytes], None]:
    """Properties that the library cannot decode count as absent.

    As it comes, one message whose timestamp is out of range ends the reader, and with it the connection, each time it
    is delivered, and nothing behind it is ever reached.
    """

    @wraps(unmarshal)
    def tolerant(header: ContentHeader, data: bytes) -> None:
        try:
            unmarshal(header, data)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's bytes make of the decoder
            header.properties = spec.Basic.Properties()
            log.warning("properties_undecodable", error=type(error).__name__)

    return tolerant


ContentHeader.unmarshal = _tolerate(ContentHeader.unmarshal)  # type: ignore[method-assign,assignment]


def _what(error: BaseException) -> str:
    """A sentence for logs; aiormq's texts hold codes and names of queues, never bodies."""
    return f"{type(error).__name__}: {error}".rstrip(": ")[:300]
