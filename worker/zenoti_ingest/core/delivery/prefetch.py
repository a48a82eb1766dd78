"""How many deliveries a subscription takes. AMQP bounds their number alone, so the number follows the sizes seen.

It begins with all that the stage can hold: bytes are bounded as bodies come, and the number only keeps it rare that one
is too many. Each change costs a subscription: the channel is closed, which hands back what is in hand, out of its turn
where others consume the queue, too, and the next one takes another number. So it shrinks only where the bound was
passed, and grows again only where the number was the limit, at once as far as the sizes allow.
"""

from math import inf
from typing import Final

from zenoti_ingest.core.failures.policy import RETURNS_OF_A_SUSPECT

FIRST_PATIENCE_SECONDS: Final = 10.0
MAX_PATIENCE_SECONDS: Final = 600.0
_SHARE: Final = 2  # what is in hand is to take one part in so many: the next events may be larger
_LEAST_GROWTH: Final = 2  # times as many, or it is not worth a subscription


class Prefetch:
    """The number for one queue; times are seconds of any monotonic clock.

    Args:
        most: deliveries that the stage can hold.
        max_bytes: of their bodies in hand.

    Attributes:
        count: for the next subscription, from 1 to `most`.
    """

    def __init__(self, most: int, *, max_bytes: int) -> None:
        self._most = most
        self._max_bytes = max_bytes
        self._patience = 0.0
        self._passed_at = -inf
        self.count = most

    @property
    def can_grow(self) -> bool:
        """Whether a subscription may ever be worth more deliveries than now."""
        return self.count < self._most

    def grow(self, held: int, held_bytes: int, *, returned: int, now: float) -> bool:
        """As many deliveries are in hand as may be. Whether the next subscription is to take more: then `count` is so.

        Args:
            held: deliveries in hand.
            held_bytes: of their bodies.
            returned: how often the one among them that was handed back most often has come back.
            now: the time.
        """
        wanted = min(self._most, held * self._max_bytes // (_SHARE * max(held_bytes, 1)))
        if wanted <= self.count or wanted < min(self._most, _LEAST_GROWTH * self.count):
            return False
        if now < self._passed_at + self._patience:
            return False
        if returned + 1 >= RETURNS_OF_A_SUSPECT:
            return False  # handed back once more it would be taken for what ends the process
        self.count = wanted
        return True

    def passed(self, held: int, *, now: float) -> None:
        """So many deliveries were in hand when the next one would have passed the bound: fewer from now on.

        What passes it again and again waits longer each time until it may grow: each time costs the events in hand a
        delivery count.
        """
        if now - self._passed_at > MAX_PATIENCE_SECONDS:
            self._patience = 0.0
        self._patience = min(max(2 * self._patience, FIRST_PATIENCE_SECONDS), MAX_PATIENCE_SECONDS)
        self._passed_at = now
        self.count = max(1, min(self.count, held // _SHARE))
