import pytest

from zenoti_ingest.core.intake.detour import FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, Detour

QUICK = 0.5


@pytest.fixture
def detour() -> Detour:
    """It has not begun."""
    return Detour(quick_seconds=QUICK)


def test_straight_at_first(detour: Detour) -> None:
    """Nothing stands against publishing, any number at once; a slow confirm alone begins no detour."""
    detour.confirmed(seconds=2 * QUICK)
    assert not detour.is_on
    assert all(detour.may_try(now=0) for _ in range(3))


def test_it_begins_with_the_first_publish_that_is_not_confirmed(detour: Detour) -> None:
    """A single unconfirmed publish is enough."""
    detour.unconfirmed()
    assert detour.is_on
    assert detour.is_paced


def test_a_quick_confirm_ends_it(detour: Detour) -> None:
    """Then all is as at first."""
    detour.unconfirmed()
    detour.confirmed(seconds=QUICK)
    assert not detour.is_on
    assert all(detour.may_try(now=0) for _ in range(3))


def test_a_slow_confirm_only_frees_the_drain(detour: Detour) -> None:
    """The broker takes, but not as fast as the door needs it: the spool goes on, and may publish freely."""
    detour.unconfirmed()
    detour.confirmed(seconds=2 * QUICK)
    assert detour.is_on
    assert all(detour.may_try(now=0) for _ in range(3))


def test_trials_are_paced(detour: Detour) -> None:
    """On the detour a publish may try at once, the next after a delay that doubles up to its bound."""
    now, delay = 100.0, FIRST_DELAY_SECONDS
    detour.unconfirmed()
    for _ in range(10):
        assert detour.may_try(now=now)
        detour.unconfirmed()
        assert not detour.may_try(now=now)
        assert not detour.may_try(now=now + 0.99 * delay)
        now += delay
        delay = min(2 * delay, MAX_DELAY_SECONDS)
    assert delay == MAX_DELAY_SECONDS


def test_the_next_detour_begins_afresh(detour: Detour) -> None:
    """The pace of an earlier detour is forgotten."""
    detour.unconfirmed()
    for second in range(60):
        detour.may_try(now=float(second))
    detour.confirmed(seconds=0)
    detour.unconfirmed()
    assert detour.may_try(now=0)
    assert detour.may_try(now=FIRST_DELAY_SECONDS)
