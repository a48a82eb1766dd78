"""The backlog of the lanes as metrics: how much waits for API calls, and how long that takes under the quota."""

import asyncio
import time
from collections.abc import Sequence

from worker.adapters.broker import Link
from worker.core.errors import BrokerUnavailable
from worker.stages.enrich import Lane
from worker.telemetry import log
from worker.telemetry.metrics import backlog_events, backlog_invoices, backlog_minutes, calls_remaining, calls_saved

LOOK_SECONDS = 15.0


class BacklogWatch:
    """Looks at each lane every few seconds, for ever.

    Args:
        link: to ask the broker how much lies in a lane's queue.
        lanes: of this process; one that is not active tells what lies in the queue.
    """

    def __init__(self, link: Link, lanes: Sequence[Lane]) -> None:
        self._link = link
        self._lanes = lanes

    async def run(self) -> None:
        """Look until cancelled; a lost broker is told by its connection, not here."""
        while True:
            await self._link.wait_ready()
            for lane in self._lanes:
                try:
                    _tell(lane, ready=await self._link.ready(lane.queue))
                except BrokerUnavailable as error:
                    log.debug("queue_unseen", queue=lane.queue, detail=str(error))
            await asyncio.sleep(LOOK_SECONDS)


def _tell(lane: Lane, *, ready: int) -> None:
    """A call for each invoice in the window and, at most, for each event that nobody has looked at yet."""
    invoices = lane.window.invoices + lane.window.in_flight
    backlog_events.labels(lane.source).set(ready + len(lane.window))
    backlog_invoices.labels(lane.source).set(invoices)
    backlog_minutes.labels(lane.source).set((ready + invoices) / lane.quota.calls_per_minute)
    calls_saved.labels(lane.source).set(lane.quota.tokens(time.monotonic()))
    if lane.quota.remaining is not None:
        calls_remaining.labels(lane.source).set(lane.quota.remaining)
