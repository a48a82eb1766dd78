import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.quota import BURST, Quota

NOW = 1000.0
ROUNDING = 1e-6  # seconds: what adding floats may lose
rates = st.floats(1, 6000)


def test_one_call_at_the_start() -> None:
    """A new holder has one call and then one more a second: it cannot know what its predecessor spent."""
    quota = Quota(calls_per_minute=60, now=NOW)
    assert quota.wait(NOW) == 0.0
    quota.spend(NOW)
    assert quota.wait(NOW) == pytest.approx(1.0)
    assert quota.wait(NOW + 0.75) == pytest.approx(0.25)
    assert quota.wait(NOW + 1.0) == 0.0


def test_saves_up_ten_calls_at_most() -> None:
    """After any silence ten calls may go at once, and the eleventh waits."""
    quota = Quota(calls_per_minute=60, now=NOW)
    assert quota.tokens(NOW + 3600) == BURST == 10
    for _ in range(BURST):
        assert quota.wait(NOW + 3600) == 0.0
        quota.spend(NOW + 3600)
    assert quota.wait(NOW + 3600) == pytest.approx(1.0)


@settings(max_examples=100, deadline=None)
@given(rate=rates, pauses=st.lists(st.floats(0, 120), min_size=1, max_size=40))
def test_never_more_calls_than_the_quota(rate: float, pauses: list[float]) -> None:
    """Between any two calls that respected wait() there were at most ten more than the quota of that time."""
    quota, now, calls = Quota(calls_per_minute=rate, now=NOW), NOW, list[float]()
    for pause in pauses:
        now += pause
        if quota.wait(now) == 0.0:
            quota.spend(now)
            calls.append(now)
    interval = 60 / rate
    for first, begun in enumerate(calls):
        for last in range(first, len(calls)):
            assert last - first + 1 <= BURST + (calls[last] - begun) / interval + ROUNDING
    assert len(calls) <= 1 + (now - NOW) / interval + ROUNDING


@settings(max_examples=100, deadline=None)
@given(
    rate=rates, steps=st.lists(st.tuples(st.sampled_from(["spend", "pause", "idle"]), st.floats(0, 90)), max_size=20)
)
def test_after_the_wait_a_call_may_go(rate: float, steps: list[tuple[str, float]]) -> None:
    """Whatever has happened, who waits as long as told need not wait again."""
    quota, now = Quota(calls_per_minute=rate, now=NOW), NOW
    for what, seconds in steps:
        match what:
            case "spend":
                quota.spend(now)
            case "pause":
                quota.pause(seconds, now=now)
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
    assert quota.wait(now + 5) == pytest.approx(10.0)


def test_nothing_is_saved_up_during_a_pause() -> None:
    """When a long pause ends one call goes, not all that would have come due meanwhile."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.pause(60, now=NOW)
    assert quota.tokens(NOW + 60) == 1.0


def test_a_shorter_pause_does_not_end_a_longer() -> None:
    """Of two pauses that overlap the one that ends later counts."""
    quota = Quota(calls_per_minute=60, now=NOW)
    quota.pause(60, now=NOW)
    quota.pause(5, now=NOW)
    assert quota.wait(NOW) == 60.0


def test_spending_beyond_what_is_there_is_owed() -> None:
    """A call that did not ask (a probe) is counted all the same: the next waits the longer."""
    quota = Quota(calls_per_minute=60, now=NOW)
    for _ in range(3):
        quota.spend(NOW)
    assert quota.wait(NOW) == pytest.approx(3.0)


def test_a_take_over_begins_with_one_call() -> None:
    """Who takes a lane over has one call, however long it stood by; a pause goes on."""
    quota = Quota(calls_per_minute=60, now=NOW)
    now = NOW + 3600
    quota.take_over(now)
    assert quota.tokens(now) == 1.0
    quota.pause(9, now=now)
    quota.take_over(now + 1)
    assert quota.wait(now + 1) == 8.0
