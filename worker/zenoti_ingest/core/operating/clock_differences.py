"""How far the clocks of other processes differ from ours, by the times in the states that they publish.

A message that was on its way for long makes its sender's clock look slow. So only the newest three states count, and of
these the state that arrived fastest.
"""

from collections import deque
from typing import Final

DIFFER_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 60.0  # a process that has published nothing for so long is gone
MAX_REPORTED: Final = 20  # differences in a state, the largest first
_NEWEST: Final = 3
_MAX_PROCESSES: Final = 1000


class ClockDifferences:
    """The clocks of other processes. Wall clocks are microseconds since 1970; `heard_at` is monotonic seconds."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self._heard_at: dict[str, float] = {}

    def heard(self, instance: str, *, at: int, now: int, heard_at: float) -> None:
        """Record that another process's clock showed `at` when ours showed `now`."""
        for gone in [known for known, last in self._heard_at.items() if heard_at - last > SILENT_SECONDS]:
            del self._heard_at[gone], self._seconds[gone]
        if instance in self._seconds or len(self._seconds) < _MAX_PROCESSES:
            self._seconds.setdefault(instance, deque(maxlen=_NEWEST)).append((at - now) / 1_000_000)
            self._heard_at[instance] = heard_at

    def largest(self, heard_at: float) -> dict[str, float]:
        """Seconds that clocks are ahead of ours (negative: behind); only those that differ by over DIFFER_SECONDS."""
        ahead = {
            instance: round(max(seconds), 1)
            for instance, seconds in self._seconds.items()
            if heard_at - self._heard_at[instance] <= SILENT_SECONDS and abs(max(seconds)) > DIFFER_SECONDS
        }
        return dict(sorted(ahead.items(), key=lambda item: -abs(item[1]))[:MAX_REPORTED])
