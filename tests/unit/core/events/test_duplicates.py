import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from zenoti_ingest.core.events.duplicates import DuplicateFilter


def test_remembered_within_the_window_only() -> None:
    """A key is known from its remembering on until the window is over, not a moment longer."""
    seen = DuplicateFilter(window_seconds=10, max_keys=5)
    assert not seen.has("a", now=0)
    seen.remember("a", now=0)
    assert seen.has("a", now=0)
    assert seen.has("a", now=9.9)
    assert not seen.has("a", now=10)


def test_asking_does_not_remember() -> None:
    """Only what has been passed on counts: asking about a key leaves no trace."""
    seen = DuplicateFilter(window_seconds=10, max_keys=5)
    assert not seen.has("a", now=0)
    assert not seen.has("a", now=0)
    assert len(seen) == 0


def test_the_oldest_gives_way() -> None:
    """Above the bound the keys that were remembered longest ago are forgotten; remembering again makes one young."""
    seen = DuplicateFilter(window_seconds=10, max_keys=2)
    seen.remember("a", now=0)
    seen.remember("b", now=1)
    seen.remember("a", now=2)
    seen.remember("c", now=3)
    assert [seen.has(key, now=3) for key in "abc"] == [True, False, True]


def test_the_expired_are_dropped() -> None:
    """Keys whose window is over take no room once another is remembered."""
    seen = DuplicateFilter(window_seconds=10, max_keys=100)
    for number in range(50):
        seen.remember(f"k{number}", now=number / 10)
    seen.remember("new", now=14.9)
    assert len(seen) == 1


def test_no_room_remembers_nothing() -> None:
    """A bound of zero switches the memory off."""
    seen = DuplicateFilter(window_seconds=10, max_keys=0)
    seen.remember("a", now=0)
    assert not seen.has("a", now=0)


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40)), max_size=40))
def test_like_a_list_of_all_that_was_remembered(steps: list[tuple[str, int]]) -> None:
    """With room for twice the keys it answers as a full history would, and never holds more than its bound.

    Pauses of whole eighths of a second, which four bytes hold exactly: the window's last microsecond is not promised.
    """
    seen, history, now = DuplicateFilter(window_seconds=10, max_keys=12), dict[str, float](), 0.0
    for key, eighths in steps:
        now += eighths / 8
        assert seen.has(key, now=now) is (key in history and now - history[key] < 10)
        seen.remember(key, now=now)
        history[key] = now
        assert len(seen) <= 12


def test_many() -> None:
    """The newest half of the bound is always known, a key never remembered is not; each takes 80 bytes at most."""
    tracemalloc.start()
    seen = DuplicateFilter(window_seconds=10, max_keys=4000)
    for number in range(10_000):
        seen.remember(f"k{number}", now=number / 10_000)
        assert seen.has(f"k{max(0, number - 1999)}", now=1)
        assert not seen.has(f"k{number + 1}", now=1)
        assert len(seen) <= 4000
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 4000 * 80
