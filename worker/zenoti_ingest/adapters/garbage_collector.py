"""Runs Python's garbage collector in short steps. It stops the process while it runs, so a long run delays every event.

By default the collector runs when the number of objects has *grown* by a threshold. Where as many connections come as
go it runs rarely, and then scans all objects made since: 157 ms were measured beside 5,000 connections, and 200 ms for
a full run. Here it scans the newest objects ten times a second, and freezes what is still in use. It scans frozen
objects again when memory has grown, or after ten minutes.
"""

import asyncio
import gc
import resource
import time
from pathlib import Path
from typing import Final

STEP_SECONDS: Final = 0.1
FULL_SECONDS: Final = 600.0
GROWTH_FACTOR: Final = 1.25
GROWTH_BYTES: Final = 16 * 1024 * 1024
MEMORY_POLL_STEPS: Final = 10
# For bursts between two steps. A lower threshold is useless: 64 requests at once make 2,000 objects that need no
# collector to free them.
COLLECT_AFTER: Final = (4000, 3, 300)
_STATM = Path("/proc/self/statm")


async def collect_garbage() -> None:
    """Collect until cancelled."""
    gc.set_threshold(*COLLECT_AFTER)
    gc.freeze()  # what has been imported; scanning it would make a start 50 ms longer
    collected_at, kept_bytes = time.monotonic(), resident_bytes()
    steps = 0
    while True:
        await asyncio.sleep(STEP_SECONDS)
        collect_newest()
        steps += 1
        if steps % MEMORY_POLL_STEPS:
            continue
        has_grown = resident_bytes() > GROWTH_FACTOR * kept_bytes + GROWTH_BYTES
        if has_grown or time.monotonic() - collected_at > FULL_SECONDS:
            collect_all()
            collected_at, kept_bytes = time.monotonic(), resident_bytes()


def collect_newest() -> None:
    """Free the cycles left since the last step, and freeze what is in use."""
    gc.collect(0)
    gc.freeze()


def collect_all() -> None:
    """Free every cycle, including those of frozen objects."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def resident_bytes() -> int:
    """The memory of this process now; the most that it ever used if /proc is not readable."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
