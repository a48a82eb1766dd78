"""A connection to RabbitMQ that reconnects by itself, and the publishes and subscriptions on it."""

import asyncio
import random
import sys
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import aio_pika
import msgspec
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from pamqp import commands as spec
from yarl import URL

from zenoti_ingest.adapters.broker.library import (
    OPEN_CHANNEL_SECONDS,
    close,
    close_channel,
    require_frame_size,
    rim,
    what,
)
from zenoti_ingest.adapters.broker.sender import Sender, Sent
from zenoti_ingest.adapters.broker.subscription import BrokerSubscription
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.backoff import Backoff
from zenoti_ingest.core.failures.errors import (
    BrokerUnavailable,
    FatalError,
    PermanentError,
    PublishUnconfirmed,
    WrongSettings,
)
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import connection_ready, connections_lost

CONNECT_SECONDS = 5.0
PREPARE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10
FIRST_RECONNECT_SECONDS, MAX_RECONNECT_SECONDS = 0.4, 5.0
BLOCKED_POLL_SECONDS = 1.0
MAX_UNCONFIRMED = 200  # given-up publishes on a channel: the library keeps each in memory until the channel closes
REFUSED_CHANNEL_SECONDS = 10.0
SETTLE_SECONDS = 15.0
TAKE_SECONDS = 2.0
BLOCKED = "the broker has blocked the connection: it is short of memory or disk"

Prepare = Callable[[AbstractConnection], Awaitable[None]]
R = TypeVar("R")


class LinkState(msgspec.Struct, frozen=True):
    """The state of a connection: whether it is usable, and if not, why."""

    ready: bool
    detail: str


class Link:
    """A connection that reconnects for ever, with backoff and jitter; it tries each node in turn.

    Args:
        urls: returns the nodes' URLs; called at each attempt, since a file may change.
        name: the connection's name in RabbitMQ's management.
        role: the label in metrics; `name` if not given.
        prepare: run on each new connection before it counts as ready.
        refuse_mismatch: a FatalError before the first success (a topology that differs, a wrong URL) ends `run`.
        budget: the largest allowed body; the connections of a process share it.
    """

    def __init__(
        self,
        urls: Callable[[], Sequence[str]],
        *,
        name: str,
        role: str = "",
        prepare: Prepare | None = None,
        refuse_mismatch: bool = False,
        budget: SizeBudget | None = None,
    ) -> None:
        self._budget = budget or SizeBudget()
        self._urls = urls
        self._name = name
        self._role = role or name
        self._prepare = prepare
        self._refuse_mismatch = refuse_mismatch
        self._connection: AbstractConnection | None = None
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._senders: dict[str, Sender] = {}
        self._waiting: dict[str, dict[asyncio.Future[Sent], Outgoing]] = {}  # by exchange, for its channel
        self._aside: set[asyncio.Task[None]] = set()
        self._was_ready = False
        self.state = LinkState(ready=False, detail="not connected yet")
        connection_ready.labels(self._role).set(0)

    async def run(self) -> None:
        """Keep the connection up until cancelled, whatever the broker sends and the library raises.

        Raises:
            FatalError: only with `refuse_mismatch`, and only before the connection was ready for the first time.
        """
        failures = 0
        backoff = Backoff(FIRST_RECONNECT_SECONDS, MAX_RECONNECT_SECONDS)
        while True:
            lost = asyncio.Event()
            try:
                with rim():
                    await self._connect(self._node(failures), lost)
                failures = 0
                backoff.succeeded()
                self._was_ready = True
                self._become(ready=True, detail="")
                log.info("broker_connected", connection=self._name)
                await self._until_lost(lost)
                self._become(ready=False, detail="the connection was lost")
            except FatalError as error:
                if self._refuse_mismatch and not self._was_ready:
                    raise
                self._become(ready=False, detail=str(error))
            except BrokerUnavailable as error:
                self._become(ready=False, detail=str(error))
            except Exception as error:  # noqa: BLE001  # no unforeseen error may end the reconnecting
                self._become(ready=False, detail=what(error))
            finally:
                await self._drop()
            failures += 1
            connections_lost.labels(self._role).inc()
            delay = backoff.failed() * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
            log.warning("broker_away", connection=self._name, detail=self.state.detail, retry_seconds=round(delay, 1))
            await asyncio.sleep(delay)

    async def _until_lost(self, lost: asyncio.Event) -> None:
        """Return once the connection is lost; while the broker blocks the connection, it is not ready.

        The library shows a block only in its log, or to a caller that waits until it may write; so this method waits.
        """
        transport = self.connection().transport
        assert transport is not None  # noqa: S101  # it has just connected
        ended = asyncio.create_task(lost.wait())
        try:
            while not ended.done():
                unblocked = asyncio.create_task(transport.connection.ready())
                await asyncio.wait((ended, unblocked), timeout=BLOCKED_POLL_SECONDS, return_when=FIRST_COMPLETED)
                if unblocked.done() and not self.state.ready:
                    log.info("broker_unblocked", connection=self._name)
                    self._become(ready=True, detail="")
                elif not unblocked.done() and not ended.done() and self.state.ready:
                    log.error("broker_blocked", connection=self._name)
                    self._become(ready=False, detail=BLOCKED)
                unblocked.cancel()
                await asyncio.wait((ended,), timeout=BLOCKED_POLL_SECONDS)
        finally:
            ended.cancel()

    async def wait_ready(self) -> None:
        """Return once the connection is ready; callers set the deadline."""
        await self._ready.wait()

    async def use(self, action: Callable[[AbstractConnection], Awaitable[R]], *, within: float) -> R:
        """Run `action` on the connection; return its result.

        Raises:
            BrokerUnavailable: there is no connection, or it did not answer within `within` seconds.
        """
        with rim():
            async with asyncio.timeout(within):
                return await action(self.connection())

    async def ready(self, queue: str) -> int:
        """The number of messages in a queue that no consumer holds.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        channel = await self._open_channel(confirms=False)
        try:
            with rim():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    return (await channel.queue_declare(queue, passive=True)).message_count or 0
        finally:
            await close_channel(channel, name=queue)

    async def take(self, queue: str) -> bytes | None:
        """Remove the first message of a queue and return its body; None: the queue is empty.

        Raises:
            BrokerUnavailable: the broker does not answer; it may have removed the message.
        """
        channel = await self._open_channel(confirms=False)
        try:
            with rim():
                async with asyncio.timeout(TAKE_SECONDS):
                    message = await channel.basic_get(queue, no_ack=True)
        finally:
            await close_channel(channel, name=queue)
        return message.body if isinstance(message.delivery, spec.Basic.GetOk) else None

    def connection(self) -> AbstractConnection:
        """The current connection.

        Raises:
            BrokerUnavailable: there is none, or it is not ready.
        """
        if self._connection is None or not self._ready.is_set():
            raise BrokerUnavailable(self.state.detail or "not connected")
        return self._connection

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """Publish, and return once the broker has confirmed.

        Args:
            message: the message, its exchange and its routing key.
            within: seconds for everything, including the wait for a connection.

        Raises:
            PublishUnconfirmed: no confirm in time, or a lost connection; the message may still arrive.
            PublishRefused: a queue takes no more messages; other queues may have it.
            TooLarge: the broker takes no body of this size: we knew and sent nothing, or the broker refused it.
            Unroutable: no queue is bound for it.
            Unencodable: AMQP cannot carry the message.
        """
        sender = self._senders.get(message.exchange)
        if sender is None or message.exchange in self._waiting or not self._ready.is_set():
            began = self._loop.time()
            sent = await self._in_turn(message, within=within)
            within -= self._loop.time() - began
        else:
            sent = sender.begin(message)
        try:
            await sent.sender.confirmed(sent, within=within)
        except PublishUnconfirmed:
            if sent.sender.unconfirmed >= MAX_UNCONFIRMED or self._was_refused_for_long(sent.sender):
                self._retire(message.exchange, sent.sender)
            raise

    def subscribe(
        self,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        arguments: Mapping[str, Any] | None = None,
        publishes: bool = False,
        max_bytes: int = sys.maxsize,
    ) -> BrokerSubscription:
        """A consumer on a channel of its own; consuming begins when the subscription's context is entered.

        Args:
            queue: the queue to consume from.
            prefetch: unsettled deliveries at a time.
            on_delivery: handles a delivery; each call runs in a task of its own.
            arguments: arguments of the consumer.
            publishes: open the channel with publisher confirms, to publish on it too.
            max_bytes: limit for unsettled bodies together. The subscription ends before it exceeds the limit, but it
                always takes a single body.
        """
        return BrokerSubscription(
            self,
            queue,
            prefetch=prefetch,
            on_delivery=on_delivery,
            arguments=arguments,
            publishes=publishes,
            max_bytes=max_bytes,
        )

    async def open_sender(self, *, confirms: bool = True) -> Sender:
        """Open a channel for the caller alone, within OPEN_CHANNEL_SECONDS; return its sender.

        Raises:
            BrokerUnavailable: it could not be opened.
        """
        return Sender(await self._open_channel(confirms=confirms), why=lambda: self.state.detail, budget=self._budget)

    def _node(self, failures: int) -> str:
        urls = self._urls()
        if not urls:
            raise WrongSettings("broker.url_file holds no URL, or cannot be read")
        return urls[failures % len(urls)]

    async def _connect(self, url: str, lost: asyncio.Event) -> None:
        target = URL(url)
        asked = target.query.get("heartbeat", "")  # 0 would mean none, and nobody would notice a frozen process
        beat = min(int(asked), HEARTBEAT_SECONDS) if asked.isdecimal() else HEARTBEAT_SECONDS
        target = target.update_query(heartbeat=beat or HEARTBEAT_SECONDS)
        try:
            async with asyncio.timeout(CONNECT_SECONDS + 1):
                self._connection = await aio_pika.connect(
                    target, timeout=CONNECT_SECONDS, client_properties={"connection_name": self._name}
                )
            self._connection.close_callbacks.add(lambda *_: lost.set())
            require_frame_size(self._connection)
            if self._prepare is not None:
                async with asyncio.timeout(PREPARE_SECONDS):
                    await self._prepare(self._connection)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{target.host_port_subcomponent} does not answer") from error

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._ready.clear()
        self._senders.clear()
        if connection is not None:
            await close(connection, name=self._name)

    def _become(self, *, ready: bool, detail: str) -> None:
        if ready:
            self._ready.set()
        else:
            self._ready.clear()
        if (ready, detail) != (self.state.ready, self.state.detail):
            self.state = LinkState(ready=ready, detail=detail)
            connection_ready.labels(self._role).set(ready)

    async def _in_turn(self, message: Outgoing, *, within: float) -> Sent:
        """Wait in line for the exchange's channel, behind earlier messages; later messages wait in line too."""
        waiting = self._waiting.get(message.exchange)
        if waiting is None:
            waiting = self._waiting[message.exchange] = {}
            self._run_aside(self._send_all(message.exchange))
        sent: asyncio.Future[Sent] = self._loop.create_future()
        waiting[sent] = message
        try:
            async with asyncio.timeout(within):
                return await sent
        except TimeoutError as error:
            detail = self.state.detail or "the broker opens no channel"
            raise PublishUnconfirmed(f"{detail} (within {within:g} s)") from error
        finally:
            waiting.pop(sent, None)

    async def _send_all(self, exchange: str) -> None:
        """Once the channel is open, send all waiting messages at once and in order."""
        sender, refused = None, "the broker opens no channel"
        try:
            await self.wait_ready()
            sender = await self._sender(exchange)
        except BrokerUnavailable as error:
            refused = str(error)
        finally:
            for sent, message in list(self._waiting.pop(exchange).items()):
                _send(sender, message, sent, refused=refused)

    async def _sender(self, exchange: str) -> Sender:
        """The exchange's own channel: a wrong publish closes its channel and fails all publishes in flight on it."""
        sender = self._senders.get(exchange)
        if sender is None:
            sender = self._senders[exchange] = await self.open_sender()
            sender.channel.closing.add_done_callback(lambda _: self._forget(exchange, sender))
        return sender

    async def _open_channel(self, *, confirms: bool) -> Channel:
        transport = self.connection().transport
        if transport is None:
            raise BrokerUnavailable("not connected")
        with rim():
            async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                channel = await transport.connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        assert isinstance(channel, Channel)  # noqa: S101  # the only kind that aiormq makes
        return channel

    def _forget(self, exchange: str, sender: Sender | None) -> None:
        if self._senders.get(exchange) is sender:
            del self._senders[exchange]

    def _retire(self, exchange: str, sender: Sender) -> None:
        """Use a new channel. The old channel closes once nobody waits for its confirms, which frees aiormq's memory."""
        if self._senders.get(exchange) is not sender:
            return
        self._forget(exchange, sender)
        self._run_aside(self._close_settled(sender))

    async def _close_settled(self, sender: Sender) -> None:
        await sender.settled(within=SETTLE_SECONDS)
        await sender.close(name=self._name)

    def _was_refused_for_long(self, sender: Sender) -> bool:
        """RabbitMQ 3.10 keeps refusing publishes on a channel after a refusal, even once the queue's policy is gone."""
        return 0 < sender.refused_since < self._loop.time() - REFUSED_CHANNEL_SECONDS

    def _run_aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)


def _send(sender: Sender | None, message: Outgoing, sent: "asyncio.Future[Sent]", *, refused: str) -> None:
    """Send a message in line, if its caller still waits."""
    if sent.done():
        return
    if sender is None:
        sent.set_exception(PublishUnconfirmed(refused))
        return
    try:
        sent.set_result(sender.begin(message))
    except (PublishUnconfirmed, PermanentError) as error:
        sent.set_exception(error)
    except Exception as error:  # noqa: BLE001  # it fails this message only: the messages behind it are sent
        sent.set_exception(PublishUnconfirmed(what(error)))
