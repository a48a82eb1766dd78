"""Queue depths as metrics, and each lane's backlog as the minutes that the quota needs for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from zenoti_ingest.core.failures.errors import BrokerUnavailable, TopologyMismatch
from zenoti_ingest.stages.enrich import Lane
from zenoti_ingest.stages.ports import Clock
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import (
    backlog_events,
    backlog_invoices,
    backlog_minutes,
    calls_per_minute,
    calls_remaining,
    calls_saved,
    queue_consumers,
    queue_messages,
)

QUEUE_POLL_SECONDS: Final = 15.0
FIRST_SECONDS: Final = 1.0
Depths = dict[str, tuple[int, int] | None]


class QueueWatch:
    """Asks the broker for queue depths every few seconds.

    Args:
        look: asks the broker for messages ready and consumers by queue; None: missing. Raises BrokerUnavailable.
        roles: what each queue is for, by name.
        lanes: of this process; a lane that is not active reports the messages ready in its queue.
        clock: the port.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Depths]], *, roles: Mapping[str, str], lanes: Sequence[Lane], clock: Clock
    ) -> None:
        self._clock = clock
        self._look = look
        self._roles = roles
        self._lanes = lanes

    async def run(self) -> None:
        """Ask until cancelled. While the broker is away the metrics are missing; the connection reports why."""
        while True:
            depths: Depths = {}
            try:
                depths = await self._look()
            except (BrokerUnavailable, TopologyMismatch) as error:
                log.debug("queue_unseen", detail=str(error))
            self._show(depths)
            for lane in self._lanes:
                if (depth := depths.get(lane.queue)) is not None:
                    _show_backlog(lane, ready=depth[0], now=self._clock.monotonic())
            await asyncio.sleep(QUEUE_POLL_SECONDS if depths else FIRST_SECONDS)

    def _show(self, depths: Depths) -> None:
        """Set the metrics, and remove those of queues that were not seen: an old value would pass for a new value."""
        queue_messages.clear()
        queue_consumers.clear()
        for queue, depth in depths.items():
            if depth is not None:
                messages, consumers = depth
                queue_messages.labels(queue, self._roles.get(queue, "")).set(messages)
                queue_consumers.labels(queue, self._roles.get(queue, "")).set(consumers)


def _show_backlog(lane: Lane, *, ready: int, now: float) -> None:
    """Count a call for each invoice in the window and, as an upper bound, for each message ready."""
    invoices = lane.window.key_count + lane.window.in_flight
    backlog_events.labels(lane.source).set(ready + len(lane.window))
    backlog_invoices.labels(lane.source).set(invoices)
    backlog_minutes.labels(lane.source).set((ready + invoices) / lane.quota.calls_per_minute)
    calls_per_minute.labels(lane.source).set(lane.quota.calls_per_minute)
    calls_saved.labels(lane.source).set(lane.quota.tokens(now))
    if lane.quota.remaining is not None:
        calls_remaining.labels(lane.source).set(lane.quota.remaining)
