"""The organisation's quota at the vendor, by either reading of its pages: a bucket that fills evenly, or a window.

Other integrations of the same organisation spend from it too. Pure: callers pass the time, in seconds.
"""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Final, Protocol

import msgspec

from zenoti_ingest.simulator.bucket import Bucket

MINUTE: Final = 60.0
HEADERS: Final = ("RateLimit-Limit", "Organization-RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
RETRY_AFTER: Final = ("seconds", "date", "none")
READINGS: Final = ("bucket", "window")
_DAY_ONE: Final = datetime(2031, 5, 6, tzinfo=UTC)


class Meter(Protocol):
    """Counts the calls of an organisation."""

    def take(self, now: float, *, calls_per_minute: float, other_calls: float = 0.0) -> bool:
        """Whether a call may go now; others take so many calls a minute."""

    def headers(self) -> dict[str, str]:
        """The quota headers after the last `take`."""

    def retry_after(self) -> str:
        """Whole seconds until the next call may go, at least 1."""


class Window:
    """A fixed window: all calls of a minute are there at its beginning. Others spend theirs evenly.

    Args:
        phase: seconds after which the first window ends.
    """

    def __init__(self, *, phase: float) -> None:
        self._phase = phase
        self._number, self._spent, self._left = -1, 0, 0.0
        self._limit, self._ends_in = 0.0, MINUTE

    def take(self, now: float, *, calls_per_minute: float, other_calls: float = 0.0) -> bool:
        """As the protocol says."""
        number, gone = divmod(now - self._phase, MINUTE)
        if number != self._number:
            self._number, self._spent = int(number), 0
        self._limit, self._ends_in = calls_per_minute, MINUTE - gone
        left = calls_per_minute - other_calls * gone / MINUTE - self._spent
        is_free = left >= 1
        self._spent += is_free
        self._left = max(0.0, left - is_free)
        return is_free

    def headers(self) -> dict[str, str]:
        """As the protocol says."""
        limit = f"{self._limit:g};w=60;b={self._limit:g}"
        return {
            "RateLimit-Limit": limit,
            "Organization-RateLimit-Limit": limit,
            "RateLimit-Remaining": str(math.floor(self._left)),
            "RateLimit-Reset": str(math.ceil(self._ends_in)),
        }

    def retry_after(self) -> str:
        """As the protocol says."""
        return str(max(1, math.ceil(self._ends_in)))


class QuotaTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a world has drawn of the vendor's quota.

    Attributes:
        calls_per_minute: of the whole organisation.
        reading: `bucket` or `window`.
        other_calls: calls a minute of other integrations.
        headers: the headers that answers have; each is optional.
        retry_after: how a 429 says when to come again: `seconds`, `date` or `none`.
        phase: seconds after which the first fixed window ends.
    """

    calls_per_minute: float = 60.0
    reading: str = "bucket"
    other_calls: float = 0.0
    headers: tuple[str, ...] = HEADERS
    retry_after: str = "seconds"
    phase: float = 0.0

    def meter(self, now: float) -> Meter:
        """A meter that begins full."""
        if self.reading == "bucket":
            return Bucket(calls_per_minute=self.calls_per_minute, speed=1.0, now=now)
        return Window(phase=self.phase)


def drawn_terms(random: Random, *, calls_per_minute: float) -> QuotaTerms:
    """Terms for a world; in every third, others use up to half of the quota."""
    return QuotaTerms(
        calls_per_minute=calls_per_minute,
        reading=random.choice(READINGS),
        other_calls=random.choice((0.0, 0.0, random.uniform(0, calls_per_minute / 2))),
        headers=random.choice(((), HEADERS, tuple(name for name in HEADERS if random.random() < 0.5))),
        retry_after=random.choice(RETRY_AFTER),
        phase=random.uniform(0, MINUTE),
    )


def retry_after_headers(form: str, seconds: str, now: float) -> dict[str, str]:
    """How a 429 says when to come again: in seconds, as a date beside the answer's own, or not at all."""
    if form == "none":
        return {}
    if form == "seconds":
        return {"Retry-After": seconds}
    at = _DAY_ONE + timedelta(seconds=int(now))
    return {
        "Retry-After": format_datetime(at + timedelta(seconds=int(seconds)), usegmt=True),
        "Date": format_datetime(at, usegmt=True),
    }
