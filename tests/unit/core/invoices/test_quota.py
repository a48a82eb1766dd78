from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zenoti_ingest.core.invoices.quota import (
    MAX_WAIT_SECONDS,
    MOST_SAVED,
    WINDOW_SECONDS,
    Quota,
    RateLimitHeaders,
    rate_limit,
)

NOW = 1000.0
ROUNDING = 1e-6  # seconds: what adding floats may lose
MARGIN = 60.5 / 60
rates = st.floats(1, 6000)


def test_one_call_at_the_start() -> None:
    """A new holder has one call and then one more a second: it cannot know what its predecessor spent."""
    quota = Quota(calls_per_minute=60, now=NOW)
    assert quota.wait(NOW) == 0.0
    quota.spend(NOW)
    assert quota.wait(NOW) == pytest.approx(MARGIN)
    assert quota.wait(NOW + 0.75) == pytest.approx(MARGIN - 0.75)
    assert quota.wait(NOW + 1.01) == 0.0


def test_saves_up_ten_calls_at_most() -> None:
    """After any silence ten calls may go at once; until they are a minute old the pace is that of the other fifty."""
    quota, now, calls = Quota(calls_per_minute=60, now=NOW), NOW + 3600, list[float]()
    assert quota.tokens(now) == MOST_SAVED == 10
    for _ in range(70):
        now += quota.wait(now)
        quota.spend(now)
        calls.append(now - NOW - 3600)
    assert calls[:10] == [0.0] * 10
    pauses = [after - before for before, after in pairwise(calls[9:])]
    assert pauses[:50] == pytest.approx([60.5 / 50] * 50, abs=1e-3)
    assert pauses[51:] == pytest.approx([MARGIN] * 9, abs=1e-3)


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 30])
def test_a_limit_that_comes_behind_a_burst(limit: int) -> None:
    """However low the vendor's limit is after a burst, another call can go. Once it is lifted, earlier calls count."""
    quota, now, calls = Quota(calls_per_minute=60, now=NOW), NOW + 3600, list[float]()

    def call(count: int) -> None:
        nonlocal now
        for _ in range(count):
            now += quota.wait(now)
            quota.spend(now)
            calls.append(now)

    call(40)
    quota.correct(RateLimitHeaders(interval_seconds=60 / limit), now=now)
    call(1)
    quota.correct(RateLimitHeaders(), now=now)
    call(100)
    assert all(later - earlier > WINDOW_SECONDS for earlier, later in zip(calls, calls[60:], strict=False))


@pytest.mark.parametrize(("rate", "saved"), [(0.5, 1), (1, 1), (2, 1), (5, 2), (10, 4), (20, 9), (21, 10), (6000, 10)])
def test_saves_up_less_than_half_a_minute(rate: float, saved: float) -> None:
    """A small quota saves up less, so that the pace behind a burst is never less than half."""
    assert Quota(calls_per_minute=rate, now=NOW).tokens(NOW + 36_000) == saved


def busy(rate: float) -> tuple[Quota, float]:
    """A quota whose saved calls were spent a second ago, at a lane that has been held up since."""
    quota, now = Quota(calls_per_minute=rate, now=NOW), NOW + 3600
    for _ in range(MOST_SAVED):
        quota.spend(now)
    quota.save_nothing(now + 1.0)
    return quota, now + 1.0


@pytest.mark.parametrize(("rate", "most"), [(60, 1), (600, 1), (2400, 3), (6000, 6), (60_000, 10)])
def test_few_calls_go_together(rate: float, most: int) -> None:
    """Of those that came due while something else held the lane up one goes; above 1,200 a minute some, ten at most."""
    quota, now = busy(rate)
    together = 0
    while quota.wait(now) == 0.0:
        quota.spend(now)
        together += 1
    assert together <= most


def test_a_late_wake_up_costs_no_call() -> None:
    """A process under load looks every 40 ms, in which four calls of a large quota come due: all of them go."""
    quota, now = busy(6000)
    gone = 0
    for _ in range(100):
        while quota.wait(now) == 0.0:
            quota.spend(now)
            gone += 1
        now += 0.04
    assert gone == pytest.approx(4.0 * 5990 / 60.5, rel=0.02)


@settings(max_examples=200, deadline=None)
@given(
    rate=st.floats(1, 600), pauses=st.lists(st.floats(0, 120) | st.just(0.0) | st.just(1.0), min_size=1, max_size=60)
)
def test_never_more_calls_than_the_quota(rate: float, pauses: list[float]) -> None:
    """In no 60 s there are more calls than calls_per_minute, whatever was saved up before, and however calls come."""
    quota, now, calls = Quota(calls_per_minute=rate, now=NOW), NOW, list[float]()
    for pause in pauses:
        now += pause
        for _ in range(12):
            if quota.wait(now) == 0.0:
                quota.spend(now)
                calls.append(now)
    for _ in range(120):  # and then as many as may go
        now += quota.wait(now)
        quota.spend(now)
        calls.append(now)
    most = int(rate + ROUNDING)
    assert all(later - earlier > WINDOW_SECONDS for earlier, later in zip(calls, calls[most:], strict=False))


@settings(max_examples=200, deadline=None)
@given(rate=st.floats(3, 600), idle=st.floats(0, 300), calls=st.integers(0, 12), again=st.floats(0, 61))
@example(rate=21, idle=25, calls=5, again=21)  # a second burst within the minute of the first
def test_no_pause_is_longer_than_two_intervals(rate: float, idle: float, calls: int, again: float) -> None:
    """After a burst, and another within its minute, a backlog is served at half the pace at least."""
    quota, now = Quota(calls_per_minute=rate, now=NOW), NOW + idle
    for _ in range(calls):
        if quota.wait(now) == 0.0:
            quota.spend(now)
    now += again
    longest = 2 * 60 / int(rate) + ROUNDING
    for _ in range(200):
        wait = quota.wait(now)
        assert wait <= longest
        now += wait
        quota.spend(now)


def test_nothing_is_saved_up_while_events_wait() -> None:
    """What came due while all calls that may be under way were under way is not made up for at once."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.spend(NOW)
    quota.save_nothing(NOW + 30)
    assert quota.tokens(NOW + 30) == 1.0


@settings(max_examples=100, deadline=None)
@given(
    rate=rates,
    steps=st.lists(st.tuples(st.sampled_from(["spend", "pause", "idle", "limit"]), st.floats(0, 90)), max_size=20),
)
def test_after_the_wait_a_call_may_go(rate: float, steps: list[tuple[str, float]]) -> None:
    """Whatever has happened, after the returned wait no further wait is needed."""
    quota, now = Quota(calls_per_minute=rate, now=NOW), NOW
    for what, seconds in steps:
        match what:
            case "spend":
                quota.spend(now)
            case "pause":
                quota.pause(seconds, now=now)
            case "limit":
                quota.correct(RateLimitHeaders(interval_seconds=min(seconds, WINDOW_SECONDS)), now=now)
            case _:
                now += seconds
    wait = quota.wait(now)
    assert wait >= 0.0
    assert quota.wait(now + wait) <= ROUNDING
    assert quota.wait(now + wait + ROUNDING) == 0.0


def test_pause_forgets_what_was_saved() -> None:
    """When the vendor says that nothing is left, nothing goes until then, and what was saved up is gone."""
    quota = Quota(calls_per_minute=6, now=NOW)
    now = NOW + 3600
    quota.pause(5, now=now)
    assert quota.wait(now) == 5.0
    assert quota.wait(now + 5) == 0.0
    assert quota.tokens(now) == 1.0
    quota.spend(now + 5)
    assert quota.wait(now + 5) == pytest.approx(10.0 * MARGIN)


def test_nothing_is_saved_up_during_a_pause() -> None:
    """When a long pause ends one call goes, not all that would have come due meanwhile."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.pause(60, now=NOW)
    assert quota.tokens(NOW + 60) == 1.0


def test_a_shorter_pause_does_not_end_a_longer() -> None:
    """Of two overlapping pauses, the pause that ends later counts."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.pause(60, now=NOW)
    quota.pause(5, now=NOW)
    assert quota.wait(NOW) == 60.0


def test_spending_beyond_what_is_there_is_owed() -> None:
    """A call that did not ask (a probe) is counted all the same: the next waits the longer."""
    quota = Quota(calls_per_minute=60, now=NOW)
    for _ in range(3):
        quota.spend(NOW)
    assert quota.wait(NOW) > 3.0


def test_a_take_over_of_which_nothing_is_known() -> None:
    """A burst may have gone a moment ago: at 60 a minute the first call goes ten intervals later; a pause goes on."""
    quota = Quota(calls_per_minute=60, now=NOW)
    now = NOW + 3600
    quota.take_over(now, None)
    assert quota.wait(now) == pytest.approx(10 * 60.5 / 60)
    quota.pause(90, now=now)
    quota.take_over(now + 1, None)
    assert quota.wait(now + 1) > 89


def test_a_hand_over_goes_on_where_it_ended() -> None:
    """A successor with another clock has the same calls and tokens, the same pace after a burst, and the pause."""
    first, there = Quota(calls_per_minute=60, now=NOW), NOW - 1e6
    now = NOW + 3600
    for _ in range(7):
        first.spend(now)
    now += 3
    second = Quota(calls_per_minute=60, now=there)
    second.take_over(there, first.hand_over(now))
    assert second.tokens(there) == pytest.approx(first.tokens(now), abs=0.001)
    for quota, at in ((first, now), (second, there)):
        for _ in range(10):
            at += quota.wait(at)  # noqa: PLW2901  # each has its own clock
            quota.spend(at)
    assert first.hand_over(now + 20).calls == pytest.approx(second.hand_over(there + 20).calls, abs=0.01)
    first.correct(RateLimitHeaders(interval_seconds=3.0, retry_after_seconds=None), now=now + 20)
    first.pause(30, now=now + 20)
    second.take_over(there + 20, first.hand_over(now + 20))
    assert second.calls_per_minute == pytest.approx(20)
    assert second.wait(there + 20) == pytest.approx(30, abs=0.01)


Step = tuple[float, str]
STEPS = st.lists(
    st.tuples(st.floats(min_value=0, max_value=40), st.sampled_from(["call", "calls", "leave", "die"])), max_size=60
)


@given(STEPS, st.sampled_from([1, 4, 12, 30, 60]))
def test_holders_one_after_the_other(steps: list[Step], calls_per_minute: int) -> None:
    """No 60 s contain more calls than the quota, however processes call, leave or die; each calls as fast as it may."""
    lease, now, calls = 5.0, NOW, list[float]()
    quota = Quota(calls_per_minute=calls_per_minute, now=now)
    for seconds, what in steps:
        now += seconds
        if what in ("leave", "die"):
            spent = quota.hand_over(now) if what == "leave" else None
            quota = Quota(calls_per_minute=calls_per_minute, now=now)
            now += 0 if spent else lease
            quota.take_over(now, spent)
            continue
        for _ in range(1 if what == "call" else 25):
            now += quota.wait(now)
            quota.spend(now)
            calls.append(now)
    for number in range(len(calls) - calls_per_minute):
        assert calls[number + calls_per_minute] - calls[number] > 60


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, RateLimitHeaders()),
        ({"ratelimit-remaining": "0", "ratelimit-reset": " 12 "}, RateLimitHeaders(remaining=0, reset_seconds=12.0)),
        ({"ratelimit-remaining": "many", "ratelimit-reset": "-1"}, RateLimitHeaders()),
        ({"ratelimit-reset": "1789000000"}, RateLimitHeaders()),
        ({"ratelimit-limit": "30"}, RateLimitHeaders(interval_seconds=2.0)),
        ({"ratelimit-limit": "60;w=1;b=60"}, RateLimitHeaders(interval_seconds=1 / 60)),
        ({"ratelimit-limit": "60, 60;w=60"}, RateLimitHeaders(interval_seconds=1.0)),
        ({"api-ratelimit-limit": "120", "organization-ratelimit-limit": "40"}, RateLimitHeaders(interval_seconds=1.5)),
        ({"ratelimit-limit": "0"}, RateLimitHeaders()),
        ({"ratelimit-limit": "1;w=999999"}, RateLimitHeaders(interval_seconds=WINDOW_SECONDS)),
        ({"ratelimit-limit": "plenty"}, RateLimitHeaders()),
        ({"retry-after": "7"}, RateLimitHeaders(retry_after_seconds=7.0)),
        ({"retry-after": "0"}, RateLimitHeaders(retry_after_seconds=1.0)),
        ({"retry-after": "9" * 400}, RateLimitHeaders(retry_after_seconds=MAX_WAIT_SECONDS)),
        (
            {"retry-after": "Wed, 21 Oct 2031 07:28:30 GMT", "date": "Wed, 21 Oct 2031 07:28:00 GMT"},
            RateLimitHeaders(retry_after_seconds=30.0),
        ),
        (
            {"retry-after": "Wed, 21 Oct 2031 07:28:30 GMT", "date": "Wed, 21 Oct 2031 08:28:00 GMT"},
            RateLimitHeaders(retry_after_seconds=1.0),
        ),
        ({"retry-after": "Wed, 21 Oct 2031 07:28:30 GMT"}, RateLimitHeaders()),
        (
            {"retry-after": f"Wed, 21 Oct {10**20} 07:28:30 GMT", "date": "Wed, 21 Oct 2031 07:28:00 GMT"},
            RateLimitHeaders(),
        ),
        (
            {"retry-after": "Wed, 21 Oct 2031 07:28:30 -0000", "date": "Wed, 21 Oct 2031 07:28:00 GMT"},
            RateLimitHeaders(),
        ),
    ],
    ids=str,
)
def test_what_the_headers_say(headers: dict[str, str], expected: RateLimitHeaders) -> None:
    """Every header is optional; what it cannot mean counts as absent, and nothing exceeds its bound."""
    assert rate_limit(headers) == expected


def test_nothing_remains() -> None:
    """Others spend from the same quota: when the vendor says that nothing remains, nothing goes until the reset."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.correct(RateLimitHeaders(remaining=0, reset_seconds=20.0), now=NOW + 30)
    assert quota.wait(NOW + 30) == pytest.approx(20.0)
    assert quota.tokens(NOW + 50) == 1.0
    assert quota.remaining == 0


def test_nothing_remains_and_nobody_says_how_long() -> None:
    """Without a reset the vendor's whole window is waited."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.correct(RateLimitHeaders(remaining=0), now=NOW)
    assert quota.wait(NOW) == WINDOW_SECONDS


def test_less_remains_than_was_saved_up() -> None:
    """What was saved up is worth no more than the vendor says remains."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.correct(RateLimitHeaders(remaining=3, reset_seconds=20.0), now=NOW + 60)
    assert quota.tokens(NOW + 60) == 3.0
    assert quota.wait(NOW + 60) == 0.0


def test_the_vendors_limit_slows_and_never_hastens() -> None:
    """A limit below the configured pace counts while answers have it; a limit above it changes nothing."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.correct(RateLimitHeaders(interval_seconds=2.0), now=NOW)
    quota.spend(NOW)
    assert [quota.wait(NOW), quota.calls_per_minute] == pytest.approx([2.0 * MARGIN, 30.0])
    quota.correct(RateLimitHeaders(interval_seconds=0.1), now=NOW)
    assert [quota.wait(NOW), quota.calls_per_minute] == pytest.approx([MARGIN, 60.0])


@settings(max_examples=100, deadline=None)
@given(
    headers=st.dictionaries(
        st.sampled_from(["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after", "date"]),
        st.text(max_size=20) | st.integers(-1, 10**12).map(str),
    )
)
def test_no_header_stops_us_for_long(headers: dict[str, str]) -> None:
    """Whatever a header says, the next call goes within a quarter of an hour."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.correct(rate_limit(headers), now=NOW)
    assert quota.wait(NOW) <= MAX_WAIT_SECONDS
