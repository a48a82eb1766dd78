"""How long to wait before the next attempt."""

import msgspec


class Backoff(msgspec.Struct):
    """Waits that double with each failure in a row.

    Attributes:
        first_seconds: the wait after the first failure.
        max_seconds: the longest wait.
        seconds: the wait after the latest failure; 0: no attempt has failed since the last success.
    """

    first_seconds: float
    max_seconds: float
    seconds: float = 0.0

    def failed(self) -> float:
        """Note a failure; return how long to wait before the next attempt."""
        self.seconds = min(max(2 * self.seconds, self.first_seconds), self.max_seconds)
        return self.seconds

    def succeeded(self) -> None:
        """Note a success: the next failure is the first again."""
        self.seconds = 0.0
