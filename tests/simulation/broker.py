"""A simulated RabbitMQ: exchanges, quorum queues, streams, confirms, consumers; what TRAPS and measurements know of it.

It stands at the seam below `BrokerSubscription`: the real code of acks, byte counts and closing runs on its channels.
All that arrives anywhere comes over a wire, in order, after a delay that the world's chance decides.
"""

import asyncio
import itertools
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from random import Random
from typing import Any, TypeVar

import aiormq.exceptions
import msgspec
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec
from pamqp.header import ContentHeader

from tests.simulation.management import SimulatedConnection
from tests.simulation.virtual_time import WIRE
from zenoti_ingest.adapters.broker.library import CLOSE_SECONDS, rim
from zenoti_ingest.adapters.broker.link import LinkState
from zenoti_ingest.adapters.broker.subscription import BrokerSubscription
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES, SizeBudget
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.events.routing import matches
from zenoti_ingest.core.failures.errors import (
    BrokerUnavailable,
    ConfirmTimedOut,
    PublishRefused,
    PublishUnconfirmed,
    Unroutable,
)
from zenoti_ingest.core.topology.declared import Topology
from zenoti_ingest.core.topology.permissions import Rights

MAX_DELAY_SECONDS = 0.02
TICK_SECONDS = 2e-6  # between two arrivals: timers of one moment fire in any order
RECONNECT_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
CANCELS_LATE_CONSUMERS = (4, 3)  # from this release on; earlier ones close the channel
DEAD_LETTER_AGAIN_SECONDS = 1.0  # at least once: the broker keeps the message until its target takes it
MAX_HOPS = 16  # of a message that is dead-lettered in a circle
UNIX_SECONDS = 1_935_853_690  # of the broker's clock when the event loop's is at 0
AGE_UNITS = {"s": 1, "m": 60, "h": 3600, "D": 86_400}

R = TypeVar("R")


class Stored(msgspec.Struct):
    """A message in a queue."""

    message: Outgoing
    delivery_count: int = 0
    hops: int = 0


class Wire:
    """One direction of a connection: what is sent arrives in order, and waits there while nobody reads.

    Args:
        chance: how long it takes.
        unread: whether the other end does not read now; it is told whether the next thing is a publish.
    """

    def __init__(self, chance: "Chances", unread: Callable[[bool], bool] = lambda _: False) -> None:
        self._chance, self._unread = chance, unread
        self._last = 0.0
        self._waiting: deque[tuple[Callable[[], None], bool]] = deque()
        self.is_cut = False

    @property
    def is_waited_for(self) -> bool:
        """Whether something has arrived that is not read yet."""
        return bool(self._waiting)

    def send(self, callback: Callable[[], None], *, is_publish: bool = False) -> None:
        """Call it at the other end, a little later; never, if the wire is cut by then."""
        loop = asyncio.get_running_loop()
        self._last = max(self._last + TICK_SECONDS, loop.time() + self._chance.delay())
        loop.call_at(self._last, self._arrive, callback, is_publish, context=WIRE)

    def after_all(self, callback: Callable[[], None]) -> None:
        """Call it at the other end once that has read all that has arrived."""
        if self._waiting or self._unread(False):
            self._waiting.append((callback, False))
        else:
            callback()

    def break_off(self) -> None:
        """Nothing of what is under way arrives any more."""
        self.is_cut = True
        self._waiting.clear()

    def go_on(self) -> None:
        """The other end may read again."""
        while self._waiting and not self._unread(self._waiting[0][1]):
            self._waiting.popleft()[0]()

    def _arrive(self, callback: Callable[[], None], is_publish: bool) -> None:  # noqa: FBT001  # a timer's argument
        if self.is_cut:
            return
        if self._waiting or self._unread(is_publish):
            self._waiting.append((callback, is_publish))
        else:
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
        self.stored_at: list[float] = []
        self.consumers: list[Consumer] = []
        self.ready_bytes = 0
        self._reader: Callable[[Stored], None] | None = None
        self.refuses = False  # as one that is full, with reject-publish
        self.is_deleted = False
        self.holder, self.held_since = "", 0.0  # with a single active consumer: its process, and since when

    @property
    def arguments(self) -> Mapping[str, Any]:
        """As it was declared."""
        return self._arguments

    def delete(self) -> None:
        """With all that it holds; its consumers hear of it."""
        self.is_deleted = True
        self.ready.clear()
        self.stored.clear()
        consumers, self.consumers = self.consumers, []
        for consumer in consumers:
            consumer.channel.cancelled(consumer)

    def offset_of(self, start: Any) -> int:
        """Where a consumer of a stream begins: an offset, `first`, `last`, `next`, a time, or an age (`15s`)."""
        end = len(self.stored)
        if isinstance(start, int):
            return start
        if isinstance(start, datetime):
            return self._first_from(start.timestamp() - UNIX_SECONDS)
        named = {"first": 0, "last": max(0, end - 1), "next": end}.get(start)
        if named is not None:
            return named
        return self._first_from(asyncio.get_running_loop().time() - int(start[:-1]) * AGE_UNITS[start[-1]])

    def _first_from(self, time: float) -> int:
        """The first message that came then or later; its chunk begins with it."""
        return bisect_left(self.stored_at, time)

    def takes(self, size: int) -> bool:
        """Whether it would confirm a message of so many bytes."""
        rejects = self._arguments.get("x-overflow") == "reject-publish"
        return not self.refuses and not (rejects and self._is_over(more=1, more_bytes=size))

    def put(self, stored: Stored) -> None:
        """Append a message."""
        if self.is_stream:
            self.stored.append(stored)
            self.stored_at.append(asyncio.get_running_loop().time())
        else:
            self._append(stored)
            while self.ready and self._is_over():
                self.take()
            if (ttl := self._arguments.get("x-message-ttl")) is not None:
                loop = asyncio.get_running_loop()
                loop.call_at(loop.time() + ttl / 1000, self._expire, stored, context=WIRE)
        self.deliver()

    def put_back(self, returned: list[Stored]) -> None:
        """Take back what a consumer did not settle, in order, before all others."""
        if self.is_deleted:
            return
        for stored in reversed(returned):
            stored.delivery_count += 1
            if stored.delivery_count > self._arguments.get("x-delivery-limit", 20):
                self._dead_letter(stored, "delivery_limit")
            else:
                self._broker.returns[stored.message.message_id] += 1
                self.ready.appendleft(stored)
                self.ready_bytes += len(stored.message.body)

    def take(self) -> Stored:
        """Take the oldest message that is ready."""
        stored = self.ready.popleft()
        self.ready_bytes -= len(stored.message.body)
        return stored

    def deliver(self) -> None:
        """Give what is ready to the consumers that have room; with a single active consumer, to the first alone."""
        if self.is_stream:
            for consumer in self.consumers:
                self._deliver_stream(consumer)
            return
        while self.ready and self._reader is not None:
            self._reader(self.take())
        single = self._arguments.get("x-single-active-consumer", False)
        while self.ready:
            able = [c for c in (self.consumers[:1] if single else self.consumers) if c.has_room]
            if not able:
                return
            consumer = able[0]
            if single and consumer.channel.process_name != self.holder:
                self.holder, self.held_since = consumer.channel.process_name, asyncio.get_running_loop().time()
            if not single:  # in turns
                self.consumers.remove(consumer)
                self.consumers.append(consumer)
            consumer.channel.deliver(consumer, self.take())

    def read_by(self, reader: Callable[[Stored], None]) -> None:
        """Somebody takes every message as soon as it is there: a receiver."""
        self._reader = reader
        self.deliver()

    def reject(self, stored: Stored) -> None:
        """A consumer leaves a message to the broker."""
        self._dead_letter(stored, "rejected")

    def _append(self, stored: Stored) -> None:
        self.ready.append(stored)
        self.ready_bytes += len(stored.message.body)

    def _is_over(self, *, more: int = 0, more_bytes: int = 0) -> bool:
        most, most_bytes = self._arguments.get("x-max-length"), self._arguments.get("x-max-length-bytes")
        return (most is not None and len(self.ready) + more > most) or (
            most_bytes is not None and self.ready_bytes + more_bytes > most_bytes
        )

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
            self.ready_bytes -= len(stored.message.body)
            self._dead_letter(stored, "expired")

    def _dead_letter(self, stored: Stored, reason: str) -> None:
        exchange = self._arguments.get("x-dead-letter-exchange")
        if self.is_deleted or exchange is None or stored.hops >= MAX_HOPS:
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
    """The broker: a cluster.

    Args:
        chance: its draws.
        release: of RabbitMQ; what it does depends on it.
        nodes: how many.
        notice: told of what happens: a word, and the rest of a line.

    Attributes:
        queues: by name.
        links: the connections.
        blocks: a memory or disk alarm: once a publish has come over a connection, nothing more of it is read.
        max_message_bytes: of a body.
        confirm_seconds: how late a confirm may be at most.
        consumer_timeout_seconds: how long a delivery may be unsettled.
        returns: how often a delivery came back unsettled, by message id.
        doubts: how often a publish was taken whose confirm nobody heard, by message id.
        refusals: how often a publish was refused, and perhaps taken by other queues all the same, by message id.
        too_much_in_hand: by queue, the bytes of several bodies that a consumer had in hand, if they exceeded its bound.
    """

    def __init__(
        self,
        chance: Chances,
        *,
        release: tuple[int, int] = (4, 3),
        nodes: int = 1,
        notice: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self.chance, self.release, self.nodes, self.notice = chance, release, nodes, notice
        self.queues: dict[str, SimulatedQueue] = {}
        self.links: list[SimulatedLink] = []
        self.max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES
        self.confirm_seconds = 0.0
        self.consumer_timeout_seconds = 1800.0
        self.returns: Counter[str] = Counter()
        self.doubts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.too_much_in_hand: dict[str, int] = {}
        self.frozen: set[int] = set()
        self.blocks = False
        self._exchanges: dict[str, tuple[str, Mapping[str, Any]]] = {"": ("default", {})}
        self._bindings: list[tuple[str, str, str, str]] = []
        self._auto_delete: set[str] = set()

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

    def declare_exchange(
        self, name: str, kind: str, arguments: Mapping[str, Any] | None = None, *, auto_delete: bool = False
    ) -> None:
        """An exchange; with `auto_delete` it goes with the last binding from it."""
        self._exchanges[name] = (kind, arguments or {})
        if auto_delete:
            self._auto_delete.add(name)

    def exchange(self, name: str) -> tuple[str, Mapping[str, Any], bool] | None:
        """Kind, arguments and auto-delete of an exchange; None: there is none."""
        found = self._exchanges.get(name)
        return None if found is None else (*found, name in self._auto_delete)

    @property
    def exchanges(self) -> list[str]:
        """Their names."""
        return list(self._exchanges)

    @property
    def bindings(self) -> list[tuple[str, str, str, str]]:
        """Exchange, destination, routing key and kind of the destination."""
        return list(self._bindings)

    def delete_queue(self, name: str) -> int:
        """Delete a queue, if it is there, with its bindings; return how many messages were ready in it."""
        found = self.queues.pop(name, None)
        if found is None:
            return 0
        count = len(found.ready)
        found.delete()
        self._drop([each for each in self._bindings if each[1] == name and each[3] == "queue"])
        return count

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange, if it is there, with its bindings."""
        self._exchanges.pop(name, None)
        self._auto_delete.discard(name)
        self._drop([each for each in self._bindings if each[0] == name or (each[1] == name and each[3] == "exchange")])

    def unbind(self, exchange: str, destination: str, routing_key: str, *, kind: str = "queue") -> None:
        """Remove a binding, if it is there."""
        self._drop([each for each in self._bindings if each == (exchange, destination, routing_key, kind)])

    def _drop(self, gone: list[tuple[str, str, str, str]]) -> None:
        self._bindings = [each for each in self._bindings if each not in gone]
        for exchange in dict.fromkeys(each[0] for each in gone):
            if exchange in self._auto_delete and not any(each[0] == exchange for each in self._bindings):
                self.delete_exchange(exchange)

    def declare_queue(self, name: str, arguments: Mapping[str, Any]) -> SimulatedQueue:
        """A queue."""
        return self.queues.setdefault(name, SimulatedQueue(name, arguments, self))

    def bind(self, exchange: str, destination: str, routing_key: str, *, kind: str = "queue") -> None:
        """A binding."""
        if (exchange, destination, routing_key, kind) not in self._bindings:
            self._bindings.append((exchange, destination, routing_key, kind))

    def freeze(self, node: int) -> None:
        """A node neither reads nor answers; the other ends of its connections hear nothing, and give them up."""
        self.frozen.add(node)
        for link in list(self.links):
            if link.node == node and link.is_up:
                link.hears_nothing()

    def thaw(self, node: int) -> None:
        """Go on where it stood still."""
        self.frozen.discard(node)
        self._go_on()

    def leaves_unread(self, node: int, is_publish: bool) -> bool:  # noqa: FBT001  # a wire asks so
        """Whether a node does not read what comes next over a connection."""
        return node in self.frozen or (is_publish and self.blocks)

    def unblock(self) -> None:
        """The alarm is over."""
        self.blocks = False
        self._go_on()

    def sweep(self) -> None:
        """Deal with consumers that hold a delivery for too long, as the broker does now and then."""
        before = asyncio.get_running_loop().time() - self.consumer_timeout_seconds
        for link in list(self.links):
            for channel in list(link.channels):
                channel.end_late_consumers(before, by_cancelling=self.release >= CANCELS_LATE_CONSUMERS)

    def _go_on(self) -> None:
        for link in list(self.links):
            for wire in list(link.wires):
                wire.go_on()

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
            if self.queues[name].takes(len(message.body)):
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
        self.inwards, self.outwards = link.inwards, link.outwards
        self._deliver_to: dict[str, Callable[[DeliveredMessage], Awaitable[None]]] = {}
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_consumer_cancel_callbacks: set[Callable[[Any], Any]] = set()
        self.prefetch = 0
        self.unsettled: dict[int, tuple[Consumer, Stored, float]] = {}
        self._tags = itertools.count(1)
        self._consumers: list[Consumer] = []
        self.is_open = True
        self._answers: dict[asyncio.Future[Any], None] = {}  # awaited

    @property
    def process_name(self) -> str:
        """Whose channel it is."""
        return self._link.name

    async def basic_qos(self, *, prefetch_count: int) -> None:
        """As AMQP's."""

        def set_prefetch() -> None:
            self.prefetch = prefetch_count

        await self.ask(set_prefetch)

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
            offset = found.offset_of((arguments or {}).get("x-stream-offset", "next"))
            consumer = Consumer(found, self, tag, offset if found.is_stream else None)
            self._consumers.append(consumer)
            found.consumers.append(consumer)
            asyncio.get_running_loop().call_soon(found.deliver, context=WIRE)

        await self.ask(consume)
        return spec.Basic.ConsumeOk(consumer_tag=tag)

    async def basic_cancel(self, tag: str) -> None:
        """As AMQP's: what is unsettled stays so."""

        def cancel() -> None:
            for consumer in [c for c in self._consumers if c.tag == tag]:
                self._consumers.remove(consumer)
                consumer.queue.consumers.remove(consumer)
                consumer.queue.deliver()

        await self.ask(cancel)

    def deliver(self, consumer: Consumer, stored: Stored) -> None:
        """The broker sends a delivery."""
        tag = next(self._tags)
        self.unsettled[tag] = (consumer, stored, asyncio.get_running_loop().time())
        self._link.broker.notice(
            "delivered", f"{stored.message.message_id} of {consumer.queue.name} to {self._link.name}"
        )
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
        self.inwards.send(partial(self._arrived, consumer.tag, frame))

    def settle(self, tag: int, *, multiple: bool) -> None:
        """An ack has come to the broker."""
        settled = [each for each in self.unsettled if each == tag or (multiple and each <= tag)]
        queues = dict.fromkeys(self.unsettled.pop(each)[0].queue for each in settled)
        for queue in queues:
            if not queue.is_stream:
                self._link.broker.notice("acked", f"{tag} of {queue.name} by {self._link.name}")
            queue.deliver()

    def rejected(self, tag: int) -> None:
        """A reject has come to the broker."""
        if (found := self.unsettled.pop(tag, None)) is not None:
            consumer, stored, _ = found
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
        for consumer, stored, _ in self.unsettled.values():
            by_queue.setdefault(consumer.queue, []).append(stored)
        self.unsettled.clear()
        for queue, stored_ones in by_queue.items():
            if not queue.is_stream:
                queue.put_back(stored_ones)
            queue.deliver()

    def end_late_consumers(self, before: float, *, by_cancelling: bool) -> None:
        """End what holds a delivery since before a time: the channel, or from 4.3 on the consumer alone."""
        late = [consumer for consumer, _, since in self.unsettled.values() if since < before]
        if not late or not self.is_open:
            return
        self._link.broker.notice("consumer time-out", late[0].queue.name)
        if by_cancelling:
            for consumer in dict.fromkeys(late):
                self.cancel(consumer)
        else:
            self.close_by_broker()

    def close_by_broker(self) -> None:
        """The broker closes the channel by itself."""
        self.ended()
        self.inwards.send(self.lost)

    def cancel(self, consumer: Consumer) -> None:
        """The broker cancels a consumer, and takes back what that has not settled."""
        self._consumers.remove(consumer)
        consumer.queue.consumers.remove(consumer)
        held = {tag: stored for tag, (whose, stored, _) in self.unsettled.items() if whose is consumer}
        for tag in held:
            del self.unsettled[tag]
        consumer.queue.put_back(list(held.values()))
        consumer.queue.deliver()
        self._say_cancelled(consumer)

    def cancelled(self, consumer: Consumer) -> None:
        """The broker ends a consumer, whose queue is gone; the channel stays, and so does what is unsettled."""
        self._consumers.remove(consumer)
        self._say_cancelled(consumer)

    def _say_cancelled(self, consumer: Consumer) -> None:
        def heard() -> None:
            self._deliver_to.pop(consumer.tag, None)
            for callback in list(self.on_consumer_cancel_callbacks):
                callback(spec.Basic.Cancel(consumer_tag=consumer.tag))

        self.inwards.send(partial(self._link.in_process, _call(heard)))

    def lost(self) -> None:
        """Our end hears that the channel is gone."""
        if not self.closing.done():
            self.closing.set_result(None)
        for answer in list(self._answers):
            _fail(answer, aiormq.exceptions.ChannelInvalidStateError("the channel is closed"))

    def sent(self, answer: "asyncio.Future[str]") -> "asyncio.Future[str]":
        """A publish on this channel: its confirm fails with the channel."""
        self._answers[answer] = None
        answer.add_done_callback(lambda done: self._answers.pop(done, None))
        return answer

    def _arrived(self, consumer_tag: str, frame: DeliveredMessage) -> None:
        if consumer_tag in self._deliver_to:
            self._link.in_process(self._deliver_to[consumer_tag](frame))

    async def ask(self, action: Callable[[], R], *, at_once: bool = False) -> R:
        """Ask the broker, and return its answer; an error of the broker closes the channel.

        Args:
            action: what the broker does.
            at_once: the answer takes no time, which costs less; for channels on which nothing else comes.
        """
        if self.closing.done():
            raise aiormq.exceptions.ChannelInvalidStateError("the channel is closed")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()

        def refused(error: Exception) -> None:
            _fail(answer, error)
            self.lost()

        def asked() -> None:
            if not self.is_open:
                return  # our end hears of the close, which answers
            try:
                found = action()
            except aiormq.exceptions.ChannelClosed as refusal:
                self.ended()
                answered = partial(refused, refusal)
            else:
                answered = partial(_set, answer, found)
            if not at_once:
                self.inwards.send(answered)
            elif not self.inwards.is_cut:
                answered()

        self.outwards.send(asked)
        self._answers[answer] = None
        try:
            return await answer
        except asyncio.CancelledError:  # as aiormq does: the answer could be taken for that of the next question
            self.outwards.send(self.ended)
            self.lost()
            raise
        finally:
            self._answers.pop(answer, None)


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
        """Close the channel behind what was sent before; the caller waits for the answer as long as the real one."""
        del name
        self._closes = True

        def close() -> None:
            self.channel.ended()
            back.send(self.channel.lost)

        back = self.channel.inwards
        self._send(close)
        await asyncio.wait([self.channel.closing], timeout=CLOSE_SECONDS)

    def begin(self, message: Outgoing) -> "tuple[Outgoing, asyncio.Future[str]]":
        """Send a message, behind the acks that were sent before it."""
        if self.is_closed:
            raise PublishUnconfirmed("the channel is closed")
        return message, self.channel.sent(self._link.sent(message))

    async def confirmed(self, sent: "tuple[Outgoing, asyncio.Future[str]]", *, within: float) -> None:
        """As the real sender's."""
        message, answer = sent
        try:
            async with asyncio.timeout(within):
                verdict = await answer
        except TimeoutError:
            self._link.doubt(message)
            raise ConfirmTimedOut(f"not confirmed within {within:g} s") from None
        except aiormq.exceptions.ChannelInvalidStateError:
            verdict = "lost"
        self._link.require_ack(verdict, message)

    def _send(self, action: Callable[[], None]) -> None:
        self.channel.outwards.send(action)


class SimulatedLink:
    """A connection of one process: the ports `Publishes` and `Subscribes`, and `take` for batons.

    Args:
        broker: where it leads.
        start: runs a coroutine in the process that has the connection.
        budget: how large a body may be, of the process.
        node: the broker's node that it connects to first.
        name: of the process, for the trace.
        rights: of its user; None: it may do everything.

    Attributes:
        lost: set once our end has heard that the present connection is gone.
    """

    def __init__(
        self,
        broker: SimulatedBroker,
        *,
        start: Callable[[Any], Any] = asyncio.ensure_future,
        budget: SizeBudget | None = None,
        node: int = 0,
        name: str = "",
        rights: Rights | None = None,
    ) -> None:
        self.rights = rights
        self.broker, self.in_process, self.node, self.name = broker, start, node, name
        self.budget = budget or SizeBudget()
        self.numbers = itertools.count(1)
        self.channels: list[SimulatedChannel] = []
        self.outwards = self.inwards = Wire(broker.chance)
        self.outwards.is_cut = True  # until there is a connection
        self.wires: list[Wire] = []
        self._published: dict[asyncio.Future[str], Outgoing] = {}
        self._away_until = 0.0
        self._has_ended = False
        self.lost = asyncio.Event()
        self._ready = asyncio.Event()
        broker.links.append(self)
        self.connect()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection, as our end sees it."""
        return self._ready.is_set()

    @property
    def state(self) -> LinkState:
        """As the real link's."""
        return LinkState(ready=self.is_up, detail="" if self.is_up else "not connected")

    async def use(self, action: Callable[[Any], Awaitable[R]], *, within: float) -> R:
        """As the real link's."""
        if not self.is_up:
            raise BrokerUnavailable("not connected")
        with rim():
            async with asyncio.timeout(within):
                return await action(SimulatedConnection(self))

    def open_channel(self) -> SimulatedChannel:
        """A channel on the present connection, whether it counts as ready or not."""
        self.channels = [channel for channel in self.channels if channel.is_open]
        self.channels.append(channel := SimulatedChannel(self))
        return channel

    def connect(self) -> None:
        """A new connection, to the next node if this one does not answer; later, while there is no network."""
        if self._has_ended:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._away_until:
            loop.call_at(self._away_until, self.connect, context=WIRE)
            return
        if self.node in self.broker.frozen:
            self.node = (self.node + 1) % self.broker.nodes
            loop.call_later(RECONNECT_SECONDS, self.connect, context=WIRE)
            return
        unread = partial(self.broker.leaves_unread, self.node)
        self.outwards, self.inwards = Wire(self.broker.chance, unread), Wire(self.broker.chance, unread)
        self.wires = [wire for wire in self.wires if wire.is_waited_for] + [self.outwards, self.inwards]
        self.lost = asyncio.Event()
        self._ready.set()
        self.broker.notice("connected", f"{self.name} to node {self.node}")

    def cut(self, *, heard_after: float = 0.0, back_after: float = RECONNECT_SECONDS) -> None:
        """Cut the connection: the broker hears of it at once, our end after some seconds (a heartbeat's time)."""
        loop = asyncio.get_running_loop()
        self._away_until = max(self._away_until, loop.time() + back_after)
        if self.outwards.is_cut:
            return
        self.outwards.is_cut = True
        self.inwards.break_off()
        self._end_channels(self.outwards)
        loop.call_later(heard_after, self._hear_of_it, context=WIRE)
        loop.call_later(heard_after + back_after, self.connect, context=WIRE)

    def hears_nothing(self) -> None:
        """The other end is silent from now on: after some missed heartbeats we give the connection up."""
        silent = self.outwards

        def give_up() -> None:
            if self.outwards is silent and self.node in self.broker.frozen:
                self.cut()

        loop = asyncio.get_running_loop()
        seconds = HEARTBEAT_SECONDS * (1.5 + self.broker.chance.draw())
        loop.call_later(seconds, give_up, context=WIRE)

    def end(self) -> None:
        """The process is gone: what it has sent still arrives, and then the broker sees the connection's end."""
        self._has_ended = True
        self._ready.clear()
        self.inwards.break_off()
        for message in self._published.values():
            self.doubt(message)
        self._published.clear()
        self.outwards.send(self._gone)

    def _gone(self) -> None:
        self._end_channels(self.outwards)

    def _end_channels(self, wire: Wire) -> None:
        """The broker closes the channels, once it has read what has come over the wire."""
        for channel in self.channels:
            wire.after_all(channel.ended)

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
            found = self.broker.queues[queue]
            return found.take().message.body if found.ready else None

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

        async def delivered(delivery: Delivery) -> None:
            in_hand = subscription.bytes_in_hand
            if in_hand > max_bytes and len(subscription.in_hand) > 1:
                self.broker.too_much_in_hand[queue] = max(in_hand, self.broker.too_much_in_hand.get(queue, 0))
            await on_delivery(delivery)

        subscription = BrokerSubscription(
            self,  # type: ignore[arg-type]  # a simulated sender
            queue,
            prefetch=prefetch,
            on_delivery=delivered,
            arguments=arguments,
            publishes=publishes,
            max_bytes=max_bytes,
        )
        return subscription

    async def open_sender(self, *, confirms: bool = True) -> SimulatedSender:
        """A channel of the caller's own."""
        del confirms
        if not self.is_up:
            raise BrokerUnavailable("not connected")
        sender = SimulatedSender(self)
        self.channels = [channel for channel in self.channels if channel.is_open] + [sender.channel]
        return sender

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """As the port says."""
        self.budget.require(len(message.body))
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        try:
            async with asyncio.timeout_at(until):
                await self._ready.wait()
        except TimeoutError:
            raise PublishUnconfirmed(f"not connected (within {within:g} s)") from None
        answer = self.sent(message)
        try:
            async with asyncio.timeout_at(until):
                verdict = await answer
        except TimeoutError:
            self.doubt(message)
            if not self.is_up:
                raise PublishUnconfirmed(f"not connected (within {within:g} s)") from None
            raise ConfirmTimedOut(f"not confirmed within {within:g} s") from None
        finally:
            self._published.pop(answer, None)
        self.require_ack(verdict, message)

    def sent(self, message: Outgoing) -> "asyncio.Future[str]":
        """Send a message; its verdict is that of `SimulatedBroker.route`, or `too large`, or `lost`."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._published[answer] = message
        self.outwards.send(partial(self._came, message, answer, self.inwards), is_publish=True)
        return answer

    def require_ack(self, verdict: str, message: Outgoing) -> None:
        """Raise what the real link raises where a publish was not confirmed."""
        match verdict:
            case "nack":
                self.broker.refusals[message.message_id] += 1
                raise PublishRefused(f"a queue behind {message.exchange} refused it")
            case "return":
                raise Unroutable(f"no queue is bound for {message.routing_key}")
            case "too large":
                self.budget.lower(self.broker.max_message_bytes)
                self.budget.require(len(message.body))
            case "no exchange" | "lost":
                self.doubt(message)
                raise PublishUnconfirmed(f"no exchange '{message.exchange}'" if verdict != "lost" else "it was lost")

    def _came(self, message: Outgoing, answer: "asyncio.Future[str]", back: Wire) -> None:
        """A publish has come to the broker; an error there ends all that are under way to its exchange."""
        is_too_large = len(message.body) > self.broker.max_message_bytes
        verdict = "too large" if is_too_large else self.broker.route(message)
        to = f"{message.exchange or 'the queue'} {message.routing_key}"
        self.broker.notice("published", f"{message.message_id} to {to} by {self.name}: {verdict}")
        if verdict in ("too large", "no exchange"):
            others = [each for each, sent in self._published.items() if sent.exchange == message.exchange]
            for other in [each for each in others if each is not answer]:
                back.send(partial(_set, other, "lost"))
        late = self.broker.confirm_seconds * self.broker.chance.draw()
        if late:
            asyncio.get_running_loop().call_later(late, back.send, partial(_set, answer, verdict), context=WIRE)
        else:
            back.send(partial(_set, answer, verdict))

    def doubt(self, message: Outgoing) -> None:
        """Nobody has heard a confirm of it: it may come again."""
        self.broker.doubts[message.message_id] += 1

    async def _asked(self, action: Callable[[], Any]) -> Any:
        """Ask the broker something.

        Raises:
            BrokerUnavailable: it does not answer within 5 s, or cannot.
        """
        if not self.is_up:
            raise BrokerUnavailable("not connected")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        back = self.inwards

        def asked() -> None:
            try:
                found = action()
            except KeyError as error:
                back.send(partial(_fail, answer, BrokerUnavailable(f"no queue {error}")))
            else:
                back.send(partial(_set, answer, found))

        self.outwards.send(asked)
        try:
            async with asyncio.timeout(5):
                return await answer
        except TimeoutError:
            raise BrokerUnavailable("the broker does not answer") from None

    def _hear_of_it(self) -> None:
        self._ready.clear()
        self.lost.set()
        for answer in list(self._published):
            _set(answer, "lost")
        for channel in self.channels:
            channel.lost()
        self.channels.clear()


async def _call(callback: Callable[[], None]) -> None:
    callback()


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
