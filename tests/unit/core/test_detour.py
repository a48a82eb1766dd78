from worker.core.detour import FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, Detour


def test_straight_at_first_and_after_every_confirm() -> None:
    """Nothing stands against publishing, any number at once."""
    fresh, again = Detour(), Detour()
    again.unconfirmed()
    again.confirmed()
    for detour in (fresh, again):
        assert not detour.is_on
        assert all(detour.may_try(now=0) for _ in range(3))


def test_round_the_broker_after_a_publish_that_was_not_confirmed() -> None:
    """One is enough."""
    detour = Detour()
    detour.unconfirmed()
    assert detour.is_on


def test_trials_are_paced() -> None:
    """On the detour one may try at once, the next after a delay that doubles up to its bound."""
    detour, now, delay = Detour(), 100.0, FIRST_DELAY_SECONDS
    detour.unconfirmed()
    for _ in range(10):
        assert detour.may_try(now=now)
        detour.unconfirmed()
        assert not detour.may_try(now=now)
        assert not detour.may_try(now=now + 0.99 * delay)
        now += delay
        delay = min(2 * delay, MAX_DELAY_SECONDS)
    assert delay == MAX_DELAY_SECONDS


def test_a_confirm_makes_the_next_detour_begin_afresh() -> None:
    """The pace of an earlier detour is forgotten."""
    detour = Detour()
    detour.unconfirmed()
    for second in range(60):
        detour.may_try(now=float(second))
    detour.confirmed()
    detour.unconfirmed()
    assert detour.may_try(now=0)
    assert detour.may_try(now=FIRST_DELAY_SECONDS)
