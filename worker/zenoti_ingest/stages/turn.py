"""One process's turn on a lane: taken over with the first delivery, kept by questions, handed on at the end.

Two processes must not call for one lane. The broker sees to that by its single active consumer, but for who is cut off
from it, or was frozen, and does not know. So calls need a lease (core/invoices/lease.py), and a successor that finds no
baton of its predecessor (core/invoices/baton.py) waits for as long as that one's lease can last.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.stages.invoice_calls import InvoiceCalls
from zenoti_ingest.stages.ports import Batons, Clock, States, Subscription
from zenoti_ingest.telemetry import log

HAND_OVER_SECONDS: Final = 1.0
QUESTIONS: Final = 5  # in the time that a lease lasts


class Turn:
    """The turns of one process on one lane.

    Args:
        calls: the way to the invoice API, whose lease this keeps.
        source: whose lane it is.
        clock: the port.
        batons: where they lie; None: no other process is there.
        states: what the processes say to each other; None: no other process is there.

    Attributes:
        is_ours: the lane was taken over and not yet left.
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
        self._question = None  # what the channel before answered says nothing of this one
        self.is_ours = False

    async def take_over(self, subscription: Subscription) -> None:
        """Return once the predecessor cannot call any more, if not to leave; the quota goes on where it ended."""
        baton = None
        if self._batons is not None and (baton := await self._batons.take(self._source)) is None:
            log.info("turn_awaited", source=self._source, seconds=self._calls.lease.seconds)
            if await _is_set(subscription.leaving, within=self._calls.lease.seconds):
                return
            await self._batons.take(self._source)  # one that came too late must not vouch for us later
        if self._batons is not None:
            self._calls.take_over(baton)
        self.is_ours = True
        self._began.set()

    async def keep(self, subscription: Subscription, *, wake: Callable[[], None]) -> None:
        """Renew the lease for as long as the broker answers, for ever.

        Args:
            subscription: whose channel the questions go by.
            wake: called when calls may go.
        """
        await self._began.wait()
        lease = self._calls.lease
        while True:
            asked_at = self._clock.monotonic()
            self._question = asyncio.create_task(subscription.acks_arrived())
            try:  # the question is not cancelled with us: that would close the channel
                _, is_confirmed = await asyncio.gather(asyncio.shield(self._question), self._said())
            except BrokerUnavailable as error:
                subscription.fail(str(error))
                return
            if is_confirmed:
                lease.renew(asked_at)
                wake()
            await asyncio.sleep(lease.seconds / QUESTIONS)

    async def _said(self) -> bool:
        """Whether a state of ours that is said now is confirmed."""
        if self._states is None:
            return True
        self._states.say_soon()
        return await self._states.said()

    async def hand_over(self, subscription: Subscription) -> None:
        """Leave in order: no call is under way, and none begins. Who may have lost the lane is silent."""
        was_ours, self.is_ours = self.is_ours, False
        self._calls.lease.end()
        if was_ours and self._batons is not None and await self._is_there(subscription):
            await self._batons.put(self._source, self._calls.hand_over(), within=HAND_OVER_SECONDS)

    async def _is_there(self, subscription: Subscription) -> bool:
        """Whether the broker answers on the lane's channel at this moment."""
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
