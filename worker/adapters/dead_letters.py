"""The queue of the dead letters: look at each without taking it, take the chosen ones.

Everything is delivered unacknowledged on one channel; closing it puts back all that was not settled, in order.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

IDLE_SECONDS = 2.0
_PREFETCH_ALL = 0


class Letter(Protocol):
    """A delivery of the broker's adapter."""

    body: bytes
    headers: Mapping[str, Any]
    message_id: str
    content_type: str | None
    content_encoding: str | None

    async def ack(self) -> bool:
        """Take it out of the queue."""


class _Subscribes(Protocol):
    def subscribe(self, queue: str, *, prefetch: int, on_delivery: Callable[[Any], Awaitable[None]]) -> Any: ...


@asynccontextmanager
async def letters(link: _Subscribes, *, queue: str, count: int) -> AsyncIterator[AsyncIterator[Letter]]:
    """The first `count` letters, oldest first; ends early where no more come for IDLE_SECONDS.

    Raises:
        BrokerUnavailable: the queue cannot be read.
    """
    inbox: asyncio.Queue[Letter] = asyncio.Queue()

    async def each() -> AsyncIterator[Letter]:
        for _ in range(count):
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    letter = await inbox.get()
            except TimeoutError:
                return
            yield letter

    async with link.subscribe(queue, prefetch=_PREFETCH_ALL, on_delivery=inbox.put):
        yield each()
