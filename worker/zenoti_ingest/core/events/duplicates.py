"""Idempotent receiver (EIP): remembers which keys were passed on within a time window.

It is best effort within a process; ids are stable, so receivers can drop the rest. It is limited in time and in number.
It keeps 64 bits of a key: Python's hash of the text, with a random seed per process. A key takes 21 to 42 bytes; in a
dict it would take 270. A new key has the same hash as any of 200,000 known keys once in 10^14 events.
"""

from array import array
from math import inf
from typing import Final

_BITS: Final = 2**64 - 1
_LEAST_SLOTS: Final = 256
_SLOTS_A_KEY: Final = 1.75  # with fewer slots, searching for an absent key takes long
_NEVER: Final = -inf


class DuplicateFilter:
    """Keys passed on recently; times are seconds of any monotonic clock.

    The keys are in two halves. Once the younger half is full, or as old as the window, the older half is forgotten. So
    the newest half of `max_keys` is always known, within the window.
    """

    def __init__(self, *, window_seconds: float, max_keys: int) -> None:
        self._window_seconds = window_seconds
        self._max_half = max_keys // 2
        self._young, self._old = self._half(), self._half()

    def __len__(self) -> int:
        return self._young.count + self._old.count

    def has(self, key: str, *, now: float) -> bool:
        """Whether the key was passed on within the window."""
        mark = _mark(key)
        at = self._young.at(mark)
        if at is _NEVER:
            at = self._old.at(mark)
        return now - at < self._window_seconds

    def remember(self, key: str, *, now: float) -> None:
        """Record that the key has been passed on (confirmed by the next hop)."""
        young = self._young
        if young.count >= self._max_half or now - young.oldest >= self._window_seconds:
            self._old = young if now - young.newest < self._window_seconds else self._half()
            self._young = young = self._half(expected=young.count)
        if self._max_half:
            young.put(_mark(key), now)

    def _half(self, *, expected: int = 0) -> "_Half":
        return _Half(expected, most=self._max_half)


def _mark(key: str) -> int:
    return hash(key) & _BITS or 1  # 0 is an empty slot


class _Half:
    """Marks and their times, in an open-addressed table.

    Args:
        expected: the number of marks that fit before the table grows.
        most: the largest number of marks.
    """

    def __init__(self, expected: int, *, most: int) -> None:
        self.count, self.oldest, self.newest = 0, inf, _NEVER
        self._most_slots = int(most * _SLOTS_A_KEY) + 1
        self._make(max(_LEAST_SLOTS, int(expected * _SLOTS_A_KEY) + 1))

    def at(self, mark: int) -> float:
        """When the mark was last put."""
        marks, slots = self._marks, self._slots
        slot = mark % slots
        while found := marks[slot]:
            if found == mark:
                return self.oldest + self._after[slot]
            slot = (slot + 1) % slots
        return _NEVER

    def put(self, mark: int, now: float) -> None:
        """Put a mark with the time `now`."""
        if not self.count:
            self.oldest = now
        marks, slots = self._marks, self._slots
        slot = mark % slots
        while (found := marks[slot]) and found != mark:
            slot = (slot + 1) % slots
        marks[slot], self._after[slot], self.newest = mark, now - self.oldest, now
        if not found:
            self.count += 1
            if self.count * _SLOTS_A_KEY > slots:
                self._grow()

    def _grow(self) -> None:
        kept = zip(self._marks, self._after, strict=True)
        self._make(min(2 * self._slots, self._most_slots))
        marks, afters, slots = self._marks, self._after, self._slots
        for mark, after in kept:
            if mark:
                slot = mark % slots
                while marks[slot]:
                    slot = (slot + 1) % slots
                marks[slot], afters[slot] = mark, after

    def _make(self, slots: int) -> None:
        """Make an empty table. `_after`: seconds since the oldest mark; over a day exact to milliseconds."""
        self._marks, self._after, self._slots = array("Q", bytes(8 * slots)), array("f", bytes(4 * slots)), slots
