"""The lease: a process may call the API for a lane only while the broker has recently answered on the lane's channel.

RabbitMQ does not notify a consumer that it is no longer the active consumer. A process that was frozen or cut off
learns it from a closed channel, but only once it reads its socket; until then it must not call. So the time of the
*question* counts: an answer read from a buffer proves nothing about now. A successor waits as long as a lease can last.
"""

from math import inf


class Lease:
    """The right to call, for `seconds` after the last answered question was sent; times of any monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._asked_at = -inf

    def renew(self, asked_at: float) -> None:
        """A question sent at `asked_at` has been answered, and the broker has confirmed a state since."""
        self._asked_at = max(self._asked_at, asked_at)

    def end(self) -> None:
        """End the lease: this process leaves the lane."""
        self._asked_at = -inf

    def holds(self, now: float) -> bool:
        """Whether a call may go."""
        return now - self._asked_at < self.seconds
