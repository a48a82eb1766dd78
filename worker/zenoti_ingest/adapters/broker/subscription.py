"""A consumer on a channel of its own: its deliveries and their acks. It never subscribes again by itself."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import aiormq.abc
from pamqp import commands as spec

from zenoti_ingest.adapters.broker.library import OPEN_CHANNEL_SECONDS, rim
from zenoti_ingest.adapters.broker.sender import Sender
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.telemetry import log

ACKS_REACH_SECONDS = 0.1  # without this pause, acks written just before a close can be lost: redeliveries


class Opens(Protocol):
    """The part of a connection that a subscription needs."""

    async def open_sender(self, *, confirms: bool) -> Sender:
        """Open a channel for the caller alone; return its sender.

        Raises:
            BrokerUnavailable: it could not be opened.
        """


class BrokerSubscription:
    """A consumer, from subscribing to the close of its channel, which returns unsettled deliveries in order.

    `ended` is set when the broker ends it or `fail` is called; its owner then leaves the context and subscribes again.

    Attributes:
        ended: it has ended; deliveries in hand may still be settled while the channel is open.
        leaving: begin nothing new; also set together with `ended`.
        detail: why it ended.
        lost: the channel was lost, alone or with its connection.
        orderly: we ended it, and nothing is wrong.
        by_defect: a defect of ours ended it.
        delivered: the number of deliveries that have come.
        unsettled: delivery tag -> when it came (the event loop's clock), oldest first.
        in_hand: delivery tag -> bytes of its body, for the unsettled deliveries whose body is kept.
        bytes_in_hand: bytes of these bodies together.
        passed_at: how many deliveries were in hand when the next would have exceeded `max_bytes`; 0: that has not
            happened. Then the subscription ends, and keeps no body of later deliveries.
        filled: set whenever `prefetch` deliveries are in hand.
    """

    def __init__(
        self,
        link: Opens,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        arguments: Mapping[str, Any] | None,
        publishes: bool = False,
        max_bytes: int = sys.maxsize,
    ) -> None:
        self._link = link
        self._max_bytes = max_bytes
        self._publishes = publishes
        self._tag: str | None = None
        self._queue = queue
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._arguments = dict(arguments) if arguments else None
        self._sender: Sender | None = None
        self._acks: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._handling: set[asyncio.Task[None]] = set()
        self.unsettled: dict[int, float] = {}
        self.in_hand: dict[int, int] = {}
        self.bytes_in_hand = 0
        self._returned: dict[int, int] = {}
        self.passed_at = 0
        self.filled = asyncio.Event()
        self.delivered = 0
        self._has_all_tags = True
        self.lost = False
        self.orderly = False
        self.by_defect = False
        self._left = False
        self.ended = asyncio.Event()
        self.leaving = asyncio.Event()
        self.detail = ""

    async def __aenter__(self) -> Self:
        """Subscribe.

        Raises:
            BrokerUnavailable: it failed.
        """
        self._sender = await self._link.open_sender(confirms=self._publishes)
        channel = self._sender.channel
        channel.closing.add_done_callback(self._closed)
        channel.on_consumer_cancel_callbacks.add(lambda _: self.fail("the broker cancelled the consumer"))
        try:
            with rim():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    await channel.basic_qos(prefetch_count=self._prefetch)
                    await self._consume(channel)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(f"cannot consume {self._queue}: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the acks reach the broker, then close the channel. A basic.cancel would let a standby consumer start."""
        self._left = True
        if self._sender is None or self._sender.is_closed:
            return
        await asyncio.sleep(ACKS_REACH_SECONDS)
        await self._sender.close(name=self._queue)

    async def handled(self) -> None:
        """Return once every delivery in hand has been handled."""
        while self._handling:
            await asyncio.wait(self._handling)

    def fail(self, detail: str, *, orderly: bool = False, defect: bool = False) -> None:
        """End the subscription; its owner hands back what is unsettled."""
        if not self.ended.is_set():
            self.detail = detail
            self.orderly = orderly
            self.by_defect = defect
            self.ended.set()
            self.leaving.set()

    async def next_page(self) -> None:
        """Receive up to `prefetch` more deliveries; those already in hand stay on the channel, unsettled.

        Raises:
            BrokerUnavailable: it failed.
        """
        channel = self._open_sender().channel
        try:
            with rim():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    await channel.basic_cancel(self._tag or "")
                    await self._consume(channel)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(f"cannot go on consuming {self._queue}: {error}") from error

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """Publish on this channel; the broker handles and confirms it after the acks sent before it.

        Raises:
            PublishUnconfirmed, Unroutable, TooLarge, Unencodable: see `Link.publish`.
        """
        sender = self._open_sender()
        self._write_acks()
        await sender.confirmed(sender.begin(message), within=within)

    def reject(self, tag: int) -> None:
        """Reject a delivery, which the broker then dead-letters with its body; if that fails, it is redelivered."""
        self._forget(tag)
        if self._sender is not None:
            self._sender.reject(tag)

    async def acks_arrived(self) -> None:
        """Return once the broker has handled every ack so far: it answers the basic.qos after all earlier commands.

        Raises:
            BrokerUnavailable: it does not answer, so the last deliveries may come again.
        """
        channel = self._open_sender().channel
        self._write_acks()
        try:
            with rim():
                async with asyncio.timeout(OPEN_CHANNEL_SECONDS):
                    await channel.basic_qos(prefetch_count=self._prefetch)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(f"the broker does not answer for {self._queue}: {error}") from error

    @property
    def most_returned(self) -> int:
        """The highest redelivery count among the deliveries in hand."""
        return max(self._returned.values(), default=0)

    def held_seconds(self) -> float:
        """How long we have held the oldest unsettled delivery, in seconds."""
        oldest = next(iter(self.unsettled.values()), None)
        return 0.0 if oldest is None else self._loop.time() - oldest

    def _open_sender(self) -> Sender:
        if self._sender is None or self._sender.is_closed:
            raise BrokerUnavailable(self.detail or "not subscribed")
        return self._sender

    def _settle(self, tag: int) -> bool:
        """Acknowledge a delivery together with the others of this turn of the loop; False if the channel is closed."""
        self._forget(tag)
        if self._sender is None or self._sender.is_closed:
            return False
        if not self._acks:
            self._loop.call_soon(self._write_acks)
        self._acks.append(tag)
        return True

    def _write_acks(self) -> None:
        """Send a multiple ack for all deliveries before the oldest unsettled, and a single ack for each of the rest."""
        acks, self._acks = self._acks, []
        if self._sender is None or self._sender.is_closed:
            return
        oldest = next(iter(self.unsettled), self.delivered + 1)
        # A multiple ack would lose a delivery whose tag never reached us.
        below = [tag for tag in acks if tag < oldest] if self._has_all_tags else []
        if below:
            self._sender.ack(max(below), multiple=True)
        for tag in acks:
            if not below or tag >= oldest:
                self._sender.ack(tag, multiple=False)

    async def _consume(self, channel: aiormq.abc.AbstractChannel) -> None:
        answer = await channel.basic_consume(self._queue, self._deliver, arguments=self._arguments)
        self._tag = answer.consumer_tag

    def _closed(self, _: object) -> None:
        if not self._left:
            self.lost = not self.ended.is_set()
            self.fail("the channel was closed")

    async def _deliver(self, message: aiormq.abc.DeliveredMessage) -> None:
        if self._left:  # the broker may close the channel late: by then the stage has subscribed anew
            return
        delivery = _delivery(message, settle=self._settle, came_at=self._loop.time())
        self.delivered += 1
        self._has_all_tags = self._has_all_tags and delivery.tag == self.delivered
        self.unsettled[delivery.tag] = delivery.came_at
        if not self._keep(delivery):
            return
        # Our own task: the library cancels its tasks when the channel closes, even during a publish.
        task = self._loop.create_task(self._handle(delivery))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    def _keep(self, delivery: Delivery) -> bool:
        """Count a delivery's body; False if it exceeds `max_bytes`: then closing the channel hands it back.

        The prefetch only limits the number of deliveries, so we count bytes. A single body is kept, however large.
        """
        size = len(delivery.body)
        if self.passed_at or (self.in_hand and self.bytes_in_hand + size > self._max_bytes):
            if not self.ended.is_set():
                self.passed_at = len(self.in_hand)
                self.fail(f"more than {self._max_bytes} bytes would be in hand", orderly=True)
            return False
        self.in_hand[delivery.tag] = size
        self.bytes_in_hand += size
        if delivery.returned:
            self._returned[delivery.tag] = delivery.returned
        if len(self.in_hand) >= self._prefetch:
            self.filled.set()
        return True

    def _forget(self, tag: int) -> None:
        self.unsettled.pop(tag, None)
        self.bytes_in_hand -= self.in_hand.pop(tag, 0)
        if self._returned:
            self._returned.pop(tag, None)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._on_delivery(delivery)
        except Exception:  # noqa: BLE001  # a defect of the receiver: logged here, since the library would swallow it
            log.exception("defect", queue=self._queue)
            self.fail("a defect in the receiver", defect=True)


def _delivery(message: aiormq.abc.DeliveredMessage, *, settle: Callable[[int], bool], came_at: float) -> Delivery:
    properties, deliver = message.header.properties, message.delivery
    assert isinstance(deliver, spec.Basic.Deliver) and deliver.delivery_tag is not None  # noqa: S101, PT018  # by the protocol
    return Delivery(
        body=message.body,
        headers=properties.headers or {},
        message_id=properties.message_id or "",
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        tag=deliver.delivery_tag,
        settle=settle,
        came_at=came_at,
        exchange=deliver.exchange or "",
        routing_key=deliver.routing_key or "",
    )
