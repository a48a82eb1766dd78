from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.operating.clock_differences import (
    DIFFER_SECONDS,
    MAX_REPORTED,
    SILENT_SECONDS,
    ClockDifferences,
)

NOW = 1_900_000_000_000_000
SECOND = 1_000_000


def heard(differences: ClockDifferences, instance: str, *seconds: float, heard_at: float = 0.0) -> None:
    """A process speaks, each time with a clock that seems ahead by so many seconds."""
    for ahead in seconds:
        differences.heard(instance, at=NOW + round(ahead * SECOND), now=NOW, heard_at=heard_at)


def test_a_clock_that_differs() -> None:
    """A clock ahead or behind by more than a few seconds is found, with its sign; the largest first."""
    differences = ClockDifferences()
    heard(differences, "right", 0.2, -0.1, 0.3)
    heard(differences, "ahead", 6.04)
    heard(differences, "behind", -3600.0, -3600.2, -3600.1)
    assert differences.largest(0.0) == {"behind": -3600.0, "ahead": 6.0}


def test_a_message_that_was_late() -> None:
    """What was long on its way does not make its sender's clock slow; what stays slow does."""
    differences = ClockDifferences()
    heard(differences, "late", 0.0, -60.0, -50.0)
    assert differences.largest(0.0) == {}
    heard(differences, "late", -40.0)
    assert differences.largest(0.0) == {"late": -40.0}


def test_who_is_gone_is_forgotten() -> None:
    """A silent process is not reported any more, and the others displace it."""
    differences = ClockDifferences()
    heard(differences, "gone", 100.0)
    assert differences.largest(SILENT_SECONDS) == {"gone": 100.0}
    assert differences.largest(SILENT_SECONDS + 1) == {}
    heard(differences, "here", 100.0, heard_at=SILENT_SECONDS + 1)
    assert differences.largest(0.0) == {"here": 100.0}


@given(st.lists(st.tuples(st.text(max_size=3), st.floats(-1e6, 1e6)), max_size=100))
def test_what_is_reported_is_bounded(said: list[tuple[str, float]]) -> None:
    """However many processes there are, the largest differences are reported, and none within the bound."""
    differences = ClockDifferences()
    for instance, ahead in said:
        heard(differences, instance, ahead)
    found = list(differences.largest(0.0).values())
    assert len(found) <= MAX_REPORTED
    assert all(abs(seconds) > DIFFER_SECONDS - 0.1 for seconds in found)
    assert found == sorted(found, key=abs, reverse=True)


def test_the_book_is_bounded() -> None:
    """A flood of names, each speaking once, takes no more than so much memory; those known go on."""
    differences = ClockDifferences()
    heard(differences, "first", 10.0)
    for number in range(5000):
        heard(differences, f"stranger-{number}", 0.0)
    heard(differences, "first", 20.0)
    heard(differences, "one more", 1000.0)
    assert differences.largest(0.0) == {"first": 20.0}
