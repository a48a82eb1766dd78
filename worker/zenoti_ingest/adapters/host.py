"""What a process takes from its host: the clock, random numbers and fresh ids. `core` takes all three as arguments."""

import random
import time
import uuid
from typing import Final

import uuid_utils

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


class SystemChance:
    """The port `Chance`; not fit for secrets."""

    def below(self, count: int) -> int:
        """As the port says."""
        return random.randrange(count)  # noqa: S311  # nothing secret comes of it


class SystemIds:
    """The port `Ids`."""

    def sortable(self) -> str:
        """As the port says."""
        return str(uuid_utils.uuid7())

    def random(self) -> str:
        """As the port says."""
        return str(uuid.uuid4())


class Host:
    """The port `Runtime`, by this host."""

    clock: Final = SystemClock()
    chance: Final = SystemChance()
    ids: Final = SystemIds()


HOST: Final = Host()
