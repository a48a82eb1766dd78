"""This host's clock."""

import time

from zenoti_ingest.core.operating.times import as_text


def unix_microseconds() -> int:
    """Now, by this host's clock, in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1000


def utc_now() -> str:
    """Now, RFC 3339 in UTC with six digits; sorts as text."""
    return as_text(unix_microseconds())


class SystemClock:
    """The port `Clock`, by this host's clock."""

    monotonic = staticmethod(time.monotonic)

    def unix_microseconds(self) -> int:
        """As the port says."""
        return unix_microseconds()

    def utc_now(self) -> str:
        """As the port says."""
        return utc_now()
