from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.invoices.lane_clock import RESERVE_MICROSECONDS, LaneClock
from zenoti_ingest.core.operating.times import as_text, microseconds

NOW = microseconds("2031-05-06T17:08:10Z") or 0
DAYS = 86_400_000_000
NEAR = st.integers(NOW - 30 * DAYS, NOW + 30 * DAYS)
TEXTS = st.one_of(
    NEAR.map(as_text),
    st.datetimes().map(datetime.isoformat),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.text(),
)


@given(st.lists(st.tuples(NEAR, st.lists(TEXTS, max_size=3), st.one_of(st.none(), TEXTS)), max_size=20))
def test_times_never_go_back(calls: list[tuple[int, list[str], str | None]]) -> None:
    """Whatever this host's clock, the doors' and other processes say, each time is later than all that count."""
    clock, last = LaneClock(), 0
    for now, received, claim in calls:
        clock.heard(claim)
        at = clock.next(now, received)
        seen = [x for x in (last, *map(microseconds, received), microseconds(claim or "")) if x is not None]
        assert at >= now
        assert all(at > other for other in seen)
        assert at in {now, max(seen) + 1}, "no later than it must be"
        last = at


@given(
    st.lists(st.tuples(st.integers(0, 2), NEAR, st.booleans()), max_size=40),
    st.lists(st.integers(-3, 3).map(lambda hours: hours * 3_600_000_000), min_size=3, max_size=3),
)
def test_take_overs(calls: list[tuple[int, int, bool]], wrong: list[int]) -> None:
    """Three processes with three clocks take turns, and each hears the others' confirmed claims before it begins.

    The lane's times never go back among what went out, and no echo of claims makes them run away from the clocks.
    """
    clocks, active, last, claims = [LaneClock() for _ in wrong], -1, 0, [""] * 3
    latest = 0
    for turn, now, is_confirmed in calls:
        if turn != active:
            for other in range(3):
                clocks[turn].heard(claims[other] if other != turn else None)
            active = turn
        at = clocks[turn].next(now + wrong[turn], [])
        latest = max(latest + RESERVE_MICROSECONDS, now + wrong[turn])
        assert at <= latest + RESERVE_MICROSECONDS + len(calls)
        claim = clocks[turn].claim()
        if is_confirmed or clocks[turn].covers(at):
            claims[turn] = claim or ""
            clocks[turn].confirmed(claim)
            assert clocks[turn].covers(at)
            assert at > last
            last = at
        for other in range(3):
            clocks[other].heard(claims[turn])  # an echo of its own, too


def test_echoes_do_not_add_up() -> None:
    """A standby repeats what it has heard; the lane's times do not run ahead of its consumer's clock by that."""
    active, standby = LaneClock(), LaneClock()
    for turn in range(100):
        now = NOW + turn * RESERVE_MICROSECONDS // 4
        assert active.next(now, []) == now
        active.confirmed(active.claim())
        standby.heard(active.claim())
        active.heard(standby.claim())


def test_a_busy_lane_claims_once_a_reserve() -> None:
    """Between two claims many times are given; nothing is claimed for a lane that has given none."""
    clock, claims = LaneClock(), 0
    assert clock.claim() is None
    for turn in range(1000):
        at = clock.next(NOW + turn * 10_000, [])
        if not clock.covers(at):
            clock.confirmed(clock.claim())
            claims += 1
    assert claims == 10
    assert clock.claim() == clock.claim()


def test_a_time_far_ahead_is_seen() -> None:
    """An event from a door whose clock is in 2099 takes the lane there, and it is said by how much."""
    clock = LaneClock()
    clock.next(NOW, ["2099-01-01T00:00:00Z"])
    assert as_text(clock.next(NOW + 5, [])) == "2099-01-01T00:00:00.000002Z"
    assert clock.seconds_ahead(NOW) > 60 * 365 * 86_400
    assert LaneClock().seconds_ahead(NOW) == 0
