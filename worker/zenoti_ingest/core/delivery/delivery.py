"""A message of a queue, until it is settled."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Delivery(msgspec.Struct, frozen=True):
    """A message of a queue until it is acknowledged or its channel closes.

    Attributes:
        tag: its number on the channel.
        settle: acknowledges a tag; False where the channel is gone.
        came_at: the event loop's time.
    """

    body: bytes
    headers: Mapping[str, Any]
    message_id: str
    content_type: str | None
    content_encoding: str | None
    tag: int
    settle: Callable[[int], bool]
    came_at: float = 0.0
    exchange: str = ""
    routing_key: str = ""

    @property
    def returned(self) -> int:
        """How often it has come back unsettled, as the broker counts it: hand-backs too, up to 4.2."""
        count = self.headers.get("x-delivery-count")
        return count if isinstance(count, int) else 0

    def ack(self) -> bool:
        """Settle it; False where its channel is gone and it will come again."""
        return self.settle(self.tag)
