"""The queue of the dead letters: look at each without taking it, take out the chosen ones.

Page by page: each page is delivered to a consumer of its own on the same channel, and stays unsettled there. Closing
the channel puts back what was not taken out; RabbitMQ 3.10 may put the pages back in another order.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from zenoti_ingest.adapters.broker.needs import Subscriber
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import PUBLISH_SECONDS, Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable

PAGE = 200  # bodies in memory at a time
IDLE_SECONDS = 3.0


Letter = Delivery  # of the queue of dead letters; `ack` takes it out


class Letters:
    """The letters of one look, in our hands until it ends."""

    def __init__(self, subscription: Any, inbox: asyncio.Queue[Letter], *, page: int) -> None:
        self._subscription, self._inbox, self._page = subscription, inbox, page
        self._before = 0  # in hand since earlier pages

    async def first(self, count: int) -> AsyncGenerator[Letter, None]:
        """The first `count`, those that came back from an earlier look before new ones; fewer where others hold them.

        Raises:
            BrokerUnavailable: the channel was lost; all that was not taken out is back in the queue.
        """
        for _ in range(count):
            if self._inbox.empty() and len(self._subscription.unsettled) - self._before >= self._page:
                self._before = len(self._subscription.unsettled)
                await self._subscription.next_page()
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    letter = await self._inbox.get()
            except TimeoutError:
                if self._subscription.ended.is_set():
                    raise BrokerUnavailable(self._subscription.detail) from None
                return
            yield letter

    async def publish_instead(self, letter: Letter, message: Outgoing) -> None:
        """Publish, and take the letter out once that is confirmed.

        Both on one channel, whose commands the broker handles in order: the confirm of the next publish says that this
        letter is out. Whoever is killed between two steps has at most one letter published that is still in the queue.

        Raises:
            PublishUnconfirmed, Unroutable, Unencodable: it stays in the queue.
            BrokerUnavailable: the channel was lost.
        """
        await self._subscription.publish(message, within=PUBLISH_SECONDS)
        letter.ack()

    async def taken_out(self) -> None:
        """Return once the broker has taken out every letter acknowledged so far.

        Raises:
            BrokerUnavailable: that is not sure.
        """
        await self._subscription.acks_arrived()

    def held_seconds(self) -> float:
        """How long the oldest of them has been in our hands."""
        held: float = self._subscription.held_seconds()
        return held


@asynccontextmanager
async def letters(link: Subscriber, *, queue: str, page: int = PAGE) -> AsyncIterator[Letters]:
    """A look at the letters, from the oldest on.

    Raises:
        BrokerUnavailable: the queue cannot be read.
    """
    inbox: asyncio.Queue[Letter] = asyncio.Queue()
    async with link.subscribe(queue, prefetch=page, on_delivery=inbox.put, publishes=True) as subscription:
        yield Letters(subscription, inbox, page=page)
