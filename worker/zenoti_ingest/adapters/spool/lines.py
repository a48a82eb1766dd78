"""Log lines from the spool's threads; the event loop writes them, since our logging is not thread-safe."""

from collections import deque
from typing import Any

from zenoti_ingest.telemetry import log


class Lines:
    """Log lines that wait to be written."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str, dict[str, Any]]] = deque()

    def info(self, event: str, /, **fields: Any) -> None:
        """Add a line that needs no action."""
        self._waiting.append(("info", event, fields))

    def error(self, event: str, /, **fields: Any) -> None:
        """Add a line that needs an operator."""
        self._waiting.append(("error", event, fields))

    def write(self) -> None:
        """Write the lines; call this only from the event loop."""
        while self._waiting:
            level, event, fields = self._waiting.popleft()
            getattr(log, level)(event, **fields)
