"""A delivery: a message that the broker has given us and that we have not settled yet."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Delivery(msgspec.Struct, frozen=True):
    """A message that we hold until it is acknowledged or its channel closes.

    Attributes:
        tag: the delivery tag on its channel.
        settle: acknowledges a tag; returns False if the channel is closed.
        came_at: when it came, by the event loop's clock, in seconds.
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
        """How often it was redelivered, by the broker's count; up to RabbitMQ 4.2 that includes our hand-backs."""
        count = self.headers.get("x-delivery-count")
        return count if isinstance(count, int) else 0

    def ack(self) -> bool:
        """Acknowledge it; return False if its channel is closed, so that it will come again."""
        return self.settle(self.tag)
