"""How large the body of a message may be: one budget for every publish of a process.

The broker counts the body alone, and does not announce its limit. Only the refusal of a publish (406) says it, and that
refusal closes the channel under all other publishes. So each publish is checked against the budget before it is sent,
and the budget follows what a refusal says.
"""

import re
from typing import Final

from zenoti_ingest.core.failures.errors import TooLarge

DEFAULT_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024  # what RabbitMQ takes from 4.0 on; 3.10 takes 128 MiB
_REFUSAL: Final = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


def limit_in(refusal: str) -> int | None:
    """The limit in bytes that a refusal (406) names; None where the refusal is for another reason."""
    found = _REFUSAL.search(refusal)
    return int(found.group(1)) if found else None


class SizeBudget:
    """The budget of one process, shared by all of its connections.

    Attributes:
        max_message_bytes: of a body; it only ever becomes smaller.
    """

    def __init__(self, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self.max_message_bytes = max_message_bytes

    def lower(self, limit: int) -> bool:
        """Follow the broker's limit; whether that changes the budget."""
        lowered = limit < self.max_message_bytes
        self.max_message_bytes = min(limit, self.max_message_bytes)
        return lowered

    def require(self, size: int) -> None:
        """Check the size of a body.

        Raises:
            TooLarge: the broker does not take so many bytes.
        """
        if size > self.max_message_bytes:
            raise TooLarge(f"{size} bytes; the broker takes at most {self.max_message_bytes}")
