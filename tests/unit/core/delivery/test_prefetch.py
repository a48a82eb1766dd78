from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.delivery.prefetch import FIRST_PATIENCE_SECONDS, MAX_PATIENCE_SECONDS, Prefetch
from zenoti_ingest.core.failures.policy import RETURNS_OF_A_SUSPECT

MOST, BOUND, FEW = 5000, 96_000_000, 20


def small(most: int = MOST) -> Prefetch:
    """A number that large events lowered long ago."""
    number = Prefetch(most, max_bytes=BOUND)
    number.passed(2 * FEW, now=-1e6)
    return number


def full(number: Prefetch, size: int, *, now: float, returned: int = 0) -> bool:
    """As many are in hand as may be, each of that size."""
    return number.grow(number.count, number.count * size, returned=returned, now=now)


def at_its_bound(number: Prefetch, size: int, *, now: float) -> None:
    """Deliveries of that size have come until the next would have been too many."""
    number.passed(max(1, BOUND // size), now=now)


def test_it_begins_with_all() -> None:
    """Most events are small; what is too much is found out as it comes."""
    number = Prefetch(MOST, max_bytes=BOUND)
    assert (number.count, number.can_grow) == (MOST, False)


def test_ordinary_events_take_one_step() -> None:
    """With events of some kilobytes all that the stage can hold is taken again after a single look."""
    number = small()
    assert full(number, 3000, now=0)
    assert number.count == MOST
    assert not number.can_grow


def test_large_events_are_let_in_as_far_as_half_of_the_bound() -> None:
    """Of 900 kB as many are taken as fill half of it, and then the number stays."""
    number = small()
    assert full(number, 900_000, now=0)
    assert number.count == BOUND // 2 // 900_000
    assert not full(number, 900_000, now=1000)


def test_what_is_worth_no_subscription() -> None:
    """Where the number could not even double it stays, unless that is all the stage can hold."""
    assert not full(small(), BOUND // 40 // 2 + 100_000, now=0)
    number = small(FEW + 1)
    assert full(number, 1, now=0)
    assert number.count == FEW + 1


def test_bodies_of_no_bytes() -> None:
    """They take no room, and divide nothing by zero."""
    number = small()
    assert full(number, 0, now=0)
    assert number.count == MOST


def test_past_the_bound_half_of_what_was_in_hand_is_taken() -> None:
    """The next events may be larger still."""
    number = Prefetch(MOST, max_bytes=BOUND)
    at_its_bound(number, 900_000, now=1)
    assert number.count == BOUND // 900_000 // 2


@given(sizes=st.lists(st.integers(1, 2 * BOUND), min_size=20, max_size=20))
def test_any_sizes_come_to_one_in_hand_at_last(sizes: list[int]) -> None:
    """Whatever passes the bound again and again, after a few times only a single delivery is in hand."""
    number = Prefetch(MOST, max_bytes=BOUND)
    before = number.count
    for now, size in enumerate(sizes):
        held = min(number.count - 1, max(1, BOUND // size))
        if held < 1:
            break
        number.passed(held, now=now)
        assert 1 <= number.count <= max(1, before // 2)
        before = number.count
    assert number.count == 1


def test_it_grows_again_after_a_pause_that_doubles() -> None:
    """Small and huge events by turns cost few subscriptions: each time the bound is passed it waits longer to grow."""
    number, now, waited = Prefetch(MOST, max_bytes=BOUND), 0.0, list[float]()
    for _ in range(9):
        at_its_bound(number, 10_000_000, now=now)
        since = now
        while not full(number, 3000, now=now):
            now += 1
        waited.append(now - since)
    assert waited[:3] == [FIRST_PATIENCE_SECONDS, 2 * FIRST_PATIENCE_SECONDS, 4 * FIRST_PATIENCE_SECONDS]
    assert waited[-1] == MAX_PATIENCE_SECONDS


def test_what_was_long_ago_is_forgotten() -> None:
    """After a good while without it the pause is the first again."""
    number = Prefetch(MOST, max_bytes=BOUND)
    for now in (0, 1, 2):
        number.passed(10, now=now)
    later = 2 + MAX_PATIENCE_SECONDS + 1
    number.passed(10, now=later)
    assert not full(number, 3000, now=later + FIRST_PATIENCE_SECONDS - 1)
    assert full(number, 3000, now=later + FIRST_PATIENCE_SECONDS)


def test_no_event_becomes_a_suspect_by_it() -> None:
    """What has come back almost so often that it is handled alone is settled before the number grows."""
    number = small()
    assert not full(number, 3000, now=0, returned=RETURNS_OF_A_SUSPECT - 1)
    assert full(number, 3000, now=0, returned=RETURNS_OF_A_SUSPECT - 2)


@pytest.mark.parametrize(
    "act", [lambda n: n.passed(1, now=0), lambda n: n.passed(2, now=0), lambda n: n.passed(3, now=0)]
)
def test_one_is_taken_always(act: Callable[[Prefetch], None]) -> None:
    """However few were in hand, one makes progress."""
    number = Prefetch(MOST, max_bytes=BOUND)
    act(number)
    assert number.count == 1
