import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenoti_ingest.core.invoices.window import DENSE_EVENTS, FEW_SUSPECTS, LINGER_SECONDS, PAUSE_SECONDS, Round, Window

NOW = 1000.0


def at(second: int, *, replayed: bool = False) -> tuple[bool, str, str]:
    """The order of an event that was received in the given second."""
    return (replayed, f"2031-05-06T17:{second // 60:02}:{second % 60:02}.000000Z", f"receipt-{second}")


def window(**invoices: list[int]) -> Window[int]:
    """A window with events of the given invoices; an event is the second of its receipt."""
    made: Window[int] = Window()
    for invoice_id, seconds in invoices.items():
        for second in seconds:
            made.add(invoice_id, order=at(second), item=second, now=0.0)
    return made


def begin(some: Window[int], now: float = NOW, *, may_linger: bool = False) -> Round[int]:
    """The next round, which must be there."""
    begun = some.next_round(now, may_linger=may_linger)
    assert begun is not None
    return begun


def items(begun: Round[int]) -> list[int]:
    """The events of a round."""
    return [waiting.item for waiting in begun.waiting]


def test_a_round_takes_all_of_one_invoice_in_order() -> None:
    """One call serves every waiting event of its invoice, by time of receipt, in whatever order they came."""
    some = window(a=[5, 1, 3], b=[2])
    begun = begin(some)
    assert (begun.key, items(begun)) == ("a", [1, 3, 5])
    assert (len(some), some.key_count, some.in_flight) == (4, 1, 1)


def test_oldest_first() -> None:
    """The invoice whose event has waited longest is next."""
    some = window(a=[4], b=[2, 9], c=[3])
    assert [begin(some).key for _ in range(3)] == ["b", "c", "a"]
    assert some.next_round(NOW) is None


def test_live_before_replayed() -> None:
    """A replayed event waits until no live one does, however old it is; within a round too."""
    some: Window[int] = Window()
    some.add("old", order=at(1, replayed=True), item=1, now=0.0)
    some.add("new", order=at(50), item=50, now=0.0)
    some.add("new", order=at(2, replayed=True), item=2, now=0.0)
    first, second = begin(some), begin(some)
    assert (first.key, items(first)) == ("new", [50, 2])
    assert (second.key, items(second)) == ("old", [1])


def test_an_invoice_in_flight_begins_no_second_round() -> None:
    """What comes while the call is under way waits for a round of its own: the answer may be older."""
    some = window(a=[1])
    begun = begin(some)
    some.add("a", order=at(2), item=2, now=0.0)
    assert some.next_round(NOW) is None
    some.finish(begun)
    assert items(begin(some)) == [2]


def test_a_copy_begins_no_second_round() -> None:
    """An event that comes a second time, the same in all, while its invoice is in flight waits like any other."""
    some = window(a=[5, 1])
    begun = begin(some)
    some.add("a", order=at(5), item=5, now=0.0)
    assert some.next_round(NOW) is None
    some.hold(begun, until=NOW + 3)
    assert some.next_round(NOW) is None
    assert items(begin(some, NOW + 3)) == [1, 5, 5]


def test_finished_is_gone() -> None:
    """A finished round leaves nothing behind."""
    some = window(a=[1, 2])
    some.finish(begin(some))
    assert (len(some), some.key_count, some.in_flight) == (0, 0, 0)


def test_held_waits_again() -> None:
    """A round that came to nothing waits with what came meanwhile, until its time, and holds up nobody else."""
    some = window(a=[1], b=[2])
    begun = begin(some)
    some.add("a", order=at(3), item=3, now=0.0)
    some.hold(begun, until=NOW + 5)
    assert some.next_change(NOW) == 5.0
    assert begin(some).key == "b"
    assert some.next_round(NOW + 4.9) is None
    assert items(begin(some, NOW + 5)) == [1, 3]
    assert some.next_change(NOW + 5) is None


def test_next_change_is_the_first_release() -> None:
    """The first release of several held invoices decides when to look again; a due invoice is not a change."""
    some = window(a=[1], b=[2])
    first, second = begin(some), begin(some)
    assert some.next_change(NOW) is None
    some.hold(first, until=NOW + 7)
    some.hold(second, until=NOW + 3)
    assert some.next_change(NOW) == 3.0
    assert some.next_change(NOW + 3) == 4.0
    assert some.next_change(NOW + 7) is None


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcd"), st.booleans(), st.integers(0, 99)),
        st.tuples(st.just("begin"), st.just(""), st.just(False), st.just(0)),
        st.tuples(st.sampled_from(["finish", "hold"]), st.just(""), st.booleans(), st.integers(0, 9)),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(steps=steps)
def test_nothing_is_lost_or_served_twice(steps: list[tuple[str, str, bool, int]]) -> None:
    """Through any life each event is in the window until it is served, once, after every older event that could go."""
    some, now, added, served = Window[int](), NOW, 0, list[int]()
    open_rounds: list[Round[int]] = []
    for what, invoice_id, flag, number in steps:
        now += 1
        if what == "add":
            some.add(invoice_id, order=at(number, replayed=flag), item=added, now=0.0)
            added += 1
        elif what == "begin" and (begun := some.next_round(now)):
            assert begun.key not in {other.key for other in open_rounds}
            assert [w.order for w in begun.waiting] == sorted(w.order for w in begun.waiting)
            open_rounds.append(begun)
        elif what in {"finish", "hold"} and open_rounds:
            begun = open_rounds.pop(number % len(open_rounds))
            if what == "finish":
                some.finish(begun)
                served += items(begun)
            else:
                some.hold(begun, until=now + number)
        assert some.in_flight == len(open_rounds)
        assert len(some) == added - len(served)
    for begun in open_rounds:
        some.finish(begun)
        served += items(begun)
    before: tuple[bool, str, str] | None = None
    while begun_last := some.next_round(now + 100):
        assert before is None or before <= begun_last.waiting[0].order
        before = begun_last.waiting[0].order
        some.finish(begun_last)
        served += items(begun_last)
    assert sorted(served) == list(range(added))
    assert len(some) == 0


def test_finishing_twice_is_a_defect() -> None:
    """A round is settled once: a second time is an error, not ignored."""
    some = window(a=[1])
    begun = begin(some)
    some.finish(begun)
    with pytest.raises(KeyError):
        some.finish(begun)


def suspects(*invoices: str, shuffle: int = 0) -> Window[int]:
    """A window with one suspect of each invoice, the oldest first."""
    some: Window[int] = Window(shuffle=shuffle)
    for second, invoice_id in enumerate(invoices):
        some.add(invoice_id, order=at(second), item=second, now=0.0, suspect=True)
    return some


def test_a_held_suspect_comes_again() -> None:
    """A suspect whose call came to nothing waits like any other, and is still a suspect."""
    some = suspects("s")
    some.hold(begin(some), until=NOW + 3)
    assert some.next_round(NOW) is None
    assert begin(some, NOW + 3).alone


def test_becoming_a_suspect() -> None:
    """An invoice that was ready is taken last once a suspect has come for it."""
    some = window(a=[1], b=[2])
    some.add("a", order=at(3), item=3, now=0.0, suspect=True)
    assert begin(some).key == "b"


def test_suspects_come_last_and_alone() -> None:
    """While another invoice is ready or in flight no suspect begins; while a suspect is in flight nothing does."""
    some = suspects("s", "t")
    some.add("g", order=at(50), item=50, now=0.0)
    good = begin(some)
    assert good.key == "g"
    assert some.next_round(NOW) is None
    some.finish(good)
    suspect = begin(some)
    some.add("h", order=at(51), item=51, now=0.0)
    assert some.next_round(NOW) is None
    some.finish(suspect)
    assert begin(some).key == "h"


def test_one_suspect_makes_its_invoice_suspect() -> None:
    """Events of one invoice stay in order: they wait with the suspect among them, and share its call."""
    some = suspects("s")
    some.add("s", order=at(10), item=10, now=0.0)
    some.add("g", order=at(20), item=20, now=0.0)
    good = begin(some)
    assert good.key == "g"
    some.finish(good)
    assert items(begin(some)) == [0, 10]


def test_processes_take_suspects_in_different_orders() -> None:
    """The first suspect differs from process to process, so a deadly event does not always come first."""
    assert len({begin(suspects("a", "b", "c", "d", shuffle=n)).key for n in range(50)}) == 4


def test_many_suspects_were_merely_handed_back() -> None:
    """While there are many of them they are served side by side, and the last few one at a time."""
    many = FEW_SUSPECTS + 3
    some = suspects(*(f"s-{n}" for n in range(many)))
    beside = [begin(some) for _ in range(3)]
    assert some.next_round(NOW) is None
    for begun in beside:
        some.finish(begun)
    assert begin(some).alone
    assert some.next_round(NOW) is None


def backlog(*, every: float) -> Window[int]:
    """A window that events have just come into at this pace, the last at NOW, each of the next of five invoices."""
    some: Window[int] = Window()
    for n in range(DENSE_EVENTS):
        some.add(f"i-{n % 5}", order=at(n), item=n, now=NOW - (DENSE_EVENTS - 1 - n) * every)
    return some


def test_a_backlog_lingers() -> None:
    """While events come densely an invoice is left to gather its own, no longer than it may linger."""
    some, began = backlog(every=0.005), NOW - (DENSE_EVENTS - 1) * 0.005
    now, last = NOW, int(LINGER_SECONDS / 0.005)
    for n in range(DENSE_EVENTS, last + 1):
        assert some.next_round(now, may_linger=True) is None
        now = began + n * 0.005
        some.add(f"i-{n % 5}", order=at(n), item=n, now=now)
    assert items(begin(some, now + 0.001, may_linger=True)) == list(range(0, last + 1, 5))
    assert some.next_round(now + 0.001, may_linger=True) is None


def test_a_backlog_that_has_come_lingers_no_more() -> None:
    """Once no more events come all that waits may go; when that is can be waited for."""
    some = backlog(every=0.001)
    pause = some.next_change(NOW, may_linger=True)
    assert pause is not None
    assert pause == pytest.approx(PAUSE_SECONDS)
    assert some.next_round(NOW + pause - 0.001, may_linger=True) is None
    assert [begin(some, NOW + pause, may_linger=True).key for _ in range(5)] == [f"i-{n}" for n in range(5)]


def test_at_a_steady_pace_nothing_lingers() -> None:
    """Events that come one by one, a hundred a second among them, are fetched for at once."""
    some = backlog(every=0.01)
    assert some.next_change(NOW, may_linger=True) is None
    assert len(items(begin(some, may_linger=True))) == DENSE_EVENTS // 5


def test_what_was_held_does_not_linger() -> None:
    """A round that came to nothing has waited already: it goes at its time, whatever comes meanwhile."""
    some = window(a=[1])
    some.hold(begin(some), until=NOW - 1)
    for n in range(2, DENSE_EVENTS + 2):
        some.add("a", order=at(n), item=n, now=NOW)
    assert len(items(begin(some, may_linger=True))) == DENSE_EVENTS + 1


def test_where_calls_are_scarce_nothing_lingers() -> None:
    """However densely events come, a call that may go does."""
    some = backlog(every=0.001)
    assert some.next_change(NOW) is None
    assert begin(some).key == "i-0"


def test_some_of_those_that_wait() -> None:
    """A few invoices that wait are named, whatever state they are in, but for those with a call in flight."""
    some = window(a=[1], b=[2], c=[3], d=[4])
    begin(some)
    assert some.some_waiting(2) == ["b", "c"]
    assert some.some_waiting(9) == ["b", "c", "d"]
