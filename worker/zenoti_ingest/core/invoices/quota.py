"""When may the next API call go? A token bucket beside a sliding window.

The quota belongs to the vendor's whole organisation, 60 calls a minute by default, and other integrations spend from it
too. The vendor's words can mean a bucket or a fixed window. These rules obey both:

- No 60 s hold more than `calls_per_minute` calls (all times have half a second of margin for the way to the API).
- One call is there at the start. Calls are saved up while nothing waits: at most 10, and less than half of a minute's.
- After a burst of n saved calls the pace is that of `calls_per_minute` - n, until the burst is a minute old. So the
  window fills evenly, and no pause is longer than two intervals.
- Above 1,200 calls a minute, calls that come due within 50 ms go together, at most 10: a busy process wakes up late.
- The calls of several processes, one after the other, keep to the same: a process that leaves a lane in order hands on
  what is `Spent`. A successor without that assumes that a burst has just gone.

The vendor's headers correct the pace, downwards only.

Source: https://docs.zenoti.com, "Rate limits"; header fields as in draft-ietf-httpapi-ratelimit-headers.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from math import inf

import msgspec

MOST_SAVED = 10
WINDOW_SECONDS = 60.0
_KEPT_SECONDS = WINDOW_SECONDS + 0.5  # calls that leave a window apart can reach the API a little closer together
_MOST_SAVED_SHARE = 0.49  # of a minute's calls; a pace of less than half would pause for more than two intervals
MAX_WAIT_SECONDS = 900.0
_NO_NUMBER_ABOVE = 1e9
_ROUNDING = 1e-6
_NEARLY = 0.05  # of an interval: so late we may be woken
_LATE_SECONDS = 0.05  # where intervals are shorter than that, calls that came due together go together
_LIMIT_HEADERS = ("organization-ratelimit-limit", "api-ratelimit-limit", "ratelimit-limit")
_LIMIT = re.compile(r"\s*(\d{1,9})(?:[^;]*;\s*w\s*=\s*(\d{1,6}))?")  # `60` or `60;w=60;b=60`


class RateLimitHeaders(msgspec.Struct, frozen=True):
    """What an answer's headers say of the quota; None where they say nothing that can be.

    Attributes:
        remaining: calls left.
        reset_seconds: until there are more.
        interval_seconds: between two calls, by the smallest limit named.
        retry_after_seconds: how long to send nothing.
    """

    remaining: int | None = None
    reset_seconds: float | None = None
    interval_seconds: float | None = None
    retry_after_seconds: float | None = None


def rate_limit(headers: Mapping[str, str]) -> RateLimitHeaders:
    """Read the headers (names in lower case) of an answer; each is optional, and none is trusted beyond its bounds."""
    remaining = _whole(headers.get("ratelimit-remaining", ""))
    intervals = [interval for name in _LIMIT_HEADERS if (interval := _interval(headers.get(name, ""))) is not None]
    return RateLimitHeaders(
        remaining=None if remaining is None else int(remaining),
        reset_seconds=_bounded(_whole(headers.get("ratelimit-reset", ""))),
        interval_seconds=max(intervals, default=None),
        retry_after_seconds=_retry_after(headers),
    )


class Spent(msgspec.Struct, frozen=True):
    """What a successor must know; ages and spans in seconds.

    Attributes:
        calls: ages of the calls of the last minute, the oldest first.
        saved: ages of those that found more than one saved up.
        tokens: calls saved up; below 1: a part of the next, or of those before it.
        pause_seconds: how long the vendor wants none.
        interval_seconds: between two calls, by what the vendor said; 0: as configured.
    """

    calls: tuple[float, ...] = ()
    saved: tuple[float, ...] = ()
    tokens: float = 1.0
    pause_seconds: float = 0.0
    interval_seconds: float = 0.0


class Quota:
    """The calls of one source; times are seconds of any monotonic clock."""

    def __init__(self, *, calls_per_minute: float, now: float) -> None:
        self._configured = 60 / calls_per_minute
        self._tokens = 1.0
        self._counted_at = now
        self._not_before = now
        self._saved: deque[float] = deque(maxlen=MOST_SAVED)  # calls that found more than one
        self._may_go_at: float | None = None  # cached: `wait` is called far more often than anything changes
        self._keep_to(self._configured)
        self._calls: deque[float] = deque(maxlen=self._in_a_window)
        self.remaining: int | None = None

    @property
    def calls_per_minute(self) -> float:
        """The pace: as configured, or less where the vendor says so. Above one a minute, fractions are rounded down."""
        return 60 / self._interval

    def wait(self, now: float) -> float:
        """Seconds until the next call may go; 0: now."""
        if self._may_go_at is None:
            self._may_go_at = max(self._token_at(), self._place_at(), self._not_before)
        return max(self._may_go_at - now, 0.0)

    def tokens(self, now: float) -> float:
        """Calls saved up."""
        tokens = self._tokens
        for since, until, pace in self._paces():
            tokens += max(0.0, min(until, now) - since) / pace
        saved = sum(at + _KEPT_SECONDS > now for at in self._saved)  # a minute has one burst, be it in several parts
        return min(max(1 + self._late, self._most - saved), tokens)

    def spend(self, now: float) -> None:
        """Count a call that goes now."""
        self._count(now)
        if self._tokens > 1 + self._late + _NEARLY:
            self._saved.append(now)
        self._tokens -= 1
        self._calls.append(now)

    def save_nothing(self, now: float) -> None:
        """Events wait, and not for the quota: what comes due meanwhile is not saved up."""
        self._count(now)
        self._tokens = min(self._tokens, 1 + self._late)

    def hand_over(self, now: float) -> Spent:
        """What the next holder of the lane must know."""
        self._count(now)
        return Spent(
            calls=_ages(self._calls, now),
            saved=_ages(self._saved, now),
            tokens=round(self._tokens, 3),
            pause_seconds=round(max(0.0, self._not_before - now), 3),
            interval_seconds=self._interval,
        )

    def take_over(self, now: float, spent: Spent | None) -> None:
        """Go on where a predecessor ended; None: nothing is known of it, and at worst a burst has just gone."""
        self._count(now)
        if spent is None:
            self._tokens = min(self._tokens, 1.0 - self._most)
            return
        self._keep_to(max(self._configured, spent.interval_seconds))
        self._calls = deque((now - age for age in spent.calls), maxlen=self._calls.maxlen)
        self._saved = deque((now - age for age in spent.saved), maxlen=MOST_SAVED)
        self._tokens, self._counted_at = min(spent.tokens, self._most), now
        if spent.pause_seconds > 0:
            self.pause(min(spent.pause_seconds, MAX_WAIT_SECONDS), now=now)

    def pause(self, seconds: float, *, now: float) -> None:
        """The vendor says that nothing is left for so long: forget what was saved up."""
        self._may_go_at = None
        self._not_before = max(self._not_before, now + seconds)
        self._tokens = 1.0
        self._counted_at = self._not_before  # nothing is saved up meanwhile

    def correct(self, said: RateLimitHeaders, *, now: float) -> None:
        """Believe what the vendor says where it is less than we thought."""
        interval = max(self._configured, said.interval_seconds or 0.0)
        if interval != self._interval:
            self._count(now)
            self._keep_to(interval)
        if said.remaining is None:
            return
        self._count(now)
        self.remaining = said.remaining
        self._tokens = min(self._tokens, said.remaining)
        if said.remaining == 0:
            self.pause(WINDOW_SECONDS if said.reset_seconds is None else said.reset_seconds, now=now)

    def _keep_to(self, interval: float) -> None:
        """Take this pace, in seconds between two calls. The calls so far still count."""
        self._may_go_at = None
        self._interval = interval
        self._late = min(int(_LATE_SECONDS / interval), MOST_SAVED - 1)
        whole = int(self.calls_per_minute + _ROUNDING)
        self._in_a_window = max(1, whole)
        self._pace = _KEPT_SECONDS / (whole or self.calls_per_minute)
        self._most = max(1, min(MOST_SAVED, int(_MOST_SAVED_SHARE * whole)))

    def _count(self, now: float) -> None:
        """Count the tokens up to now; every change of what is counted begins with it."""
        self._may_go_at = None
        self._tokens, self._counted_at = self.tokens(now), max(now, self._counted_at)

    def _place_at(self) -> float:
        """When the window has a place for one more call."""
        is_full = len(self._calls) >= self._in_a_window
        return self._calls[-self._in_a_window] + _KEPT_SECONDS if is_full else -inf

    def _token_at(self) -> float:
        """When there is a whole token."""
        missing = 1.0 - self._tokens
        for since, until, pace in self._paces():
            if missing * pace <= until - since:
                return since + max(0.0, missing) * pace
            missing -= (until - since) / pace
        return inf  # not reached: the last pace has no end

    def _paces(self) -> Iterator[tuple[float, float, float]]:
        """From when until when a token comes how often, since tokens were last counted."""
        since = self._counted_at
        for saved, at in zip(range(len(self._saved), 0, -1), self._saved, strict=True):
            burst = min(saved + 1, self._most)  # the last of a burst found one
            if burst > 1 and at + _KEPT_SECONDS > since:  # with one, nothing can be saved up
                yield since, at + _KEPT_SECONDS, _KEPT_SECONDS / (self._in_a_window - burst)
                since = at + _KEPT_SECONDS
        yield since, inf, self._pace


def _ages(times: Iterable[float], now: float) -> tuple[float, ...]:
    """Of those that still count."""
    return tuple(round(now - at, 3) for at in times if now - at < _KEPT_SECONDS)


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
