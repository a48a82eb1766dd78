"""Aggregator (EIP) over the unacknowledged events of a lane, grouped by key: a single call serves all waiting events.

The key is the id of what is fetched, for instance of an invoice. A round takes every waiting event of a key, so its
call starts after the last of them was received. Events that come while the call is in flight wait for another round,
since the answer may be older than they are.

A *suspect* is an event redelivered so often that it may be what ends the process. Keys with suspects are served when no
other key is ready, in an order that differs between processes. Once they are few, they are served one by one with no
other call in flight. So a deadly event takes no other event along, and is found among many that were just handed back.

While events come *densely*, as from a backlog, a key may linger: more of its events are probably on their way, and a
call costs more than the wait. When events come one by one, no key waits; nor when calls are scarce, since no token may
stay unused.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import islice
from math import inf
from typing import Generic, TypeVar
from zlib import crc32

import msgspec

FEW_SUSPECTS = 10
DENSE_EVENTS, DENSE_SECONDS = 50, 0.35  # 50 events within 0.35 s are dense: faster than on any normal day
PAUSE_SECONDS = 0.1  # after so long without an event, the backlog is in hand
LINGER_SECONDS = 0.5
T = TypeVar("T")


class Waiting(msgspec.Struct, Generic[T], frozen=True):
    """An event in the window. `order` sorts by time of receipt, live events before replayed events."""

    order: tuple[bool, str, str]
    item: T
    suspect: bool = False


class Round(msgspec.Struct, Generic[T], frozen=True):
    """A call: the key, and the events that it serves, by time of receipt."""

    key: str
    waiting: Sequence[Waiting[T]]
    alone: bool = False


class _Group(msgspec.Struct, Generic[T]):
    """The events of a key that wait for its next call."""

    earliest: tuple[bool, str, str]
    waiting: list[Waiting[T]]
    since: float
    suspect: bool = False


class Window(Generic[T]):
    """The waiting events of a lane. Times are seconds of any monotonic clock.

    A waiting key is in exactly one of four states: ready (`_ready`, a heap by the earliest event), ready with a
    suspect (`_suspects`), with a call in flight, or held. So finding the next round does not scan all keys.

    Args:
        shuffle: a number that differs between processes; it orders the suspects.
    """

    def __init__(self, *, shuffle: int = 0) -> None:
        self._shuffle = shuffle
        self._size = 0
        self._groups: dict[str, _Group[T]] = {}
        self._ready: list[
            tuple[tuple[bool, str, str], str]
        ] = []  # outdated entries are dropped when they reach the top
        self._suspects: dict[str, int] = {}
        self._in_flight: dict[str, Round[T]] = {}
        self._alone = False
        self._held_until: dict[str, float] = {}
        self._came: deque[float] = deque(maxlen=DENSE_EVENTS)

    def __len__(self) -> int:
        return self._size

    @property
    def key_count(self) -> int:
        """The number of keys that wait for a call."""
        return len(self._groups)

    @property
    def in_flight(self) -> int:
        """Calls under way, and failed calls whose cause is still in doubt."""
        return len(self._in_flight)

    def some_waiting(self, count: int) -> list[str]:
        """At most `count` of the keys that wait for a call."""
        return list(islice(self._groups, count))

    def add(self, key: str, *, order: tuple[bool, str, str], item: T, now: float, suspect: bool = False) -> None:
        """Add an event."""
        self._size += 1
        self._came.append(now)
        self._wait(key, [Waiting(order, item, suspect)], since=now)

    def next_round(self, now: float, *, may_linger: bool = False) -> Round[T] | None:
        """Begin the round of the key whose event has waited longest; None if nothing may be fetched now."""
        if self._alone:
            return None
        for due in [held for held, until in self._held_until.items() if until <= now]:
            del self._held_until[due]
            self._offer(due)
        if may_linger and self._lingers_for(now):
            return None
        key = self._oldest()
        alone = key is None and len(self._suspects) <= FEW_SUSPECTS
        if key is None and self._suspects and not (alone and self._in_flight):
            key = min((place, suspect) for suspect, place in self._suspects.items())[1]
        if key is None:
            return None
        self._suspects.pop(key, None)
        waiting = self._groups.pop(key).waiting
        begun = Round(key, sorted(waiting, key=lambda w: w.order), alone)
        self._in_flight[key] = begun
        self._alone = alone
        return begun

    def finish(self, begun: Round[T]) -> None:
        """End a round whose events are settled."""
        self._end(begun)
        self._size -= len(begun.waiting)
        if begun.key in self._groups:
            self._offer(begun.key)

    def hold(self, begun: Round[T], *, until: float) -> None:
        """End a round without result: its events wait again, for the key's next round at the time `until`."""
        self._end(begun)
        self._held_until[begun.key] = until
        self._wait(begun.key, begun.waiting, since=-inf)

    def next_change(self, now: float, *, may_linger: bool = False) -> float | None:
        """Seconds until the first held or lingering key may be fetched; None if there is no such key."""
        changes = [until - now for until in self._held_until.values() if until > now]
        if may_linger and (lingers := self._lingers_for(now)):
            changes.append(lingers)
        return min(changes, default=None)

    def _lingers_for(self, now: float) -> float:
        """Seconds that the longest waiting ready key should still linger, if no event comes meanwhile."""
        oldest = self._oldest()
        if oldest is None or len(self._came) < DENSE_EVENTS or self._came[-1] - self._came[0] > DENSE_SECONDS:
            return 0.0
        return max(0.0, min(self._came[-1] + PAUSE_SECONDS, self._groups[oldest].since + LINGER_SECONDS) - now)

    def _wait(self, key: str, waiting: Sequence[Waiting[T]], *, since: float) -> None:
        earliest, suspect = min(w.order for w in waiting), any(w.suspect for w in waiting)
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = _Group(earliest, list(waiting), since, suspect)
        else:
            group.waiting.extend(waiting)
            if group.earliest <= earliest and group.suspect >= suspect:
                return
            group.earliest, group.suspect = min(group.earliest, earliest), group.suspect or suspect
        self._offer(key)

    def _offer(self, key: str) -> None:
        """Make a waiting key ready, unless its call is in flight or it is held; the end of either calls this again."""
        if self._is_away(key):
            return
        group = self._groups[key]
        if group.suspect:
            self._suspects[key] = crc32(key.encode(), self._shuffle)
        else:
            heappush(self._ready, (group.earliest, key))

    def _oldest(self) -> str | None:
        """The ready key without a suspect whose event has waited longest."""
        while self._ready:
            earliest, key = self._ready[0]
            group = self._groups.get(key)
            is_current = group is not None and group.earliest == earliest and not group.suspect
            if is_current and not self._is_away(key):
                return key
            heappop(self._ready)
        return None

    def _is_away(self, key: str) -> bool:
        return key in self._in_flight or key in self._held_until

    def _end(self, begun: Round[T]) -> None:
        del self._in_flight[begun.key]
        self._alone = False
