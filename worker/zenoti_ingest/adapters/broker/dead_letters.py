"""The dead-letter queue: reads every letter without removing it, and removes only the chosen letters.

It reads in pages. Each page goes to a consumer of its own on the same channel, and stays unacknowledged there. Closing
the channel puts back what was not removed; RabbitMQ 3.10 may put the pages back in another order.
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
    """The letters of a single reading, unacknowledged until it ends."""

    def __init__(self, subscription: Any, inbox: asyncio.Queue[Letter], *, page: int) -> None:
        self._subscription, self._inbox, self._page = subscription, inbox, page
        self._before = 0  # unacknowledged letters of earlier pages

    async def first(self, count: int) -> AsyncGenerator[Letter, None]:
        """Yield the first `count` letters, those put back earlier first; fewer if other consumers hold some.

        Raises:
            BrokerUnavailable: the channel was lost; all letters that were not removed are back in the queue.
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
        """Publish the message, and remove the letter once the publish is confirmed.

        Both use the same channel, whose commands the broker handles in order, so the confirm of the next publish proves
        that this letter is removed. After a kill between the two steps, at most one published letter is still queued.

        Raises:
            PublishUnconfirmed, Unroutable, Unencodable: the letter stays in the queue.
            BrokerUnavailable: the channel was lost.
        """
        await self._subscription.publish(message, within=PUBLISH_SECONDS)
        letter.ack()

    async def taken_out(self) -> None:
        """Return once the broker has removed every letter acknowledged so far.

        Raises:
            BrokerUnavailable: the broker did not confirm it.
        """
        await self._subscription.acks_arrived()

    def held_seconds(self) -> float:
        """How long we have held the oldest unacknowledged letter, in seconds."""
        held: float = self._subscription.held_seconds()
        return held


@asynccontextmanager
async def letters(link: Subscriber, *, queue: str, page: int = PAGE) -> AsyncIterator[Letters]:
    """Read the letters, from the oldest on.

    Raises:
        BrokerUnavailable: the queue cannot be read.
    """
    inbox: asyncio.Queue[Letter] = asyncio.Queue()
    async with link.subscribe(queue, prefetch=page, on_delivery=inbox.put, publishes=True) as subscription:
        yield Letters(subscription, inbox, page=page)
