"""Throttler of what repeats itself: the first few of a kind within an interval pass, the rest are counted.

A kind is any key that the caller bounds. Time enters as `now`, seconds of any monotonic clock.
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
    """What has passed lately.

    Args:
        first: so many of a kind pass in each of its intervals.
        seconds: how long an interval is; it begins with the first that passes.
    """

    def __init__(self, *, first: int, seconds: float) -> None:
        self._first = first
        self._seconds = seconds
        self._of: dict[K, _Interval] = {}
        self._ended: dict[K, int] = {}

    def may_tell(self, kind: K, *, now: float) -> bool:
        """Whether this one passes; if not, it is counted."""
        one = self._of.get(kind)
        if one is None or one.ends <= now:
            self._end(kind)
            self._of[kind] = _Interval(now + self._seconds)
            return True
        if one.passed < self._first:
            one.passed += 1
            return True
        one.dropped += 1
        return False

    def dropped(self, *, now: float) -> dict[K, int]:
        """How many of each kind did not pass in the intervals that have ended since this was last asked."""
        for kind in [kind for kind, one in self._of.items() if one.ends <= now]:
            self._end(kind)
        ended, self._ended = self._ended, {}
        return ended

    def _end(self, kind: K) -> None:
        one = self._of.pop(kind, None)
        if one is not None and one.dropped:
            self._ended[kind] = self._ended.get(kind, 0) + one.dropped
