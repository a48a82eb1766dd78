"""Live traffic goes first: redrive and replay put in events only while no live event waits before them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.core.operating.live_traffic_first import obstacle
from zenoti_ingest.core.topology.names import Names

BATCH = 25  # events that may go after each look at the queues
OBSTACLE_POLL_SECONDS = 0.5
COUNT_SECONDS = 10.0


class Pace:
    """Decides when the next event may go.

    Args:
        link: to look at the queues with.
        names: of the queues.
        stop: set when the command must end early.
        waiting: called with the reason while an event must wait.
        rate: events a second at most.
    """

    def __init__(
        self,
        link: Link,
        names: Names,
        *,
        stop: asyncio.Event,
        waiting: Callable[[str], None],
        rate: float | None = None,
    ) -> None:
        self._link, self._names, self._stop, self._waiting = link, names, stop, waiting
        self._interval = 1 / rate if rate else 0.0
        self._next_at = 0.0
        self._free: defaultdict[str, int] = defaultdict(int)

    async def clear(self, source: str, *, within: float | None = None) -> bool:
        """Return True once an event of the source may go; False when stopped, or after `within` seconds.

        Raises:
            BrokerUnavailable: the queues cannot be looked at.
        """
        loop = asyncio.get_running_loop()
        deadline = None if within is None else loop.time() + within
        await self._pause(self._next_at - loop.time())
        while not self._stop.is_set():
            why = "" if self._free[source] else await self._obstacle(source)
            if not why:
                self._free[source] = (self._free[source] or BATCH) - 1
                self._next_at = max(self._next_at, loop.time() - self._interval) + self._interval
                return True
            self._waiting(why)
            if deadline is not None and loop.time() >= deadline:
                return False
            await self._pause(OBSTACLE_POLL_SECONDS)
        return False

    async def _obstacle(self, source: str) -> str:
        queues = (self._names.raw(source), self._names.lane(source))
        found = await self._link.use(partial(depths, queues=queues), within=COUNT_SECONDS)
        return obstacle(found, names=self._names, source=source)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
            except TimeoutError:
                return
