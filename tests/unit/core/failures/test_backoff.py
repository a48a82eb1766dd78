from zenoti_ingest.core.failures.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    """The first wait, twice that, and so on, never longer than the longest."""
    backoff = Backoff(0.2, 1.0)
    assert [backoff.failed() for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_success_begins_anew() -> None:
    """After a success the first wait is due again."""
    backoff = Backoff(1.0, 30.0)
    backoff.failed()
    backoff.failed()
    backoff.succeeded()
    assert backoff.seconds == 0.0
    assert backoff.failed() == 1.0


def test_the_longest_bounds_the_first_too() -> None:
    """A longest wait that is shorter than the first is the only wait."""
    assert Backoff(10.0, 5.0).failed() == 5.0
