"""Looks at the topology every few seconds: it reports what is missing, and declares it anew where the daemons may.

A bound archive alone would still confirm what the door publishes, and a queue that somebody deletes under a running
consumer is not announced to anybody: so somebody has to look.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from zenoti_ingest.core.failures.errors import BrokerUnavailable, TopologyMismatch
from zenoti_ingest.telemetry import log

TOPOLOGY_POLL_SECONDS = 5.0


class TopologyObserver(Protocol):
    """Whom the looks concern."""

    def look_begins(self) -> None:
        """What happens from now on, this look does not vouch for."""

    def look_was_good(self) -> None:
        """Nothing was missing."""

    async def was_missing(self) -> None:
        """Something was."""


class Nobody:
    """Whom nothing concerns."""

    def look_begins(self) -> None:
        """Nothing."""

    def look_was_good(self) -> None:
        """Nothing."""

    async def was_missing(self) -> None:
        """Nothing."""


class TopologyWatch:
    """Keeps an eye on what must be there.

    Args:
        missing: asks the broker, and names what is not there; raises BrokerUnavailable.
        ensure: puts it right, and names what was deleted before it did; raises TopologyMismatch where it cannot,
            BrokerUnavailable where there is no broker.

    Attributes:
        looked: is called after each look.
        detail: what stands against taking events; empty: nothing.
    """

    def __init__(
        self,
        *,
        missing: Callable[[], Awaitable[list[str]]],
        ensure: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        self._missing = missing
        self._ensure = ensure
        self.looked: TopologyObserver = Nobody()
        self.detail = ""

    async def run(self) -> None:
        """Look for ever; the connection reports a lost broker, not this loop."""
        while True:
            await asyncio.sleep(TOPOLOGY_POLL_SECONDS)
            try:
                await self._look()
            except BrokerUnavailable as error:
                log.debug("topology_unseen", detail=str(error))
            except TopologyMismatch as error:
                self._tell(str(error))

    async def _look(self) -> None:
        self.looked.look_begins()
        missing = await self._missing()
        if missing:
            self._tell(f"missing: {', '.join(missing)}")
            await self.looked.was_missing()
        deleted = await self._ensure()
        if missing or deleted:
            await self.looked.was_missing()  # what went amiss until now, also what was deleted behind the look
        else:
            self.looked.look_was_good()
        if self.detail:
            log.info("topology_restored")
        self.detail = ""

    def _tell(self, detail: str) -> None:
        if self.detail != detail:
            log.error("topology_broken", detail=detail)
        self.detail = detail
