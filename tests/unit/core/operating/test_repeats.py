from math import inf

from zenoti_ingest.core.operating.repeats import Repeats


def test_the_first_few_pass() -> None:
    """The first few of a kind pass in an interval, and the rest are counted until it has ended."""
    repeats: Repeats[str] = Repeats(first=2, seconds=60)
    assert [repeats.may_log("away", now=second) for second in (0, 1, 2, 59.9)] == [True, True, False, False]
    assert repeats.dropped(now=59.9) == {}
    assert repeats.dropped(now=60) == {"away": 2}
    assert repeats.dropped(now=60) == {}


def test_a_new_interval_begins_with_the_first_that_passes() -> None:
    """After the interval the next passes again, and what was dropped before it is not forgotten."""
    repeats: Repeats[str] = Repeats(first=1, seconds=60)
    passes = [repeats.may_log("away", now=second) for second in (0, 30, 100, 159, 160)]
    assert passes == [True, False, True, False, True]
    assert repeats.dropped(now=160) == {"away": 2}


def test_kinds_know_nothing_of_each_other() -> None:
    """A kind that repeats itself takes nothing from another."""
    repeats: Repeats[tuple[str, str]] = Repeats(first=1, seconds=60)
    assert [repeats.may_log(("refused", source), now=0) for source in ("a", "a", "b")] == [True, False, True]
    assert repeats.dropped(now=inf) == {("refused", "a"): 1}


def test_what_is_not_repeated_leaves_nothing_behind() -> None:
    """Kinds whose interval has ended without a drop are forgotten silently."""
    repeats: Repeats[str] = Repeats(first=1, seconds=60)
    assert repeats.may_log("once", now=0)
    assert repeats.dropped(now=60) == {}
    assert repeats.may_log("once", now=60)
