"""Decides when the next API call may go: a token bucket and a sliding window.

The quota, by default 60 calls a minute, belongs to the organisation at the vendor, and other integrations spend from it
too. The vendor's words can mean a bucket or a fixed window. These rules obey both:

- No 60 s contain more than `calls_per_minute` calls (all times have half a second of margin for the way to the API).
- At the start, a single call is available. Calls are saved up while nothing waits: at most 10, and less than half of a
  minute's calls.
- After a burst of n saved calls the pace is `calls_per_minute` - n, until the burst is a minute old. So the window
  fills evenly, and no pause is longer than two intervals.
- Above 1,200 calls a minute, calls that come due within 50 ms go together, at most 10: a busy process wakes up late.
- The same rules hold across processes that follow each other: a process that leaves a lane in order passes on what it
  has `Spent`. A successor without that assumes that a burst has just gone.

The vendor's headers can only lower the pace.

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
_NEARLY = 0.05  # part of an interval: we may be woken this late
_LATE_SECONDS = 0.05  # with shorter intervals than this, calls that came due together go together
_LIMIT_HEADERS = ("organization-ratelimit-limit", "api-ratelimit-limit", "ratelimit-limit")
_LIMIT = re.compile(r"\s*(\d{1,9})(?:[^;]*;\s*w\s*=\s*(\d{1,6}))?")  # `60` or `60;w=60;b=60`


class RateLimitHeaders(msgspec.Struct, frozen=True):
    """What an answer's headers say about the quota; None: nothing usable.

    Attributes:
        remaining: calls left.
        reset_seconds: seconds until there are more calls.
        interval_seconds: seconds between two calls, by the smallest limit in the headers.
        retry_after_seconds: how long to send nothing.
    """

    remaining: int | None = None
    reset_seconds: float | None = None
    interval_seconds: float | None = None
    retry_after_seconds: float | None = None


def rate_limit(headers: Mapping[str, str]) -> RateLimitHeaders:
    """Read the headers (names in lower case) of an answer; each is optional, and values out of bounds are ignored."""
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
        calls: ages of the calls of the last minute, oldest first.
        saved: ages of the calls that were saved up, i.e. went while more than one token was there.
        tokens: calls saved up; below 1: a fraction of the next call; negative: calls that must come due first.
        pause_seconds: how long the vendor wants no call.
        interval_seconds: seconds between two calls by the vendor's headers; 0: as configured.
    """

    calls: tuple[float, ...] = ()
    saved: tuple[float, ...] = ()
    tokens: float = 1.0
    pause_seconds: float = 0.0
    interval_seconds: float = 0.0


class Quota:
    """The quota of a source; times are seconds of any monotonic clock."""

    def __init__(self, *, calls_per_minute: float, now: float) -> None:
        self._configured = 60 / calls_per_minute
        self._tokens = 1.0
        self._counted_at = now
        self._not_before = now
        self._saved: deque[float] = deque(maxlen=MOST_SAVED)  # calls that went while more than one token was there
        self._may_go_at: float | None = None  # cached: `wait` is called far more often than anything changes
        self._keep_to(self._configured)
        self._calls: deque[float] = deque(maxlen=self._in_a_window)
        self.remaining: int | None = None

    @property
    def calls_per_minute(self) -> float:
        """The pace: as configured, or less if the vendor says so. Above 1 a minute, fractions are rounded down."""
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
        saved = sum(at + _KEPT_SECONDS > now for at in self._saved)  # a minute has one burst, perhaps in several parts
        return min(max(1 + self._late, self._most - saved), tokens)

    def spend(self, now: float) -> None:
        """Record a call that goes now."""
        self._count(now)
        if self._tokens > 1 + self._late + _NEARLY:
            self._saved.append(now)
        self._tokens -= 1
        self._calls.append(now)

    def save_nothing(self, now: float) -> None:
        """Events wait, but not for the quota: calls that come due meanwhile are not saved up."""
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
        """Continue where a predecessor ended; None: nothing is known about it, so assume that a burst has just gone."""
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
        """Send nothing for `seconds`, since the vendor says that no call is left; drop the saved calls."""
        self._may_go_at = None
        self._not_before = max(self._not_before, now + seconds)
        self._tokens = 1.0
        self._counted_at = self._not_before  # nothing is saved up meanwhile

    def correct(self, said: RateLimitHeaders, *, now: float) -> None:
        """Adopt the vendor's values if they allow less than ours."""
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
        """Adopt an interval, in seconds between two calls. The calls so far still count."""
        self._may_go_at = None
        self._interval = interval
        self._late = min(int(_LATE_SECONDS / interval), MOST_SAVED - 1)
        whole = int(self.calls_per_minute + _ROUNDING)
        self._in_a_window = max(1, whole)
        self._pace = _KEPT_SECONDS / (whole or self.calls_per_minute)
        self._most = max(1, min(MOST_SAVED, int(_MOST_SAVED_SHARE * whole)))

    def _count(self, now: float) -> None:
        """Bring the tokens up to date; call this before every change."""
        self._may_go_at = None
        self._tokens, self._counted_at = self.tokens(now), max(now, self._counted_at)

    def _place_at(self) -> float:
        """When the window has room for another call."""
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
        """Yield (from, until, seconds per token) for the time since tokens were last counted."""
        since = self._counted_at
        for saved, at in zip(range(len(self._saved), 0, -1), self._saved, strict=True):
            burst = min(saved + 1, self._most)  # the last call of a burst used the last token, and is not in _saved
            if burst > 1 and at + _KEPT_SECONDS > since:  # a burst of 1: nothing can be saved up
                yield since, at + _KEPT_SECONDS, _KEPT_SECONDS / (self._in_a_window - burst)
                since = at + _KEPT_SECONDS
        yield since, inf, self._pace


def _ages(times: Iterable[float], now: float) -> tuple[float, ...]:
    """The ages of the times that still count."""
    return tuple(round(now - at, 3) for at in times if now - at < _KEPT_SECONDS)


def _interval(text: str) -> float | None:
    found = _LIMIT.match(text)
    if found is None or int(found[1]) == 0:
        return None
    return min(float(found[2] or WINDOW_SECONDS) / int(found[1]), WINDOW_SECONDS)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a date, which is compared with the answer's own date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "")
    seconds = _whole(text)
    if seconds is None:
        try:
            wanted, said = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
            seconds = (wanted - said).total_seconds()
        except (ValueError, TypeError, OverflowError):  # not a date, an impossible year, or only one date has a zone
            return None
    return min(max(seconds, 1.0), MAX_WAIT_SECONDS)


def _bounded(seconds: float | None) -> float | None:
    """The seconds; None if they exceed MAX_WAIT_SECONDS, since that is a time of day or nonsense."""
    return seconds if seconds is not None and seconds <= MAX_WAIT_SECONDS else None


def _whole(text: str) -> float | None:
    plain = text.strip()
    return min(float(plain), _NO_NUMBER_ABOVE) if plain.isascii() and plain.isdecimal() else None
