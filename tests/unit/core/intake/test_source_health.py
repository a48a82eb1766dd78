import pytest

from zenoti_ingest.core.intake.source_health import ACCEPTED, ALARM_AT, SWITCHED_OFF_AT, Silence, Streak


def test_failures_in_a_row_are_counted_by_kind() -> None:
    """All other answers than 2xx count; the 4xx are counted separately, since strangers cause them too."""
    streak = Streak()
    for status in (401, 503, 413, 401, 408, 500, 400):
        streak.answered(status)
    assert (streak.failures, streak.refused) == (7, 5)


def test_an_accepted_event_begins_anew() -> None:
    """One 202 ends the streak, of both kinds."""
    streak = Streak()
    for status in (401, 503, ACCEPTED):
        streak.answered(status)
    assert (streak.failures, streak.refused) == (0, 0)


def test_a_ping_ends_no_streak() -> None:
    """Anybody may ping, so it says nothing of the vendor's deliveries."""
    streak = Streak()
    streak.answered(503)
    assert not streak.answered(200)
    assert streak.failures == 1


def test_reported_at_five_and_when_it_is_too_late() -> None:
    """The alarm comes at 5 and at 20, and a flood of strangers does not fill the log."""
    streak = Streak()
    reported = [n for n in range(1, 10 * SWITCHED_OFF_AT) if streak.answered(503)]
    assert reported == [ALARM_AT, SWITCHED_OFF_AT] == [5, 20]


def test_silence_counts_from_the_start_and_from_each_event() -> None:
    """A source that never came is as silent as the process is old."""
    silence = Silence(now=100.0)
    assert silence.seconds(now=160.0) == 60.0
    silence.ended(now=160.0)
    assert silence.seconds(now=161.5) == 1.5


def test_the_usual_gap_needs_two_events() -> None:
    """The time from the start to the first event is no gap between events."""
    silence = Silence(now=0.0)
    assert silence.usual_gap_seconds is None
    silence.ended(now=1000.0)
    assert silence.usual_gap_seconds is None
    silence.ended(now=1010.0)
    assert silence.usual_gap_seconds == 10.0


def test_the_usual_gap_follows_and_forgets() -> None:
    """One long gap moves it little; many of a new length make it theirs."""
    silence, now = Silence(now=0.0), 0.0
    for gap in (10.0,) * 5 + (110.0,):
        now += gap
        silence.ended(now=now)
    assert silence.usual_gap_seconds == pytest.approx(15.0)
    for _ in range(100):
        now += 60.0
        silence.ended(now=now)
    assert silence.usual_gap_seconds == pytest.approx(60.0, rel=0.02)
