"""The event loop: which one, and how late it is. What blocks it delays every request and confirm."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from zenoti_ingest.telemetry.metrics import loop_lag

TICK_SECONDS: Final = 0.25
PERIOD_SECONDS: Final = 15.0
HUNG_SECONDS: Final = 10.0  # within so many Zenoti wants an answer


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where it is installed (the extra `uvloop`); None: Python's own."""
    if find_spec("uvloop") is None:
        return None
    found: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return found


def loop_name() -> str:
    """`asyncio` or `uvloop`: what runs."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


class LoopWatch:
    """The lateness of this process's event loop; `run` looks for ever."""

    def __init__(self) -> None:
        self._this_period = self._last_period = 0.0
        loop_lag.set_function(lambda: self.lag_seconds)

    @property
    def lag_seconds(self) -> float:
        """The longest that it was late within the last one to two periods."""
        return max(self._this_period, self._last_period)

    @property
    def is_hung(self) -> bool:
        """Whether it was late beyond all use."""
        return self.lag_seconds > HUNG_SECONDS

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + PERIOD_SECONDS
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            if now >= ends:
                self._last_period, self._this_period, ends = self._this_period, 0.0, now + PERIOD_SECONDS
            self._this_period = max(self._this_period, now - due)
