"""A process's turn on a lane: it takes over with the first delivery, renews its lease, and hands over at the end.

Two processes must not call for the same lane. RabbitMQ's single active consumer sees to that, except for a process that
is cut off from the broker, or was frozen, and does not know that it lost the lane. So calls need a lease
(core/invoices/lease.py). A holder that leaves in order puts its quota into a baton (core/invoices/baton.py). A
successor that finds no baton waits for as long as its predecessor's lease can last.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.stages.invoice_calls import InvoiceCalls
from zenoti_ingest.stages.ports import Batons, Clock, States, Subscription
from zenoti_ingest.telemetry import log

HAND_OVER_SECONDS: Final = 1.0
QUESTIONS: Final = 5  # renewals in the time that a lease lasts


class Turn:
    """The turns of a process on a lane.

    Args:
        calls: the way to the invoice API, whose lease this keeps.
        source: whose lane it is.
        clock: the port.
        batons: the port; None: there is no other process.
        states: the port; None: there is no other process.

    Attributes:
        is_ours: this process has taken the lane over, and has not left it.
    """

    def __init__(
        self,
        calls: InvoiceCalls,
        *,
        source: str,
        clock: Clock,
        batons: Batons | None = None,
        states: States | None = None,
    ) -> None:
        self._calls, self._source, self._clock = calls, source, clock
        self._batons, self._states = batons, states
        self._began = asyncio.Event()
        self._question: asyncio.Task[None] | None = None
        self.is_ours = False

    def open(self) -> None:
        """A subscription begins; the lane is not ours yet."""
        self._began.clear()
        self._question = None  # an answer on the previous channel proves nothing about this channel
        self.is_ours = False

    async def take_over(self, subscription: Subscription) -> None:
        """Return once the predecessor can make no more calls, or when the lane is to be left; take over its quota."""
        baton = None
        if self._batons is not None and (baton := await self._batons.take(self._source)) is None:
            log.info("turn_awaited", source=self._source, seconds=self._calls.lease.seconds)
            if await _is_set(subscription.leaving, within=self._calls.lease.seconds):
                return
            await self._batons.take(self._source)  # a baton that came too late must not be taken for ours later
        if self._batons is not None:
            self._calls.take_over(baton)
        self.is_ours = True
        self._began.set()

    async def keep(self, subscription: Subscription, *, wake: Callable[[], None]) -> None:
        """Renew the lease for as long as the broker answers; runs until cancelled.

        Args:
            subscription: the broker is asked on its channel.
            wake: called after each renewal.
        """
        await self._began.wait()
        lease = self._calls.lease
        while True:
            asked_at = self._clock.monotonic()
            self._question = asyncio.create_task(subscription.acks_arrived())
            try:  # shielded: cancelling the question would close the channel
                _, is_confirmed = await asyncio.gather(asyncio.shield(self._question), self._is_announced())
            except BrokerUnavailable as error:
                subscription.fail(str(error))
                return
            if is_confirmed:
                lease.renew(asked_at)
                wake()
            await asyncio.sleep(lease.seconds / QUESTIONS)

    async def _is_announced(self) -> bool:
        """Announce our state; whether the broker confirms it."""
        if self._states is None:
            return True
        self._states.say_soon()
        return await self._states.said()

    async def hand_over(self, subscription: Subscription) -> None:
        """Leave in order, with no call under way. A process that may have lost the lane leaves no baton."""
        was_ours, self.is_ours = self.is_ours, False
        self._calls.lease.end()
        if was_ours and self._batons is not None and await self._is_there(subscription):
            await self._batons.put(self._source, self._calls.hand_over(), within=HAND_OVER_SECONDS)

    async def _is_there(self, subscription: Subscription) -> bool:
        """Whether the broker answers on the lane's channel now."""
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS):
                if self._question is not None:
                    await self._question
                await subscription.acks_arrived()
        except (BrokerUnavailable, TimeoutError):
            return False
        return True


async def _is_set(event: asyncio.Event, *, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True
