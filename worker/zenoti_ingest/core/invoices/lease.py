"""May this process still call the API for a lane? As long as the broker has lately answered on the lane's own channel.

No consumer hears that it has ceased to be the active one. A process that was frozen, or cut off, learns it from
a closed channel, but only once it reads its socket; until then it must not call. So what counts is when it *asked*: an
answer that was read from a buffer says nothing of now. A successor waits for as long as a lease can last.
"""

from math import inf


class Lease:
    """The right to call, for so many seconds since the last question that was answered; of any monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._asked_at = -inf

    def renew(self, asked_at: float) -> None:
        """A question that was sent then has been answered, and the broker has confirmed a state since."""
        self._asked_at = max(self._asked_at, asked_at)

    def end(self) -> None:
        """The lane is left."""
        self._asked_at = -inf

    def holds(self, now: float) -> bool:
        """Whether a call may go."""
        return now - self._asked_at < self.seconds
