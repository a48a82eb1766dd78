"""Handles SIGTERM, SIGINT and SIGHUP as a request to finish."""

import asyncio
import contextlib
import os
import signal
from types import FrameType


def heed(stop: asyncio.Event, *, hang_up: bool) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; at the second, end the process at once with 128 + n.

    With `hang_up`, SIGHUP also sets `stop`, but never ends the process at once: when a terminal closes, its shell and
    the kernel may both send SIGHUP, before or after a SIGTERM. If SIGHUP is ignored at start (`nohup`), it stays so.

    The handlers are Python's own, since uvloop reports a signal twice if another signal came just before. The loop's
    handlers do nothing; they only make a signal wake the loop, whichever thread received it.
    """
    loop = asyncio.get_running_loop()
    was_asked = False

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal was_asked
        if number != signal.SIGHUP:
            if was_asked:
                os._exit(128 + number)  # the operator does not want to wait; unsettled deliveries come again
            was_asked = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop.set)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if hang_up and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, lambda: None)
        signal.signal(number, on_signal)
