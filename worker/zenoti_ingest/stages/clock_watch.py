"""The clocks of other processes: passes their announced times to the lanes' clocks, and reports clocks that differ."""

import asyncio
from collections.abc import Mapping
from typing import Final

from zenoti_ingest.core.invoices.lane_clock import LaneClock
from zenoti_ingest.core.operating.clock_differences import ClockDifferences
from zenoti_ingest.core.operating.times import microseconds
from zenoti_ingest.stages.ports import Clock
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import clock_difference
from zenoti_schemas.state import DaemonState

CLOCK_POLL_SECONDS: Final = 5.0


class ClockWatch:
    """Listens to the states of other processes, and reports clocks that differ.

    Args:
        lanes: the clock of each lane of this process, by source.
        clock: the port.

    Attributes:
        differing: by instance, how many seconds its clock is ahead of ours; small differences are left out.
    """

    def __init__(self, lanes: Mapping[str, LaneClock], clock: Clock) -> None:
        self._clock = clock
        self._lanes = lanes
        self._differences = ClockDifferences()
        self.differing: dict[str, float] = {}

    def heard(self, state: DaemonState, is_live: bool) -> None:  # noqa: FBT001  # as a listener is called
        """Take note of another process's state, announced just now (`is_live`) or long ago."""
        for name in self._lanes.keys() & state.sources.keys():
            self._lanes[name].heard(state.sources[name].fetched_at_most)
        at = microseconds(state.at) if is_live else None
        if at is not None:
            now, heard_at = self._clock.unix_microseconds(), self._clock.monotonic()
            self._differences.heard(state.instance, at=at, now=now, heard_at=heard_at)

    def confirmed(self, state: DaemonState) -> None:
        """Take note that the broker has confirmed our own state."""
        for name, lane in self._lanes.items():
            lane.confirmed(state.sources[name].fetched_at_most)

    async def run(self) -> None:
        """Report every few seconds, until cancelled."""
        while True:
            self._report()
            await asyncio.sleep(CLOCK_POLL_SECONDS)

    def _report(self) -> None:
        """Log each clock that begins or ceases to differ."""
        found = self._differences.largest(self._clock.monotonic())
        for instance in found.keys() - self.differing.keys():
            log.warning("clocks_differ", instance=instance, ahead_seconds=found[instance])
        for instance in self.differing.keys() - found.keys():
            log.info("clocks_agree", instance=instance)
        self.differing = found
        clock_difference.set(max(map(abs, found.values()), default=0.0))
