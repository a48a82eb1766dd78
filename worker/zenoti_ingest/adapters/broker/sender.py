"""Sends on a channel: all publishes and acks of the same turn of the event loop leave in a single write.

aiormq's own `basic_publish` takes a lock, three context managers, two time-outs, a turn of the event loop and a system
call for each message. Here the same frames go into the same `write_queue`. aiormq still reads the broker's answers, and
finds the future of each confirm in the channel's `confirmations`.
"""

import asyncio
import struct
import uuid
from collections.abc import Callable
from typing import NamedTuple

import aiormq.exceptions
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp import commands as spec

from zenoti_ingest.adapters.broker import frames
from zenoti_ingest.adapters.broker.library import close_channel, what
from zenoti_ingest.core.delivery.size_budget import SizeBudget, limit_in
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import (
    ConfirmTimedOut,
    PublishRefused,
    PublishUnconfirmed,
    Unencodable,
    Unroutable,
)
from zenoti_ingest.telemetry import log


class Sent(NamedTuple):
    """A published message that awaits the broker's confirm."""

    sender: "Sender"
    message: Outgoing
    message_id: str
    tag: int
    confirmed: "asyncio.Future[spec.Basic.Ack]"


class Sender:
    """Sends on a channel with confirms, until the channel closes.

    Args:
        channel: the channel; nobody else publishes on it.
        why: returns the known reason why publishing cannot work now; empty: none.
        budget: the largest allowed body.

    Attributes:
        unconfirmed: publishes that nobody waits for any more; the library keeps each in the channel's memory.
        refused_since: when the broker first refused a publish on it (the event loop's clock); 0: never.
    """

    def __init__(self, channel: Channel, *, why: Callable[[], str], budget: SizeBudget) -> None:
        self.channel = channel
        self.unconfirmed = 0
        self.refused_since = 0.0
        self._why = why
        self._budget = budget
        self._parts: list[bytes] = []
        self._writing = False
        self._loop = asyncio.get_running_loop()
        self._closes = False
        self._deadlines: dict[asyncio.Future[spec.Basic.Ack], float] = {}
        self._looks: asyncio.TimerHandle | None = None
        channel.closing.add_done_callback(self._closed)

    @property
    def is_closed(self) -> bool:
        """Nothing may be sent any more: the channel is closed, or either end has begun to close it.

        A frame after Channel.Close or Close-Ok would end the connection ("expected 'channel.open'").
        """
        return self._closes or self._closed_by_broker

    async def close(self, *, name: str) -> None:
        """Close the channel, after what was sent before (see `library.close_channel`)."""
        self._closes = True
        await close_channel(self.channel, name=name)

    async def settled(self, *, within: float) -> None:
        """Return once nobody waits for a confirm any more, or after `within` seconds."""
        until = self._loop.time() + within
        while self._deadlines and (left := until - self._loop.time()) > 0:
            await asyncio.wait(list(self._deadlines), timeout=left)

    def begin(self, message: Outgoing) -> Sent:
        """Number a message, register it for its confirm, and send it.

        Raises:
            TooLarge: the body is over the budget.
            PublishUnconfirmed: the channel is closed.
            Unencodable: AMQP cannot carry the message.
        """
        self._budget.require(len(message.body))
        channel, message_id = self.channel, message.message_id or uuid.uuid4().hex
        if self.is_closed:
            raise PublishUnconfirmed(self._why() or "the channel is closed")
        try:
            parts = frames.of_publish(message, message_id, channel=channel.number, most=channel.max_content_size)
        except (TypeError, ValueError, ArithmeticError, struct.error) as error:
            raise Unencodable(f"AMQP cannot carry it: {type(error).__name__}") from error
        channel.delivery_tag = tag = channel.delivery_tag + 1
        channel.confirmations[tag] = confirmed = self._loop.create_future()
        channel.message_id_delivery_tag[message_id] = tag  # aiormq finds a returned message by it
        self._send(*parts)
        return Sent(self, message, message_id, tag, confirmed)

    async def confirmed(self, sent: Sent, *, within: float) -> None:
        """Return once the broker has confirmed.

        Raises:
            PublishUnconfirmed: the channel is lost, or no confirm came in time for a known reason.
            ConfirmTimedOut: no confirm within `within` seconds, and no reason is known.
            PublishRefused: the broker answered with a nack.
            TooLarge: the broker closed the channel because of a body's size, and this body exceeds the limit it named.
            Unroutable: no queue is bound for it.
        """
        message, book = sent.message, self.channel.message_id_delivery_tag
        self._deadlines[sent.confirmed] = due = self._loop.time() + within
        if self._looks is None or due < self._looks.when():
            self._look_at(due)
        try:
            await sent.confirmed
        except aiormq.exceptions.PublishError as error:
            raise Unroutable(f"no queue is bound to {message.exchange} for {message.routing_key}") from error
        except aiormq.exceptions.DeliveryError as error:
            self.refused_since = self.refused_since or self._loop.time()
            raise PublishRefused(
                f"the broker refused a publish to {message.exchange}: a queue takes no more"
            ) from error
        except TimeoutError as error:
            self.unconfirmed += 1
            if why := self._why():
                raise PublishUnconfirmed(f"{why} (within {within:g} s)") from error
            raise ConfirmTimedOut(f"the broker did not confirm (within {within:g} s)") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling() > 0:
                raise
            raise PublishUnconfirmed("the connection hangs") from error  # cancelled by the library, not by us
        except Exception as error:
            self._learn_limit(error)
            self._budget.require(len(message.body))
            raise PublishUnconfirmed(what(error)) from error
        finally:
            del self._deadlines[sent.confirmed]
            if book.get(sent.message_id) == sent.tag:
                del book[sent.message_id]

    def reject(self, tag: int) -> None:
        """Reject a delivery, which the broker then dead-letters; do nothing on a closed channel."""
        if not self.is_closed:
            self._send(frames.of_reject(tag, channel=self.channel.number))

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Acknowledge a delivery; do nothing on a closed channel; `multiple`: all deliveries up to it."""
        if self.is_closed:
            return
        self._send(frames.of_ack(tag, multiple=multiple, channel=self.channel.number))

    @property
    def _closed_by_broker(self) -> bool:
        channel = self.channel  # is_closed becomes true some turns after the broker's Close has been answered
        return channel.is_closed or channel._close_exception is not None  # noqa: SLF001  # there is no public way

    def _send(self, *parts: bytes) -> None:
        self._parts.extend(parts)
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        if self._closed_by_broker:
            return
        if self.channel.write_queue.full():
            self.channel.create_task(self._write_once_there_is_room())
            return
        self._writing = False
        self.channel.write_queue.put_nowait(self._frame())

    async def _write_once_there_is_room(self) -> None:
        """Only one task waits: several could overtake each other in the library's queue, but tags number the order."""
        while self._parts:
            await self.channel.write_queue.put(self._frame())
        self._writing = False

    def _frame(self) -> ChannelFrame:
        payload = b"".join(self._parts)
        self._parts.clear()
        return ChannelFrame(payload=payload, should_close=False)

    def _closed(self, closing: "asyncio.Future[None]") -> None:
        """Fail every publish that waits for a confirm on the closed channel."""
        reason = None if closing.cancelled() else closing.exception()
        self._learn_limit(reason)
        lost = reason if isinstance(reason, Exception) else aiormq.exceptions.ChannelInvalidStateError("closed")
        for confirmed in self.channel.confirmations.values():
            if not confirmed.done():
                confirmed.set_exception(lost)

    def _learn_limit(self, reason: BaseException | None) -> None:
        """Lower the budget if the broker closed the channel because of a body's size: its text names the limit."""
        limit = limit_in(str(reason))
        if limit is not None and self._budget.lower(limit):
            log.error("size_budget_lowered", max_message_bytes=limit)

    def _look_at(self, due: float) -> None:
        """Set the only timer. A timer per publish would be a tenth of a publish's cost, and nearly none would fire."""
        if self._looks is not None:
            self._looks.cancel()
        self._looks = self._loop.call_at(due, self._give_up)

    def _give_up(self) -> None:
        self._looks = None
        now = self._loop.time()
        for confirmed, due in self._deadlines.items():
            if due <= now and not confirmed.done():
                confirmed.set_exception(TimeoutError())
        later = [due for due in self._deadlines.values() if due > now]
        if later:
            self._look_at(min(later))
