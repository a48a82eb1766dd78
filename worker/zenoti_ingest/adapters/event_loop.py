"""The event loop: its kind, and how late it runs. Whatever blocks it delays every request and confirm."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from zenoti_ingest.telemetry.metrics import loop_lag

TICK_SECONDS: Final = 0.25
PERIOD_SECONDS: Final = 15.0
HUNG_SECONDS: Final = 10.0  # Zenoti waits this long for an answer


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The factory of uvloop if the extra `uvloop` is installed; None: Python's own event loop."""
    if find_spec("uvloop") is None:
        return None
    found: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return found


def loop_name() -> str:
    """The kind of the running event loop: `asyncio` or `uvloop`."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


class LoopWatch:
    """Measures how late this process's event loop runs."""

    def __init__(self) -> None:
        self._this_period = self._last_period = 0.0
        loop_lag.set_function(lambda: self.lag_seconds)

    @property
    def lag_seconds(self) -> float:
        """The longest delay within the last 15 to 30 seconds (one to two periods)."""
        return max(self._this_period, self._last_period)

    @property
    def is_hung(self) -> bool:
        """Whether the delay exceeds HUNG_SECONDS."""
        return self.lag_seconds > HUNG_SECONDS

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + PERIOD_SECONDS
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            if now >= ends:
                self._last_period, self._this_period, ends = self._this_period, 0.0, now + PERIOD_SECONDS
            self._this_period = max(self._this_period, now - due)
