"""Zenoti's webhooks: what it sends and when, its retries, and the switch that turns itself off.

No answer within 10 s, or no 2xx, is a failure; five tries, 30 s to 10 min apart; after 20 failures in a row the webhook
is off until an operator switches it on. Rules: https://docs.zenoti.com/docs/webhooks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import msgspec

from tests.simulation.bodies import PING, Fate, Planned, Posted
from zenoti_ingest.simulator.registration import FAILURES_IN_A_ROW, RETRY_SECONDS
from zenoti_ingest.simulator.webhooks import PATIENCE_SECONDS, taken

Post = Callable[[Posted], Awaitable[int | None]]  # sends a request: the status, or None where no answer came


class Try(msgspec.Struct, frozen=True):
    """A post: when it began and ended (virtual seconds), of what, which try (from 1), and the status if one came."""

    at: float
    ended_at: float
    posted: Posted
    number: int
    status: int | None


class Feed:
    """A webhook of one source.

    Args:
        post: sends one request; it may be cancelled after 10 s.
        random: decides when the operator comes.
        happened: called once for each event, when it happens, before its first try, and even if it is never sent.
        operator_seconds: how long it takes, at least and at most, until an operator switches the webhook on again.

    Attributes:
        is_on: whether it sends.
        tries: all posts, in the order in which they ended.
        accepted: the events that were answered with a 2xx, each with the time of the answer.
        never_sent: the events that happened while it was off.
        given_up: the events of which no try succeeded, or that it stopped trying because it was switched off.
        switched_off: how often it switched itself off.
        strangers: requests of others than Zenoti, wrongly signed, each with its status: none may be a 2xx.
        tests: the status of each request by the test button, which the operator presses when he switches it on.
    """

    def __init__(
        self,
        post: Post,
        *,
        random: Random,
        happened: Callable[[Posted], None] = lambda _: None,
        operator_seconds: tuple[float, float] = (60.0, 600.0),
    ) -> None:
        self._post, self._random, self._happened, self._operator = post, random, happened, operator_seconds
        self.is_on = True
        self.tries: list[Try] = []
        self.accepted: list[tuple[Posted, float]] = []
        self.never_sent: list[Posted] = []
        self.given_up: list[Posted] = []
        self.switched_off = 0
        self.strangers: list[tuple[Posted, int | None]] = []
        self.tests: list[int | None] = []
        self._operators: list[asyncio.Task[None]] = []  # kept, since the loop keeps tasks only weakly
        self._failures_in_a_row = 0
        self._orders: dict[str, asyncio.Lock] = {}

    async def run(self, plan: Sequence[Planned]) -> None:
        """Send a plan, each event at its time (seconds from now); return once nothing is to be tried any more."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for planned in plan:
                await asyncio.sleep(max(0.0, began + planned.at - asyncio.get_running_loop().time()))
                group.create_task(self.send(planned.posted))

    async def send(self, posted: Posted) -> bool:
        """An event happens: send it until it is accepted; whether it was.

        The first tries of an invoice's events go one after the other.
        """
        if posted.fate is Fate.REFUSED:
            self.strangers.append((posted, await self._status(posted)))
            return False
        order = self._orders.setdefault((posted.invoice_id or posted.cloud_id).lower(), asyncio.Lock())
        async with order:
            self._happened(posted)
            if not self.is_on:
                self.never_sent.append(posted)
                return False
            if await self._try(posted, 1):
                return True
        if await self._try_again(posted):
            return True
        self.given_up.append(posted)
        return False

    async def _try_again(self, posted: Posted) -> bool:
        """After each wait, until the event is taken or the webhook is off."""
        for number, seconds in enumerate(RETRY_SECONDS, start=2):
            await asyncio.sleep(seconds)
            if not self.is_on:
                return False
            if await self._try(posted, number):
                return True
        return False

    async def _try(self, posted: Posted, number: int) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        status = await self._status(posted)
        self.tries.append(Try(began, loop.time(), posted, number, status))
        if status is not None and taken(status):
            self._failures_in_a_row = 0
            self.accepted.append((posted, loop.time()))
            return True
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= FAILURES_IN_A_ROW and self.is_on:
            self.is_on = False
            self.switched_off += 1
            self._operators.append(loop.create_task(self._operate(self._random.uniform(*self._operator))))
        return False

    async def _status(self, posted: Posted) -> int | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._post(posted)
        except TimeoutError:
            return None

    async def _operate(self, seconds: float) -> None:
        """An operator sees after a while that the webhook is off, switches it on, and tests it."""
        await asyncio.sleep(seconds)
        self.is_on, self._failures_in_a_row = True, 0
        self.tests.append(await self._status(PING))
