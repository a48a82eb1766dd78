"""What was confirmed since the topology was last seen whole.

A bound archive alone confirms what it gets: when the raw queue is found missing, what was confirmed since the last
good look began may be in the archive alone, and is put into the raw queue again. Bounded by bytes, oldest forgotten.
"""

from collections import deque
from typing import Final

from zenoti_ingest.core.events.messages import Received

MAX_BYTES: Final = 32 * 1024 * 1024
_EVENT_BYTES: Final = 600  # what an event costs beside its body


class Recent:
    """The events, oldest first.

    Attributes:
        forgotten_at: when the newest event was received that had to be forgotten; empty: none was.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: deque[Received] = deque()
        self._before_look = 0
        self.forgotten_at = ""

    def add(self, event: Received) -> None:
        """The broker has confirmed it."""
        self._events.append(event)
        self._bytes += _size(event)
        while self._bytes > self._max_bytes:
            self.forgotten_at = self._drop().received_at

    def look_begins(self) -> None:
        """Whatever is confirmed from now on, this look does not vouch for."""
        self._before_look = len(self._events)

    def look_was_good(self) -> None:
        """All that had been confirmed when the look began is where it should be."""
        for _ in range(self._before_look):
            self._drop()
        self.forgotten_at = ""

    def take(self) -> list[Received]:
        """All of them, out of our hands."""
        events = list(self._events)
        self._events.clear()
        self._bytes = self._before_look = 0
        self.forgotten_at = ""
        return events

    def _drop(self) -> Received:
        event = self._events.popleft()
        self._bytes -= _size(event)
        self._before_look = max(0, self._before_look - 1)
        return event


def _size(event: Received) -> int:
    return len(event.body) + _EVENT_BYTES
