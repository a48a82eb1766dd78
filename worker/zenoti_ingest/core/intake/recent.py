"""The events confirmed since the topology was last seen complete, limited in bytes; the oldest are forgotten first.

The broker confirms an event even if only the archive is bound. When the raw queue is found missing, the events
confirmed since the last good check began may be only in the archive, so they are published to the raw queue again.
"""

from collections import deque
from typing import Final

from zenoti_ingest.core.events.messages import Received

MAX_BYTES: Final = 32 * 1024 * 1024
_EVENT_BYTES: Final = 600  # memory of an event beside its body


class Recent:
    """The recently confirmed events, oldest first.

    Attributes:
        forgotten_at: when the newest forgotten event was received; empty: none was forgotten.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: deque[Received] = deque()
        self._before_look = 0
        self.forgotten_at = ""

    def add(self, event: Received) -> None:
        """Add an event that the broker has confirmed."""
        self._events.append(event)
        self._bytes += _size(event)
        while self._bytes > self._max_bytes:
            self.forgotten_at = self._drop().received_at

    def look_begins(self) -> None:
        """A check of the topology begins; it proves nothing about events confirmed from now on."""
        self._before_look = len(self._events)

    def look_was_good(self) -> None:
        """The check was good: drop the events that were confirmed before it began."""
        for _ in range(self._before_look):
            self._drop()
        self.forgotten_at = ""

    def take(self) -> list[Received]:
        """Remove and return all events."""
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
