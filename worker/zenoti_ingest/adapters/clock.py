"""The clock and fresh ids. `core` reads neither; it takes both as arguments."""

import time
from datetime import UTC, datetime
from functools import lru_cache

import uuid_utils


def unix_microseconds() -> int:
    """Now, by this host's clock, in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1000


def utc_now() -> str:
    """Now, RFC 3339 in UTC with six digits; sorts as text."""
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)  # a quarter of the time of datetime's isoformat
    return f"{_to_the_second(second)}.{nanoseconds // 1000:06d}Z"


@lru_cache(maxsize=2)
def _to_the_second(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))


def seconds_since(at: str) -> float | None:
    """Seconds since `at`, by this host's clock, at least 0; None if `at` is not a time with a zone."""
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())
    except (ValueError, TypeError):  # not a time, or a time without a zone
        return None


def new_receipt_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time."""
    return str(uuid_utils.uuid7())
