"""Idempotent receiver (EIP): has this been passed on before, within the window?

Best effort within one process; ids are stable, so receivers can finish the job. Bounded in time and in number. Of a
key 64 bits are kept, Python's own hash of text, keyed anew in each process: a key takes 42 to 84 bytes, in a dict 270.
That a new key has the hash of one of 200,000 is to be expected once in 10^14 events.
"""

from array import array
from math import inf
from typing import Final

_BITS: Final = 2**64 - 1
_LEAST_SLOTS: Final = 256
_NEVER: Final = -inf


class Seen:
    """Keys passed on lately; times are seconds of any monotonic clock.

    They stand in two halves, and once the younger is full, or as old as the window, the older is forgotten: the
    newest half of `max_keys` is always known, as long as the window has it.
    """

    def __init__(self, *, window_seconds: float, max_keys: int) -> None:
        self._window_seconds = window_seconds
        self._max_half = max_keys // 2
        self._young, self._old = _Half(0), _Half(0)

    def __len__(self) -> int:
        return self._young.count + self._old.count

    def has(self, key: str, *, now: float) -> bool:
        """Whether it was passed on within the window."""
        mark = _mark(key)
        at = self._young.at(mark)
        if at is _NEVER:
            at = self._old.at(mark)
        return now - at < self._window_seconds

    def remember(self, key: str, *, now: float) -> None:
        """It has been passed on (confirmed by the next hop)."""
        young = self._young
        if young.count >= self._max_half or now - young.oldest >= self._window_seconds:
            self._old = young if now - young.newest < self._window_seconds else _Half(0)
            self._young = young = _Half(young.count)
        if self._max_half:
            young.put(_mark(key), now)


def _mark(key: str) -> int:
    return hash(key) & _BITS or 1  # 0 is an empty slot


class _Half:
    """Marks and their times, in an open-addressed table that is at most half full.

    Args:
        expected: so many marks can be put before it is made anew.
    """

    def __init__(self, expected: int) -> None:
        self.count, self.oldest, self.newest = 0, inf, _NEVER
        self._make(max(_LEAST_SLOTS, 1 << (expected * 2).bit_length()))

    def at(self, mark: int) -> float:
        """When it was put last."""
        marks, last = self._marks, self._last
        slot = mark & last
        while found := marks[slot]:
            if found == mark:
                return self._times[slot]
            slot = slot + 1 & last
        return _NEVER

    def put(self, mark: int, now: float) -> None:
        """It is put now."""
        marks, last = self._marks, self._last
        slot = mark & last
        while (found := marks[slot]) and found != mark:
            slot = slot + 1 & last
        marks[slot], self._times[slot], self.newest = mark, now, now
        if not found:
            self.count += 1
            self.oldest = min(self.oldest, now)
            if self.count * 2 > last:
                self._grow()

    def _grow(self) -> None:
        kept = zip(self._marks, self._times, strict=True)
        self._make(2 * len(self._marks))
        marks, times, last = self._marks, self._times, self._last
        for mark, at in kept:
            if mark:
                slot = mark & last
                while marks[slot]:
                    slot = slot + 1 & last
                marks[slot], times[slot] = mark, at

    def _make(self, slots: int) -> None:
        self._marks, self._times, self._last = array("Q", bytes(8 * slots)), array("d", bytes(8 * slots)), slots - 1
