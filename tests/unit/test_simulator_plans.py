from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenoti_ingest.simulator import plans
from zenoti_ingest.simulator.plans import Planned
from zenoti_ingest.simulator.switches import WebhookSwitches
from zenoti_ingest.simulator.world import WebhookEvent, World

NOW = datetime(2031, 5, 6, 17, 8, 9, tzinfo=UTC)


def now() -> datetime:
    """It is always the same time."""
    return NOW


def always(switches: WebhookSwitches) -> Callable[[], WebhookSwitches]:
    """They are not changed."""
    return lambda: switches


def visits(world: World, *, count: int | None, switches: WebhookSwitches) -> Iterator[Planned]:
    """The plan of some visits."""
    return plans.visits(world, count=count, now=now, switched=always(switches))


def test_times_by_the_rate() -> None:
    """Each event comes after the event before by the rate; a changed rate holds from the next event on."""
    rate = [2.0]
    plan = plans.visits(World(1), count=1, now=now, switched=lambda: WebhookSwitches(rate=rate[0]))
    times = [next(plan).at, next(plan).at]
    rate[0] = 10.0
    times += [planned.at for planned in plan]
    assert times == pytest.approx([0.0, 0.5, 0.6, 0.7, 0.8])


def test_an_endless_plan() -> None:
    """Without a number there is always a next visit."""
    plan = visits(World(1), count=None, switches=WebhookSwitches())
    assert len({next(plan).event.invoice_id for _ in range(500)}) > 90


@pytest.mark.parametrize(("share", "beside"), [(0.0, 0), (0.2, 15), (0.5, 60), (0.75, 180)])
def test_the_share_of_others(share: float, beside: int) -> None:
    """So many of all events are of other kinds, in between; the visits stay whole."""
    events = [planned.event for planned in visits(World(1), count=12, switches=WebhookSwitches(others=share))]
    world, other_world = World(1), World(1)
    undisturbed = {event.body for _ in range(12) for event in world.visit(now=NOW).events}
    others = {other_world.other(now=NOW).body for _ in range(beside)}
    assert len(events) == 60 + beside
    assert {event.body for event in events} == undisturbed | others


def occurrence(event: WebhookEvent) -> str:
    """The occurrence of an event, however it is sent: its type and the time of its data."""
    data = msgspec.json.decode(event.body)
    return f"{event.event_type} {event.invoice_id} {'' if event.invoice_id else data}"


@settings(max_examples=30, deadline=None)
@given(share=st.tuples(*[st.floats(0, 1) for _ in range(3)]), reordered_by=st.integers(1, 20), seed=st.integers(0, 99))
def test_nothing_is_lost_and_little_is_late(share: tuple[float, float, float], reordered_by: int, seed: int) -> None:
    """Whatever is disturbed, each event is there, twice at most; held back by so many at most; times never decrease."""
    bare, duplicates, reordered = share
    switches = WebhookSwitches(bare=bare, duplicates=duplicates, reordered=reordered, reordered_by=reordered_by)
    calm = [planned.event for planned in visits(World(seed), count=6, switches=WebhookSwitches())]
    world = World(seed)
    wire = list(plans.disturbed(visits(world, count=6, switches=switches), world, switched=always(switches)))
    counted = Counter(occurrence(planned.event) for planned in wire)
    assert counted.keys() == {occurrence(event) for event in calm}
    assert set(counted.values()) <= {1, 2}
    assert sum(counted.values()) - 30 == sum(planned.disturbed == "duplicate" for planned in wire)
    assert [planned.at for planned in wire] == sorted(planned.at for planned in wire)
    # An event's time shows its step in the plan: an event a second.
    places = {occurrence(event): place for place, event in enumerate(calm)}
    late = [planned.at - places[occurrence(planned.event)] for planned in wire]
    assert all(0 <= seconds <= reordered_by for seconds in late)


def test_a_duplicate_is_a_delivery_of_its_own() -> None:
    """It has the event's id and data, and another delivery id, each time another; a bare event is the same bytes."""
    world = World(1)
    event = world.visit(now=NOW).events[0]
    first, again, once_more = (msgspec.json.decode(e.body) for e in (event, world.again(event), world.again(event)))
    assert len({first["id"], again["id"], once_more["id"]}) == 3
    assert len(again["id"]) == len(first["id"])
    assert first | {"id": ""} == again | {"id": ""} == once_more | {"id": ""}
    bare = world.bare(event)
    assert world.again(bare) == bare


def test_closing_time() -> None:
    """Three hundred invoices of five events, each in order over minutes, within 18 minutes, always the same."""
    traces = [list(plans.closing_time(World(1), now=now)) for _ in range(2)]
    assert traces[0] == traces[1]
    trace = traces[0]
    assert len(trace) == 1500
    assert [planned.at for planned in trace] == sorted(planned.at for planned in trace)
    assert trace[-1].at <= 18 * 60
    by_invoice: dict[str, list[Planned]] = {}
    for planned in trace:
        by_invoice.setdefault(planned.event.invoice_id, []).append(planned)
    assert len(by_invoice) == 300
    for events in by_invoice.values():
        assert [planned.event.event_type for planned in events][::4] == ["AppointmentGroup.Created", "Invoice.Closed"]
        assert 2 * 60 <= events[-1].at - events[0].at <= 8 * 60
    busiest = max(Counter(int(planned.at / 60) for planned in trace).values())
    assert busiest > 2 * 60  # twice what the quota has calls for


def test_the_same_seed_plans_the_same() -> None:
    """What goes out and when, disturbances and all, is the same each time; another seed's is not."""
    switches = WebhookSwitches(duplicates=0.3, reordered=0.3, bare=0.3, others=0.3)
    plans_of = []
    for seed in (5, 5, 6):
        world = World(seed)
        plans_of.append(
            list(plans.disturbed(visits(world, count=20, switches=switches), world, switched=always(switches)))
        )
    assert plans_of[0] == plans_of[1] != plans_of[2]
