"""Log lines that begin in threads of the spool; the event loop writes them, since logging is not made for threads."""

from collections import deque
from typing import Any

from zenoti_ingest.telemetry import log


class Lines:
    """Lines that wait to be written."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str, dict[str, Any]]] = deque()

    def info(self, event: str, /, **fields: Any) -> None:
        """A line that needs nobody."""
        self._waiting.append(("info", event, fields))

    def error(self, event: str, /, **fields: Any) -> None:
        """A line for an operator."""
        self._waiting.append(("error", event, fields))

    def write(self) -> None:
        """Write them; from the event loop alone."""
        while self._waiting:
            level, event, fields = self._waiting.popleft()
            getattr(log, level)(event, **fields)
