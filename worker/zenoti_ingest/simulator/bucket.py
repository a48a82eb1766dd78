"""The organisation's quota: a single bucket for all keys, filled evenly, and the headers that show it.

It is pure: callers pass the time. Source: https://docs.zenoti.com/docs/api-rate-limits-1 (`60;w=60;b=60`); that it
fills evenly is a guess. The headers show scaled values: at sixty-fold speed, the sixty calls of a minute are those of a
second.
"""

import math
from typing import Final

_MINUTE: Final = 60.0


class Bucket:
    """The calls that may go; full at the start.

    Args:
        now: seconds of any monotonic clock, here and below.
        speed: how many simulated seconds pass in a real second.
    """

    def __init__(self, *, calls_per_minute: float, speed: float, now: float) -> None:
        self._size = calls_per_minute
        self._speed = speed
        self._filled_at = now
        self._tokens = calls_per_minute

    def take(self, now: float, *, calls_per_minute: float, other_calls: float = 0.0) -> bool:
        """Take a call, if any is left; the quota may have changed since the last call.

        Other integrations of the organisation have taken up to `other_calls` a minute meanwhile.
        """
        self._size = calls_per_minute
        filled = (now - self._filled_at) * (self._per_second - other_calls / _MINUTE * self._speed)
        self._tokens = min(self._size, max(0.0, self._tokens + filled))
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def headers(self) -> dict[str, str]:
        """The headers with what was left after the last `take`."""
        window = max(1, round(_MINUTE / self._speed))  # the vendor writes whole seconds
        limit = f"{self._per_second * window:g};w={window};b={self._size:g}"
        return {
            "RateLimit-Limit": limit,
            "Organization-RateLimit-Limit": limit,
            "RateLimit-Remaining": str(math.floor(self._tokens)),
            "RateLimit-Reset": str(math.ceil(self._seconds_until(self._size))),
        }

    def retry_after(self) -> str:
        """Whole seconds, never 0, since that would cause an immediate retry."""
        return str(max(1, math.ceil(self._seconds_until(1))))

    @property
    def _per_second(self) -> float:
        return self._size / _MINUTE * self._speed

    def _seconds_until(self, tokens: float) -> float:
        return max(0.0, tokens - self._tokens) / self._per_second
