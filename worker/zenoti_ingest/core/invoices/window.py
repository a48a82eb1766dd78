"""Aggregator (EIP) over the unacknowledged events of a lane, grouped by key: one call serves all that wait.

The key is the id of what is fetched, for instance of an invoice. A round takes every waiting event of one key, so its
call starts after the last of them was received. Events that come while the call is in flight wait for a round of their
own: the answer may be older than they are.

A *suspect* has come back so often that it may be what ends the process. Keys with a suspect among their events
are served when no other is ready, in an order that differs from process to process, and once they are few one at a
time with nothing beside: so the one that kills takes none along, and is found among many that were merely handed back.

While events come *densely*, as out of a backlog, a key may linger: the others of its events are still on their
way, and a call costs more than the wait. Where events come one by one no key waits; nor where calls are scarce,
since no token may lie idle.
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
DENSE_EVENTS, DENSE_SECONDS = 50, 0.35  # so many within so long: more than any day's pace
PAUSE_SECONDS = 0.1  # in which none has come: the backlog is in hand
LINGER_SECONDS = 0.5
T = TypeVar("T")


class Waiting(msgspec.Struct, Generic[T], frozen=True):
    """One event in the window. `order` sorts by time of receipt, live events before replayed ones."""

    order: tuple[bool, str, str]
    item: T
    suspect: bool = False


class Round(msgspec.Struct, Generic[T], frozen=True):
    """One call: the key, and the events it serves, by time of receipt."""

    key: str
    waiting: Sequence[Waiting[T]]
    alone: bool = False


class _Group(msgspec.Struct, Generic[T]):
    """The events of one key that wait for its next call."""

    earliest: tuple[bool, str, str]
    waiting: list[Waiting[T]]
    since: float
    suspect: bool = False


class Window(Generic[T]):
    """The waiting events of one lane. Times are seconds of any monotonic clock.

    A key that waits is in exactly one of four: ready (`_ready`, a heap by the earliest event), ready with a
    suspect (`_suspects`), with a call in flight, or held. So the next round costs no look at all others.

    Args:
        shuffle: any number of this process's own; it orders the suspects.
    """

    def __init__(self, *, shuffle: int = 0) -> None:
        self._shuffle = shuffle
        self._size = 0
        self._groups: dict[str, _Group[T]] = {}
        self._ready: list[tuple[tuple[bool, str, str], str]] = []  # what is outdated is dropped where it comes up
        self._suspects: dict[str, int] = {}
        self._in_flight: dict[str, Round[T]] = {}
        self._alone = False
        self._held_until: dict[str, float] = {}
        self._came: deque[float] = deque(maxlen=DENSE_EVENTS)

    def __len__(self) -> int:
        return self._size

    @property
    def key_count(self) -> int:
        """Distinct keys that wait for a call."""
        return len(self._groups)

    @property
    def in_flight(self) -> int:
        """Calls under way, and failed ones of which it is in doubt whose failure they are."""
        return len(self._in_flight)

    def some_waiting(self, count: int) -> list[str]:
        """So many of the keys that wait for a call, at most."""
        return list(islice(self._groups, count))

    def add(self, key: str, *, order: tuple[bool, str, str], item: T, now: float, suspect: bool = False) -> None:
        """An event has come."""
        self._size += 1
        self._came.append(now)
        self._wait(key, [Waiting(order, item, suspect)], since=now)

    def next_round(self, now: float, *, may_linger: bool = False) -> Round[T] | None:
        """Begin the round of the key whose event has waited longest; None where nothing may be fetched now."""
        if self._alone:
            return None
        for due in [one for one, until in self._held_until.items() if until <= now]:
            del self._held_until[due]
            self._offer(due)
        if may_linger and self._lingers_for(now):
            return None
        key = self._oldest()
        alone = key is None and len(self._suspects) <= FEW_SUSPECTS
        if key is None and self._suspects and not (alone and self._in_flight):
            key = min((place, one) for one, place in self._suspects.items())[1]
        if key is None:
            return None
        self._suspects.pop(key, None)
        waiting = self._groups.pop(key).waiting
        begun = Round(key, sorted(waiting, key=lambda w: w.order), alone)
        self._in_flight[key] = begun
        self._alone = alone
        return begun

    def finish(self, begun: Round[T]) -> None:
        """The round's events are settled."""
        self._end(begun)
        self._size -= len(begun.waiting)
        if begun.key in self._groups:
            self._offer(begun.key)

    def hold(self, begun: Round[T], *, until: float) -> None:
        """The round came to nothing: its events wait again, for the key's next round at the given time."""
        self._end(begun)
        self._held_until[begun.key] = until
        self._wait(begun.key, begun.waiting, since=-inf)

    def next_change(self, now: float, *, may_linger: bool = False) -> float | None:
        """Seconds until the first held or lingering key may be fetched; None where there is none."""
        changes = [until - now for until in self._held_until.values() if until > now]
        if may_linger and (lingers := self._lingers_for(now)):
            changes.append(lingers)
        return min(changes, default=None)

    def _lingers_for(self, now: float) -> float:
        """Seconds that the ready key which has waited longest is to be left alone, if no event comes meanwhile."""
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
        """Make a waiting key ready, unless its call is in flight or it is held: the end of that does so."""
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
