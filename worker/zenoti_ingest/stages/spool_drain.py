"""Drains the spool: publish as the door does -> confirmed -> off the disk. Oldest first, all sources side by side.

Fresh events do not wait for the drain: only IN_FLIGHT events of the spool are published at a time. While a source is on
a detour, an event of the spool is the trial that shows whether the broker confirms again.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from zenoti_ingest.core.failures.errors import SpoolUnavailable, TooLarge
from zenoti_ingest.core.intake.spool_record import Spooled
from zenoti_ingest.stages.intake import Intake
from zenoti_ingest.stages.ports import Clock, Spools
from zenoti_ingest.stages.too_large import TooLargeEvents
from zenoti_ingest.telemetry import log

IN_FLIGHT: Final = 256  # a broker that confirms after 2 s still takes 100 a second and more
CONFIRM_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.25
DEFECT_PAUSE_SECONDS: Final = 5.0


class SpoolDrain:
    """Drains the spool of the intake.

    Args:
        intake: publishes, and has the detours.
        spool: what is drained.
        too_large: takes what the broker does not.
        unavailable_reason: why nothing can be published now; empty: it can.
        clock: the port.
    """

    def __init__(
        self,
        intake: Intake,
        spool: Spools,
        *,
        too_large: TooLargeEvents,
        unavailable_reason: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._too_large = too_large
        self._intake = intake
        self._spool = spool
        self._unavailable_reason = unavailable_reason

    async def run(self) -> None:
        """Drain until cancelled; what is left stays on disk."""
        async with asyncio.TaskGroup() as group:
            for source in self._intake.detours:
                group.create_task(self._drain(source))
                group.create_task(self._too_large.write_letters(source))

    async def _drain(self, source: str) -> None:
        detour = self._intake.detours[source]
        while True:
            try:
                await self._spool.wait_for(source)
                if self._unavailable_reason() or not detour.may_try(now=self._clock.monotonic()):
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                while await self._some(source, limit=1 if detour.is_paced else IN_FLIGHT):
                    pass  # an oversized event proves nothing about the broker: the next event is the trial
            except SpoolUnavailable:
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:  # noqa: BLE001  # a defect must not end the door
                log.exception("defect", stage="spool_drain", source=source)
                await asyncio.sleep(DEFECT_PAUSE_SECONDS)

    async def _some(self, source: str, *, limit: int) -> bool:
        """Publish the oldest events, and set aside the oversized; whether there was an oversized event."""
        items = await self._spool.oldest(source, limit=limit)
        outcomes = await asyncio.gather(*(self._publish(item.spooled) for item in items))
        found = list(zip(items, outcomes, strict=True))
        await self._spool.forget(source, [item for item, outcome in found if outcome is True])
        too_large = [item for item, outcome in found if outcome is None]
        for item in too_large:
            await self._too_large.set_aside(source, item)
        return bool(too_large)

    async def _publish(self, spooled: Spooled) -> bool | None:
        """Whether the broker has confirmed it; None: it takes no body of this size."""
        try:
            return await self._intake.publish(spooled.event, within=CONFIRM_SECONDS, is_archived=spooled.archived)
        except TooLarge:
            return None
