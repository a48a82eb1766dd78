"""The prefetch of a subscription. AMQP only limits the number of deliveries, so this number follows the body sizes.

It begins with all that the stage can hold. Bytes are limited as bodies come; the prefetch only makes it rare that a
body is too many. Each change costs a subscription: closing the channel hands back what is in hand, out of order if
other processes consume the queue too, and the next subscription has another prefetch. So the prefetch shrinks only
after the limit in bytes was exceeded. It grows only when it was the limit itself, at once as far as the sizes allow.
"""

from math import inf
from typing import Final

from zenoti_ingest.core.failures.policy import RETURNS_OF_A_SUSPECT

FIRST_PATIENCE_SECONDS: Final = 10.0
MAX_PATIENCE_SECONDS: Final = 600.0
_SHARE: Final = 2  # bodies in hand should use half of the bytes: the next events may be larger
_LEAST_GROWTH: Final = 2  # a smaller factor is not worth a new subscription


class Prefetch:
    """The prefetch of a queue; times are seconds of any monotonic clock.

    Args:
        most: deliveries that the stage can hold.
        max_bytes: limit for their bodies in hand.

    Attributes:
        count: the prefetch of the next subscription, from 1 to `most`.
    """

    def __init__(self, most: int, *, max_bytes: int) -> None:
        self._most = most
        self._max_bytes = max_bytes
        self._patience = 0.0
        self._passed_at = -inf
        self.count = most

    @property
    def can_grow(self) -> bool:
        """Whether the prefetch is below the most that the stage can hold."""
        return self.count < self._most

    def grow(self, held: int, held_bytes: int, *, returned: int, now: float) -> bool:
        """`count` deliveries are in hand: raise `count` if that is worth a new subscription; return whether it is.

        Args:
            held: deliveries in hand.
            held_bytes: bytes of their bodies.
            returned: the highest redelivery count among them.
            now: the time.
        """
        wanted = min(self._most, held * self._max_bytes // (_SHARE * max(held_bytes, 1)))
        if wanted <= self.count or wanted < min(self._most, _LEAST_GROWTH * self.count):
            return False
        if now < self._passed_at + self._patience:
            return False
        if returned + 1 >= RETURNS_OF_A_SUSPECT:
            return False  # handed back once more, it would count as a suspect that may end the process
        self.count = wanted
        return True

    def passed(self, held: int, *, now: float) -> None:
        """The next body would have exceeded the limit while `held` deliveries were in hand: lower `count`.

        Each repetition doubles the time until `count` may grow again, since each costs the events in hand a delivery
        count.
        """
        if now - self._passed_at > MAX_PATIENCE_SECONDS:
            self._patience = 0.0
        self._patience = min(max(2 * self._patience, FIRST_PATIENCE_SECONDS), MAX_PATIENCE_SECONDS)
        self._passed_at = now
        self.count = max(1, min(self.count, held // _SHARE))
