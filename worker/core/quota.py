"""Token bucket: when may the next API call go?

The quota belongs to the vendor's whole organisation, 60 calls a minute by default. A token comes every
60 / calls_per_minute seconds, at most ten are saved up, and one is there at the start: a new holder cannot know what
its predecessor spent.
"""

BURST = 10


class Quota:
    """The calls of one source; times are seconds of any monotonic clock."""

    def __init__(self, *, calls_per_minute: float, now: float) -> None:
        self._interval = 60 / calls_per_minute
        self._tokens = 1.0
        self._counted_at = now
        self._not_before = now

    def wait(self, now: float) -> float:
        """Seconds until the next call may go; 0: now."""
        missing = max(0.0, 1.0 - self.tokens(now))
        return max(missing * self._interval, self._not_before - now, 0.0)

    def tokens(self, now: float) -> float:
        """Calls saved up."""
        return min(BURST, self._tokens + max(0.0, now - self._counted_at) / self._interval)

    def spend(self, now: float) -> None:
        """Count a call that goes now."""
        self._tokens = self.tokens(now) - 1
        self._counted_at = now

    def take_over(self, now: float) -> None:
        """Begin with one call: what a predecessor has spent is not known."""
        self._tokens = min(self.tokens(now), 1.0)
        self._counted_at = max(now, self._not_before)

    def pause(self, seconds: float, *, now: float) -> None:
        """The vendor says that nothing is left for so long: forget what was saved up."""
        self._not_before = max(self._not_before, now + seconds)
        self._tokens = 1.0
        self._counted_at = self._not_before  # nothing is saved up meanwhile
