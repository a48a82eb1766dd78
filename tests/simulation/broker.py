"""A simulated RabbitMQ: exchanges, quorum queues, streams, confirms, consumers; what TRAPS and measurements know of it.

It stands at the seam below `BrokerSubscription`: the real code of acks, byte counts and closing runs on its channels.
All that arrives anywhere comes over a wire, in order, after a delay that the world's chance decides.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import aiormq.exceptions
import msgspec
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec
from pamqp.header import ContentHeader

from tests.simulation.virtual_time import WIRE
from zenoti_ingest.adapters.broker.subscription import BrokerSubscription
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.events.routing import matches
from zenoti_ingest.core.failures.errors import (
    BrokerUnavailable,
    ConfirmTimedOut,
    PublishRefused,
    PublishUnconfirmed,
    TooLarge,
    Unroutable,
)
from zenoti_ingest.core.topology.declared import Topology

MAX_DELAY_SECONDS = 0.02
TICK_SECONDS = 2e-6  # between two arrivals: timers of one moment fire in any order
RECONNECT_SECONDS = 1.0
DEAD_LETTER_AGAIN_SECONDS = 1.0  # at least once: the broker keeps the message until its target takes it
MAX_HOPS = 16  # of a message that is dead-lettered in a circle


class Stored(msgspec.Struct):
    """A message in a queue."""

    message: Outgoing
    delivery_count: int = 0
    hops: int = 0


class Wire:
    """One direction of a connection: what is sent arrives in order."""

    def __init__(self, chance: "Chances") -> None:
        self._chance = chance
        self._last = 0.0
        self.is_cut = False

    def send(self, callback: Callable[[], None]) -> None:
        """Call it at the other end, a little later; never, if the wire is cut by then."""
        loop = asyncio.get_running_loop()
        self._last = max(self._last + TICK_SECONDS, loop.time() + self._chance.delay())
        loop.call_at(self._last, self._arrive, callback, context=WIRE)

    def _arrive(self, callback: Callable[[], None]) -> None:
        if not self.is_cut:
            callback()


class Chances:
    """The draws of one world."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self.draw = draw

    def delay(self) -> float:
        """Seconds on a wire."""
        return MAX_DELAY_SECONDS * self.draw()


def seeded(seed: int) -> Chances:
    """The draws that follow from a seed."""
    return Chances(Random(seed).random)  # noqa: S311  # that it can be repeated is the point


class Consumer:
    """A consumer of a queue, at the broker's end."""

    def __init__(self, queue: "SimulatedQueue", channel: "SimulatedChannel", tag: str, offset: int | None) -> None:
        self.queue, self.channel, self.tag, self.offset = queue, channel, tag, offset

    @property
    def has_room(self) -> bool:
        """Whether its prefetch allows one more delivery."""
        return len(self.channel.unsettled) < self.channel.prefetch


class SimulatedQueue:
    """A quorum queue, or a stream."""

    def __init__(self, name: str, arguments: Mapping[str, Any], broker: "SimulatedBroker") -> None:
        self.name, self._arguments, self._broker = name, dict(arguments), broker
        self.is_stream = arguments.get("x-queue-type") == "stream"
        self.ready: deque[Stored] = deque()
        self.stored: list[Stored] = []  # of a stream: everything
        self.consumers: list[Consumer] = []
        self.refuses = False  # as one that is full, with reject-publish

    def takes(self) -> bool:
        """Whether it would confirm a message."""
        most = self._arguments.get("x-max-length")
        rejects = self._arguments.get("x-overflow") == "reject-publish"
        return not self.refuses and not (rejects and most is not None and len(self.ready) >= most)

    def put(self, stored: Stored) -> None:
        """Append a message."""
        if self.is_stream:
            self.stored.append(stored)
        else:
            self.ready.append(stored)
            most = self._arguments.get("x-max-length")
            while most is not None and len(self.ready) > most:
                self.ready.popleft()
            if (ttl := self._arguments.get("x-message-ttl")) is not None:
                loop = asyncio.get_running_loop()
                loop.call_at(loop.time() + ttl / 1000, self._expire, stored, context=WIRE)
        self.deliver()

    def put_back(self, returned: list[Stored]) -> None:
        """Take back what a consumer did not settle, in order, before all others."""
        for stored in reversed(returned):
            stored.delivery_count += 1
            if stored.delivery_count > self._arguments.get("x-delivery-limit", 20):
                self._dead_letter(stored, "delivery_limit")
            else:
                self.ready.appendleft(stored)

    def deliver(self) -> None:
        """Give what is ready to the consumers that have room; with a single active consumer, to the first alone."""
        if self.is_stream:
            for consumer in self.consumers:
                self._deliver_stream(consumer)
            return
        single = self._arguments.get("x-single-active-consumer", False)
        while self.ready:
            able = [c for c in (self.consumers[:1] if single else self.consumers) if c.has_room]
            if not able:
                return
            consumer = able[0]
            if not single:  # in turns
                self.consumers.remove(consumer)
                self.consumers.append(consumer)
            consumer.channel.deliver(consumer, self.ready.popleft())

    def reject(self, stored: Stored) -> None:
        """A consumer leaves a message to the broker."""
        self._dead_letter(stored, "rejected")

    def _deliver_stream(self, consumer: Consumer) -> None:
        assert consumer.offset is not None
        while consumer.offset < len(self.stored) and consumer.has_room:
            stored = self.stored[consumer.offset]
            message = msgspec.structs.replace(
                stored.message, headers={**stored.message.headers, "x-stream-offset": consumer.offset}
            )
            consumer.offset += 1
            consumer.channel.deliver(consumer, msgspec.structs.replace(stored, message=message))

    def _expire(self, stored: Stored) -> None:
        if any(each is stored for each in self.ready):
            self.ready = deque(each for each in self.ready if each is not stored)
            self._dead_letter(stored, "expired")

    def _dead_letter(self, stored: Stored, reason: str) -> None:
        exchange = self._arguments.get("x-dead-letter-exchange")
        if exchange is None or stored.hops >= MAX_HOPS:
            return
        key = self._arguments.get("x-dead-letter-routing-key", stored.message.routing_key)
        headers = dict(stored.message.headers)
        death = {"queue": self.name, "reason": reason, "count": 1}
        if reason != "expired":
            headers["x-death"] = [death, *headers.get("x-death", [])]
        again = msgspec.structs.replace(stored.message, exchange=exchange, routing_key=key, headers=headers)
        verdict = self._broker.route(again, hops=stored.hops + 1)
        if verdict != "ack" and self._arguments.get("x-dead-letter-strategy") == "at-least-once":
            asyncio.get_running_loop().call_later(DEAD_LETTER_AGAIN_SECONDS, self._dead_letter, stored, reason)


class SimulatedBroker:
    """The broker.

    Attributes:
        queues: by name.
        is_frozen: it neither reads nor answers; what is sent waits.
        blocks: a memory or disk alarm: it reads no publishes.
        max_message_bytes: of a body.
    """

    def __init__(self, chance: Chances) -> None:
        self.chance = chance
        self.queues: dict[str, SimulatedQueue] = {}
        self.max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES
        self.is_frozen = False
        self.blocks = False
        self._exchanges: dict[str, tuple[str, Mapping[str, Any]]] = {"": ("default", {})}
        self._bindings: list[tuple[str, str, str, str]] = []
        self._waiting: deque[Callable[[], None]] = deque()
        self._blocked: deque[Callable[[], None]] = deque()

    def declare(self, topology: Topology) -> None:
        """Everything of a topology, with the first messages of new queues."""
        new = {queue.name for queue in topology.queues if queue.name not in self.queues}
        for exchange in topology.exchanges:
            self._exchanges[exchange.name] = (exchange.kind, exchange.arguments)
        for queue in topology.queues:
            if queue.name in new:
                self.queues[queue.name] = SimulatedQueue(queue.name, queue.arguments, self)
        for binding in topology.bindings:
            self.bind(binding.exchange, binding.destination, binding.routing_key, kind=binding.kind)
        for first in topology.beginnings:
            if new.issuperset(first.queues):
                self.route(
                    Outgoing(
                        exchange=first.exchange,
                        routing_key=first.routing_key,
                        body=first.body,
                        message_id="first",
                        headers={},
                        content_type=first.content_type,
                    )
                )

    def declare_exchange(self, name: str, kind: str) -> None:
        """An exchange."""
        self._exchanges[name] = (kind, {})

    def declare_queue(self, name: str, arguments: Mapping[str, Any]) -> SimulatedQueue:
        """A queue."""
        return self.queues.setdefault(name, SimulatedQueue(name, arguments, self))

    def bind(self, exchange: str, destination: str, routing_key: str, *, kind: str = "queue") -> None:
        """A binding."""
        if (exchange, destination, routing_key, kind) not in self._bindings:
            self._bindings.append((exchange, destination, routing_key, kind))

    def handle(self, action: Callable[[], None]) -> None:
        """Something has come over a wire."""
        if self.is_frozen:
            self._waiting.append(action)
        else:
            action()

    def handle_publish(self, action: Callable[[], None]) -> None:
        """A publish has come over a wire."""
        if self.blocks:
            self._blocked.append(action)
        else:
            self.handle(action)

    def thaw(self) -> None:
        """Go on where it stood still."""
        self.is_frozen = False
        waiting, self._waiting = self._waiting, deque()
        for action in waiting:
            action()

    def unblock(self) -> None:
        """The alarm is over."""
        self.blocks = False
        blocked, self._blocked = self._blocked, deque()
        for action in blocked:
            self.handle(action)

    def route(self, message: Outgoing, *, hops: int = 0) -> str:
        """Put a message into every queue it goes to: `ack`, `nack` (a queue refused it), `return` or `no exchange`.

        As RabbitMQ does it: a queue that refuses makes the publish a nack, and the other queues have it all the same.
        """
        if message.exchange not in self._exchanges:
            return "no exchange"
        names = self._destinations(message.exchange, message.routing_key, frozenset())
        if not names:
            return "return"
        refused = False
        for name in names:
            if self.queues[name].takes():
                self.queues[name].put(Stored(message, hops=hops))
            else:
                refused = True
        return "nack" if refused else "ack"

    def _destinations(self, exchange: str, key: str, seen: frozenset[str]) -> dict[str, None]:
        if exchange in seen:
            return {}
        if exchange == "":
            return {key: None} if key in self.queues else {}
        kind, arguments = self._exchanges[exchange]
        found: dict[str, None] = {}
        for source, destination, bound, what in self._bindings:
            if source != exchange or not (
                kind == "fanout" or (bound == key if kind == "direct" else matches(bound, key))
            ):
                continue
            if what == "exchange":
                found |= self._destinations(destination, key, seen | {exchange})
            elif destination in self.queues:
                found[destination] = None
        alternate = arguments.get("alternate-exchange")
        if not found and alternate in self._exchanges:
            return self._destinations(alternate, key, seen | {exchange})
        return found


class SimulatedChannel:
    """A channel: the part of aiormq's that `BrokerSubscription` uses."""

    def __init__(self, link: "SimulatedLink") -> None:
        self._link = link
        self._deliver_to: dict[str, Callable[[DeliveredMessage], Awaitable[None]]] = {}
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_consumer_cancel_callbacks: set[Callable[[Any], Any]] = set()
        self.prefetch = 0
        self.unsettled: dict[int, tuple[Consumer, Stored]] = {}
        self._tags = itertools.count(1)
        self._consumers: list[Consumer] = []
        self.is_open = True

    async def basic_qos(self, *, prefetch_count: int) -> None:
        """As AMQP's."""

        def set_prefetch() -> None:
            self.prefetch = prefetch_count

        await self._ask(set_prefetch)

    async def basic_consume(
        self,
        queue: str,
        deliver: Callable[[DeliveredMessage], Awaitable[None]],
        *,
        arguments: Mapping[str, Any] | None = None,
    ) -> spec.Basic.ConsumeOk:
        """As AMQP's."""
        tag = f"ctag-{next(self._link.numbers)}"
        self._deliver_to[tag] = deliver

        def consume() -> None:
            found = self._link.broker.queues.get(queue)
            if found is None:
                raise aiormq.exceptions.ChannelNotFoundEntity(f"no queue '{queue}'")
            start = (arguments or {}).get("x-stream-offset", "next")
            offset = start if isinstance(start, int) else 0 if start == "first" else len(found.stored)
            consumer = Consumer(found, self, tag, offset if found.is_stream else None)
            self._consumers.append(consumer)
            found.consumers.append(consumer)
            asyncio.get_running_loop().call_soon(found.deliver, context=WIRE)

        await self._ask(consume)
        return spec.Basic.ConsumeOk(consumer_tag=tag)

    async def basic_cancel(self, tag: str) -> None:
        """As AMQP's: what is unsettled stays so."""

        def cancel() -> None:
            for consumer in [c for c in self._consumers if c.tag == tag]:
                self._consumers.remove(consumer)
                consumer.queue.consumers.remove(consumer)
                consumer.queue.deliver()

        await self._ask(cancel)

    def deliver(self, consumer: Consumer, stored: Stored) -> None:
        """The broker sends a delivery."""
        tag = next(self._tags)
        self.unsettled[tag] = (consumer, stored)
        headers = dict(stored.message.headers)
        if stored.delivery_count:
            headers["x-delivery-count"] = stored.delivery_count
        frame = DeliveredMessage(
            delivery=spec.Basic.Deliver(
                consumer.tag, tag, stored.delivery_count > 0, stored.message.exchange, stored.message.routing_key
            ),
            header=ContentHeader(properties=_properties(stored.message, headers)),
            body=stored.message.body,
            channel=None,  # type: ignore[arg-type]  # nobody asks for it
        )
        self._link.inwards.send(partial(self._arrived, consumer.tag, frame))

    def settle(self, tag: int, *, multiple: bool) -> None:
        """An ack has come to the broker."""
        settled = [each for each in self.unsettled if each == tag or (multiple and each <= tag)]
        queues = dict.fromkeys(self.unsettled.pop(each)[0].queue for each in settled)
        for queue in queues:
            queue.deliver()

    def rejected(self, tag: int) -> None:
        """A reject has come to the broker."""
        if (found := self.unsettled.pop(tag, None)) is not None:
            consumer, stored = found
            consumer.queue.reject(stored)
            consumer.queue.deliver()

    def ended(self) -> None:
        """The broker closes the channel, and takes back what is unsettled, in order."""
        if not self.is_open:
            return
        self.is_open = False
        for consumer in self._consumers:
            consumer.queue.consumers.remove(consumer)
        by_queue: dict[SimulatedQueue, list[Stored]] = {c.queue: [] for c in self._consumers}
        for consumer, stored in self.unsettled.values():
            by_queue.setdefault(consumer.queue, []).append(stored)
        self.unsettled.clear()
        for queue, stored_ones in by_queue.items():
            if not queue.is_stream:
                queue.put_back(stored_ones)
            queue.deliver()

    def lost(self) -> None:
        """Our end hears that the channel is gone."""
        if not self.closing.done():
            self.closing.set_result(None)

    def _arrived(self, consumer_tag: str, frame: DeliveredMessage) -> None:
        self._link.in_process(self._deliver_to[consumer_tag](frame))

    async def _ask(self, action: Callable[[], None]) -> None:
        """Ask the broker, and return once it has answered; an error of the broker closes the channel."""
        if self.closing.done() or not self._link.is_up:
            raise aiormq.exceptions.ChannelInvalidStateError("the channel is closed")
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(error: Exception | None) -> None:
            if not answer.done():
                answer.set_result(None) if error is None else answer.set_exception(error)

        def asked() -> None:
            error: Exception | None = None
            try:
                action()
            except aiormq.exceptions.AMQPError as refusal:
                error = refusal
                self.ended()
            self._link.inwards.send(partial(answered, error))

        self._link.outwards.send(partial(self._link.broker.handle, asked))
        await asyncio.wait([answer, self.closing], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise aiormq.exceptions.ChannelInvalidStateError("the channel is closed")
        answer.result()


class SimulatedSender:
    """The way out over a channel: what `BrokerSubscription` uses of `Sender`."""

    def __init__(self, link: "SimulatedLink") -> None:
        self._link = link
        self.channel = SimulatedChannel(link)
        self._closes = False

    @property
    def is_closed(self) -> bool:
        """Nothing may be sent any more."""
        return self._closes or self.channel.closing.done()

    def ack(self, tag: int, *, multiple: bool) -> None:
        """As AMQP's."""
        self._send(partial(self.channel.settle, tag, multiple=multiple))

    def reject(self, tag: int) -> None:
        """As AMQP's, without requeue."""
        self._send(partial(self.channel.rejected, tag))

    async def close(self, *, name: str) -> None:
        """Close the channel behind what was sent before."""
        del name
        self._closes = True
        self._send(self.channel.ended)
        self.channel.lost()

    def _send(self, action: Callable[[], None]) -> None:
        self._link.outwards.send(partial(self._link.broker.handle, action))


class SimulatedLink:
    """A connection of one process: the ports `Publishes` and `Subscribes`, and `take` for batons.

    Args:
        broker: where it leads.
        start: runs a coroutine in the process that has the connection.
    """

    def __init__(self, broker: SimulatedBroker, *, start: Callable[[Any], Any] = asyncio.ensure_future) -> None:
        self.broker, self.in_process = broker, start
        self.numbers = itertools.count(1)
        self._channels: list[SimulatedChannel] = []
        self._lost = asyncio.Event()
        self._ready = asyncio.Event()
        self.connect()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._ready.is_set()

    def connect(self) -> None:
        """A new connection."""
        self.outwards, self.inwards = Wire(self.broker.chance), Wire(self.broker.chance)
        self._lost = asyncio.Event()
        self._ready.set()

    def cut(self, *, heard_after: float = 0.0, back_after: float = RECONNECT_SECONDS) -> None:
        """Cut the connection: the broker hears of it at once, our end after some seconds (a heartbeat's time)."""
        if self.outwards.is_cut:
            return
        loop = asyncio.get_running_loop()
        self.outwards.is_cut = self.inwards.is_cut = True
        for channel in self._channels:
            channel.ended()
        loop.call_later(heard_after, self._hear_of_it, context=WIRE)
        loop.call_later(heard_after + back_after, self.connect, context=WIRE)

    def end(self) -> None:
        """The process is gone: what it has sent still arrives, and then the broker sees the connection's end."""
        self.inwards.is_cut = True
        for channel in self._channels:
            self.outwards.send(partial(self.broker.handle, channel.ended))

    async def wait_ready(self) -> None:
        """As the port says."""
        await self._ready.wait()

    async def ready(self, queue: str) -> int:
        """As the port says."""
        found = await self._asked(lambda: len(self.broker.queues[queue].ready))
        return int(found)

    async def take(self, queue: str) -> bytes | None:
        """Take the oldest message out of a queue.

        Raises:
            BrokerUnavailable: there is no broker, or no such queue.
        """

        def pop() -> bytes | None:
            ready = self.broker.queues[queue].ready
            return ready.popleft().message.body if ready else None

        body: bytes | None = await self._asked(pop)
        return body

    def subscribe(
        self,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        arguments: Mapping[str, Any] | None = None,
        publishes: bool = False,
        max_bytes: int = 2**62,
    ) -> BrokerSubscription:
        """As the port says: the real subscription, on a simulated channel."""
        return BrokerSubscription(
            self,  # type: ignore[arg-type]  # a simulated sender
            queue,
            prefetch=prefetch,
            on_delivery=on_delivery,
            arguments=arguments,
            publishes=publishes,
            max_bytes=max_bytes,
        )

    async def open_sender(self, *, confirms: bool = True) -> SimulatedSender:
        """A channel of the caller's own."""
        del confirms
        if not self.is_up:
            raise BrokerUnavailable("not connected")
        sender = SimulatedSender(self)
        self._channels.append(sender.channel)
        return sender

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """As the port says."""
        if len(message.body) > self.broker.max_message_bytes:
            raise TooLarge(f"{len(message.body)} bytes; the broker takes at most {self.broker.max_message_bytes}")
        try:
            async with asyncio.timeout(within):
                await self._ready.wait()
                verdict = await self._published(message)
        except TimeoutError:
            raise ConfirmTimedOut(f"not confirmed within {within:g} s") from None
        match verdict:
            case "nack":
                raise PublishRefused(f"a queue behind {message.exchange} refused it")
            case "return":
                raise Unroutable(f"no queue is bound for {message.routing_key}")
            case "no exchange":
                raise PublishUnconfirmed(f"no exchange '{message.exchange}'")
            case "lost":
                raise PublishUnconfirmed("the connection was lost")

    async def _published(self, message: Outgoing) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def confirmed(verdict: str) -> None:
            if not answer.done():
                answer.set_result(verdict)

        def arrived() -> None:
            verdict = self.broker.route(message)
            self.inwards.send(partial(confirmed, verdict))

        self.outwards.send(partial(self.broker.handle_publish, arrived))
        lost = asyncio.ensure_future(self._lost.wait())
        either: list[asyncio.Future[Any]] = [answer, lost]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        return answer.result() if answer.done() else "lost"

    async def _asked(self, action: Callable[[], Any]) -> Any:
        """Ask the broker something.

        Raises:
            BrokerUnavailable: it does not answer within 5 s, or cannot.
        """
        if not self.is_up:
            raise BrokerUnavailable("not connected")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def asked() -> None:
            try:
                found = action()
            except KeyError as error:
                self.inwards.send(partial(_fail, answer, BrokerUnavailable(f"no queue {error}")))
            else:
                self.inwards.send(partial(_set, answer, found))

        self.outwards.send(partial(self.broker.handle, asked))
        try:
            async with asyncio.timeout(5):
                return await answer
        except TimeoutError:
            raise BrokerUnavailable("the broker does not answer") from None

    def _hear_of_it(self) -> None:
        self._ready.clear()
        self._lost.set()
        for channel in self._channels:
            channel.lost()
        self._channels.clear()


def _set(answer: "asyncio.Future[Any]", found: Any) -> None:
    if not answer.done():
        answer.set_result(found)


def _fail(answer: "asyncio.Future[Any]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _properties(message: Outgoing, headers: Mapping[str, Any]) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        message_id=message.message_id,
        headers=dict(headers),
        delivery_mode=2,
    )
