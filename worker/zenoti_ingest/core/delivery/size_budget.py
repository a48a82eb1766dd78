"""The largest allowed body of a message: a budget shared by all publishes of a process.

The broker counts only the body, and does not announce its limit. Only the refusal of a publish (406) names it, and that
refusal closes the channel under all other publishes. So each publish is checked against the budget before it is sent,
and a refusal lowers the budget to the broker's limit.
"""

import re
from typing import Final

from zenoti_ingest.core.failures.errors import TooLarge

DEFAULT_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024  # RabbitMQ's default from 4.0 on; 3.10 takes 128 MiB
_REFUSAL: Final = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


def limit_in(refusal: str) -> int | None:
    """The limit in bytes that a refusal (406) names; None if the refusal has another reason."""
    found = _REFUSAL.search(refusal)
    return int(found.group(1)) if found else None


class SizeBudget:
    """The budget of a process, shared by all its connections.

    Attributes:
        max_message_bytes: the largest allowed body; it only ever decreases.
    """

    def __init__(self, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self.max_message_bytes = max_message_bytes

    def lower(self, limit: int) -> bool:
        """Lower the budget to the broker's limit; return whether that changes the budget."""
        lowered = limit < self.max_message_bytes
        self.max_message_bytes = min(limit, self.max_message_bytes)
        return lowered

    def require(self, size: int) -> None:
        """Check the size of a body.

        Raises:
            TooLarge: the body exceeds the budget.
        """
        if size > self.max_message_bytes:
            raise TooLarge(f"{size} bytes; the broker takes at most {self.max_message_bytes}")
