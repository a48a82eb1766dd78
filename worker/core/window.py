"""Aggregator (EIP) over the unacknowledged events of a lane, grouped by invoice: one call serves all that wait for it.

A round takes every waiting event of one invoice, so its call starts after the last of them was received. Events that
come while the call is in flight wait for a round of their own: the answer may be older than they are.

A *suspect* has come back so often that it may be what ends the process. Invoices with a suspect among their events
are served when no other is ready, in an order that differs from process to process, and once they are few one at a
time with nothing beside: so the one that kills takes none along, and is found among many that were merely handed back.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar
from zlib import crc32

import msgspec

FEW_SUSPECTS = 10
T = TypeVar("T")


class Waiting(msgspec.Struct, Generic[T], frozen=True):
    """One event in the window. `order` sorts by time of receipt, live events before replayed ones."""

    order: tuple[bool, str, str]
    item: T
    suspect: bool = False


class Round(msgspec.Struct, Generic[T], frozen=True):
    """One call: the invoice, and the events it serves, by time of receipt."""

    invoice_id: str
    waiting: Sequence[Waiting[T]]
    alone: bool = False


class Window(Generic[T]):
    """The waiting events of one lane. Times are seconds of any monotonic clock.

    Args:
        shuffle: any number of this process's own; it orders the suspects.
    """

    def __init__(self, *, shuffle: int = 0) -> None:
        self._shuffle = shuffle
        self._waiting: dict[str, list[Waiting[T]]] = {}
        self._in_flight: dict[str, Round[T]] = {}
        self._held_until: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + sum(len(r.waiting) for r in self._in_flight.values())

    @property
    def invoices(self) -> int:
        """Distinct invoices that wait for a call."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return len(self._in_flight)

    def add(self, invoice_id: str, *, order: tuple[bool, str, str], item: T, suspect: bool = False) -> None:
        """An event has come."""
        self._waiting.setdefault(invoice_id, []).append(Waiting(order, item, suspect))

    def next_round(self, now: float) -> Round[T] | None:
        """Begin the round of the invoice whose event has waited longest; None where nothing may be fetched now."""
        if any(begun.alone for begun in self._in_flight.values()):
            return None
        ready = [
            (min(w.order for w in waiting), invoice_id)
            for invoice_id, waiting in self._waiting.items()
            if invoice_id not in self._in_flight and self._held_until.get(invoice_id, now) <= now
        ]
        good = [one for one in ready if not self._is_suspect(self._waiting[one[1]])]
        alone = not good and len(ready) <= FEW_SUSPECTS
        if good:
            _, invoice_id = min(good)
        elif ready and not (alone and self._in_flight):
            invoice_id = min((crc32(one.encode(), self._shuffle), one) for _, one in ready)[1]
        else:
            return None
        self._held_until.pop(invoice_id, None)
        begun = Round(invoice_id, sorted(self._waiting.pop(invoice_id), key=lambda w: w.order), alone)
        self._in_flight[invoice_id] = begun
        return begun

    def finish(self, begun: Round[T]) -> None:
        """The round's events are settled."""
        del self._in_flight[begun.invoice_id]

    def hold(self, begun: Round[T], *, until: float) -> None:
        """The round came to nothing: its events wait again, for the invoice's next round at the given time."""
        self.finish(begun)
        self._waiting.setdefault(begun.invoice_id, []).extend(begun.waiting)
        self._held_until[begun.invoice_id] = until

    @staticmethod
    def _is_suspect(waiting: Sequence[Waiting[T]]) -> bool:
        return any(w.suspect for w in waiting)

    def next_change(self, now: float) -> float | None:
        """Seconds until the first held invoice may be fetched again; None where none is held."""
        held = [until for until in self._held_until.values() if until > now]
        return min(held) - now if held else None
