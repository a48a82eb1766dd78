import pytest

from zenoti_ingest.core.invoices.filling import MAX_SECONDS, QUIET_SECONDS, Filling

NOW = 1000.0


@pytest.fixture
def filling() -> Filling:
    """A lane that was taken over with its first delivery."""
    filling = Filling.begun(NOW)
    filling.is_taken_over = True
    return filling


def test_nothing_goes_before_the_take_over() -> None:
    """However long it takes: the predecessor may call."""
    assert Filling.begun(NOW).is_under_way(NOW + 100, is_full=True)


def test_it_ends_with_a_quiet_moment(filling: Filling) -> None:
    """While deliveries follow each other closely, more are expected."""
    assert filling.is_under_way(NOW + QUIET_SECONDS / 2, is_full=False)
    assert not filling.is_under_way(NOW + QUIET_SECONDS, is_full=False)
    filling.latest = NOW + QUIET_SECONDS
    assert filling.is_under_way(NOW + QUIET_SECONDS, is_full=False)


def test_it_ends_when_the_window_is_full(filling: Filling) -> None:
    """No more can come."""
    assert not filling.is_under_way(NOW, is_full=True)


def test_it_ends_after_a_second(filling: Filling) -> None:
    """Live events that never pause hold up no call for longer."""
    filling.latest = NOW + MAX_SECONDS
    assert not filling.is_under_way(NOW + MAX_SECONDS, is_full=False)
