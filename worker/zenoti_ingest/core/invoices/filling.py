"""Waits for a lane's backlog to arrive after a take-over, so that events which need the same call share it."""

import msgspec

QUIET_SECONDS = 0.1  # deliveries of a backlog come at much shorter intervals, even from a busy broker
MAX_SECONDS = 1.0


class Filling(msgspec.Struct):
    """The filling of the window, from the first delivery on. Times are of the event loop's clock.

    Attributes:
        until: when it ends at the latest.
        latest: when the latest delivery came.
        is_taken_over: the predecessor makes no more calls, and we have received its last time of the lane.
    """

    until: float
    latest: float
    is_taken_over: bool = False

    @classmethod
    def begun(cls, now: float) -> "Filling":
        """Begin with the first delivery."""
        return cls(until=now + MAX_SECONDS, latest=now)

    def is_under_way(self, now: float, *, is_full: bool) -> bool:
        """Whether a call should wait for the take-over, or for more of the backlog, which is expected at once."""
        if not self.is_taken_over:
            return True
        return now < self.until and now - self.latest < QUIET_SECONDS and not is_full
