"""The arrival of a lane's backlog after a take-over: events that belong to one call should share it."""

import msgspec

QUIET_SECONDS = 0.1  # deliveries of a backlog follow each other far more closely, even on a busy broker
MAX_SECONDS = 1.0


class Filling(msgspec.Struct):
    """The filling of the window, from the first delivery on. Times are of the event loop's clock.

    Attributes:
        until: when it is over at the latest.
        latest: when the latest delivery came.
        is_taken_over: the predecessor calls no more, and what it said of the lane's times has been heard.
    """

    until: float
    latest: float
    is_taken_over: bool = False

    @classmethod
    def begun(cls, now: float) -> "Filling":
        """The first delivery has come."""
        return cls(until=now + MAX_SECONDS, latest=now)

    def is_under_way(self, now: float, *, is_full: bool) -> bool:
        """Whether a call should wait: for the take-over, or for more of the backlog, which is expected at once."""
        if not self.is_taken_over:
            return True
        return now < self.until and now - self.latest < QUIET_SECONDS and not is_full
