"""CPU time of a piece of work, for tests that compare it with another piece's."""

import gc
import time
from collections.abc import Callable


def least_cpu_seconds(work: Callable[[], object], *, times: int = 5) -> float:
    """The least of several runs: a collection of other tests' garbage, or a slow moment of the machine, is in some."""
    gc.collect()
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)
