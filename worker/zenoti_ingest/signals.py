"""SIGTERM, SIGINT and SIGHUP as a request to finish."""

import asyncio
import contextlib
import os
import signal
from types import FrameType


def heed(stop: asyncio.Event, *, hang_up: bool) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; at the second, end the process at once with 128 + n.

    With `hang_up`, SIGHUP sets it too, and hurries nobody: a terminal has gone, whose shell and kernel may both say so,
    before or behind a SIGTERM. Where it was ignored from the start (`nohup`) it stays so.

    The handlers are Python's own, since uvloop reports one signal twice where another came just before. Those of the
    loop, which do nothing, see to it that a signal wakes the loop, whichever thread the system gave it to.
    """
    loop = asyncio.get_running_loop()
    was_asked = False

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal was_asked
        if number != signal.SIGHUP:
            if was_asked:
                os._exit(128 + number)  # the operator does not want to wait: what is unsettled comes again
            was_asked = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop.set)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if hang_up and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, lambda: None)
        signal.signal(number, on_signal)
