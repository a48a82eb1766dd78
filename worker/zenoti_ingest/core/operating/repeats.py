"""Limits repetitions: the first few items of a kind within an interval pass, the rest are counted.

A kind is any key; the caller limits the number of kinds. Callers pass the time as `now`, seconds of any monotonic
clock.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)


class _Interval(msgspec.Struct):
    ends: float
    passed: int = 1
    dropped: int = 0


class Repeats(Generic[K]):
    """The current interval of each kind.

    Args:
        first: how many items of a kind pass per interval.
        seconds: the length of an interval; it begins with the first item that passes.
    """

    def __init__(self, *, first: int, seconds: float) -> None:
        self._first = first
        self._seconds = seconds
        self._of: dict[K, _Interval] = {}
        self._ended: dict[K, int] = {}

    def may_log(self, kind: K, *, now: float) -> bool:
        """Whether this item passes; if not, it is counted."""
        interval = self._of.get(kind)
        if interval is None or interval.ends <= now:
            self._end(kind)
            self._of[kind] = _Interval(now + self._seconds)
            return True
        if interval.passed < self._first:
            interval.passed += 1
            return True
        interval.dropped += 1
        return False

    def dropped(self, *, now: float) -> dict[K, int]:
        """How many items of each kind did not pass, in the intervals that ended since the last call."""
        for kind in [kind for kind, interval in self._of.items() if interval.ends <= now]:
            self._end(kind)
        ended, self._ended = self._ended, {}
        return ended

    def _end(self, kind: K) -> None:
        interval = self._of.pop(kind, None)
        if interval is not None and interval.dropped:
            self._ended[kind] = self._ended.get(kind, 0) + interval.dropped
