"""Idempotent receiver (EIP): has this been passed on before, within the window?

Best effort within one process; ids are stable, so receivers can finish the job. Bounded in time and in number.
"""

from collections import OrderedDict


class Seen:
    """Keys passed on lately, oldest first; times are seconds of any monotonic clock."""

    def __init__(self, *, window_seconds: float, max_keys: int) -> None:
        self._window_seconds = window_seconds
        self._max_keys = max_keys
        self._at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._at)

    def has(self, key: str, *, now: float) -> bool:
        """Whether it was passed on within the window."""
        at = self._at.get(key)
        return at is not None and now - at < self._window_seconds

    def remember(self, key: str, *, now: float) -> None:
        """It has been passed on (confirmed by the next hop)."""
        self._at[key] = now
        self._at.move_to_end(key)
        while len(self._at) > self._max_keys:
            self._at.popitem(last=False)
        while self._at and now - next(iter(self._at.values())) >= self._window_seconds:
            self._at.popitem(last=False)
