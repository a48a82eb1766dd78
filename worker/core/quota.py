"""Token bucket: when may the next API call go?

The quota belongs to the vendor's whole organisation, 60 calls a minute by default, and other integrations spend from it
too. A token comes every 60 / calls_per_minute seconds, at most ten are saved up, and one is there at the start: a new
holder cannot know what its predecessor spent. What the vendor's headers say corrects it, downwards only.

Source: https://docs.zenoti.com, "Rate limits"; header fields as in draft-ietf-httpapi-ratelimit-headers.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import msgspec

BURST = 10
WINDOW_SECONDS = 60.0
MAX_WAIT_SECONDS = 900.0
_NO_NUMBER_ABOVE = 1e9
_LIMIT_HEADERS = ("organization-ratelimit-limit", "api-ratelimit-limit", "ratelimit-limit")
_LIMIT = re.compile(r"\s*(\d{1,9})(?:[^;]*;\s*w\s*=\s*(\d{1,6}))?")  # `60` or `60;w=60;b=60`


class Told(msgspec.Struct, frozen=True):
    """What an answer's headers say of the quota; None where they say nothing that can be.

    Attributes:
        remaining: calls left.
        reset_seconds: until there are more.
        interval_seconds: between two calls, by the smallest limit told.
        retry_after_seconds: how long to send nothing.
    """

    remaining: int | None = None
    reset_seconds: float | None = None
    interval_seconds: float | None = None
    retry_after_seconds: float | None = None


def told(headers: Mapping[str, str]) -> Told:
    """Read the headers (names in lower case) of an answer; each is optional, and none is trusted beyond its bounds."""
    remaining = _whole(headers.get("ratelimit-remaining", ""))
    intervals = [interval for name in _LIMIT_HEADERS if (interval := _interval(headers.get(name, ""))) is not None]
    return Told(
        remaining=None if remaining is None else int(remaining),
        reset_seconds=_bounded(_whole(headers.get("ratelimit-reset", ""))),
        interval_seconds=max(intervals, default=None),
        retry_after_seconds=_retry_after(headers),
    )


class Quota:
    """The calls of one source; times are seconds of any monotonic clock."""

    def __init__(self, *, calls_per_minute: float, now: float) -> None:
        self._configured = 60 / calls_per_minute
        self._interval = self._configured
        self._tokens = 1.0
        self._counted_at = now
        self._not_before = now
        self.remaining: int | None = None

    @property
    def calls_per_minute(self) -> float:
        """The pace: as configured, or less where the vendor says so."""
        return 60 / self._interval

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

    def correct(self, said: Told, *, now: float) -> None:
        """Believe what the vendor says where it is less than we thought."""
        self._tokens, self._counted_at = self.tokens(now), max(now, self._counted_at)
        self._interval = max(self._configured, said.interval_seconds or 0.0)
        if said.remaining is None:
            return
        self.remaining = said.remaining
        self._tokens = min(self._tokens, said.remaining)
        if said.remaining == 0:
            self.pause(WINDOW_SECONDS if said.reset_seconds is None else said.reset_seconds, now=now)


def _interval(text: str) -> float | None:
    found = _LIMIT.match(text)
    if found is None or int(found[1]) == 0:
        return None
    return min(float(found[2] or WINDOW_SECONDS) / int(found[1]), WINDOW_SECONDS)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a date, which is taken against the answer's own (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "")
    seconds = _whole(text)
    if seconds is None:
        try:
            wanted, said = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
            seconds = (wanted - said).total_seconds()
        except (ValueError, TypeError, OverflowError):  # no date, one of no year, or only one of them has a zone
            return None
    return min(max(seconds, 1.0), MAX_WAIT_SECONDS)


def _bounded(seconds: float | None) -> float | None:
    """What lies beyond the bound is no number of seconds, but a time of day or worse."""
    return seconds if seconds is not None and seconds <= MAX_WAIT_SECONDS else None


def _whole(text: str) -> float | None:
    plain = text.strip()
    return min(float(plain), _NO_NUMBER_ABOVE) if plain.isascii() and plain.isdecimal() else None
