"""Checks the topology every few seconds, reports what is missing, and declares it anew if the daemons may.

RabbitMQ announces neither that a raw queue is gone (the bound archive alone still confirms what the door publishes) nor
that a queue was deleted under a running consumer. So it has to be asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from zenoti_ingest.core.failures.errors import BrokerUnavailable, TopologyMismatch
from zenoti_ingest.telemetry import log

TOPOLOGY_POLL_SECONDS = 5.0


class TopologyObserver(Protocol):
    """Is called around each check of the topology."""

    def look_begins(self) -> None:
        """A check begins: it says nothing about what happens from now on."""

    async def look_was_good(self) -> None:
        """The check found everything."""

    async def was_missing(self) -> None:
        """Something is or was missing."""


class Nobody:
    """A TopologyObserver that does nothing."""

    def look_begins(self) -> None:
        """Nothing."""

    async def look_was_good(self) -> None:
        """Nothing."""

    async def was_missing(self) -> None:
        """Nothing."""


class TopologyWatch:
    """Checks that exchanges, queues and bindings are there.

    Args:
        missing: asks the broker, and names what is not there; raises BrokerUnavailable.
        ensure: puts it right, and names what was deleted before it did; raises TopologyMismatch where it cannot,
            BrokerUnavailable where there is no broker.

    Attributes:
        looked: is called around each check.
        detail: why no events can be taken; empty: they can.
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
        """Check until cancelled. The connection, not this loop, reports a lost broker."""
        while True:
            await asyncio.sleep(TOPOLOGY_POLL_SECONDS)
            try:
                await self._look()
            except BrokerUnavailable as error:
                log.debug("topology_unseen", detail=str(error))
            except TopologyMismatch as error:
                self._report(str(error))

    async def _look(self) -> None:
        self.looked.look_begins()
        missing = await self._missing()
        if missing:
            self._report(f"missing: {', '.join(missing)}")
            await self.looked.was_missing()
        deleted = await self._ensure()
        if missing or deleted:
            await self.looked.was_missing()  # also for what was deleted during the check
        else:
            await self.looked.look_was_good()
        if self.detail:
            log.info("topology_restored")
        self.detail = ""

    def _report(self, detail: str) -> None:
        if self.detail != detail:
            log.error("topology_broken", detail=detail)
        self.detail = detail
