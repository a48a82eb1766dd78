"""What is to be sent, and when: salon visits without end, the fixed trace of a closing time, and their disturbances.

Pure: chance comes from the world's seed, so that the same seed and switches plan the same events in the same order.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, Literal, NamedTuple

from zenoti_ingest.simulator.switches import WebhookSwitches
from zenoti_ingest.simulator.world import WebhookEvent, World

OPEN_VISITS: Final = 5  # as many guests are in the salon at a time
CLOSING_TIME_INVOICES: Final = 300

_NEARLY: Final = 1e-9  # five fifths are a little less than 1
_RUSH: Final = (0.0, 600.0, 480.0)  # seconds: earliest and latest beginning, and where most begin
_BETWEEN_EVENTS: Final = (30.0, 120.0)  # seconds, of one invoice

Now = Callable[[], datetime]
Switched = Callable[[], WebhookSwitches]


class Planned(NamedTuple):
    """An event, and how many simulated seconds after the beginning it is to be sent; they never decrease.

    `disturbed` tells of the second delivery of an event, and of one that was held back.
    """

    at: float
    event: WebhookEvent
    disturbed: Literal["", "duplicate", "reordered"] = ""


def visits(world: World, *, count: int | None, now: Now, switched: Switched) -> Iterator[Planned]:
    """The events of `count` visits, or of visits without end, with the others between them, by the rate.

    A few visits are open at a time, mixed by chance; each visit's own events are in order.
    """
    events, at = _with_others(_mixed(world, count=count, now=now), world, now=now, switched=switched), 0.0
    for event in events:
        yield Planned(at, event)
        at += 1 / switched().rate


def closing_time(world: World, *, now: Now, invoices: int = CLOSING_TIME_INVOICES) -> Iterator[Planned]:
    """All that a chain of salons tells at closing time: within 18 minutes five events an invoice, 2 to 8 minutes long.

    That is more events than a quota of 60 calls a minute has calls for. It is a fixed trace: a seed has only one.
    """
    chance, planned = world.chance("closing time"), []
    for _ in range(invoices):
        at = chance.triangular(*_RUSH)
        for event in world.visit(now=now()).events:
            planned.append(Planned(at, event))
            at += chance.uniform(*_BETWEEN_EVENTS)
    return iter(sorted(planned, key=lambda one: one.at))


def disturbed(plan: Iterable[Planned], world: World, *, switched: Switched) -> Iterator[Planned]:
    """The plan as it comes over the wire: some events bare, some delivered twice, some held back, by the switches.

    What is held back, and what comes again, goes out after a few of the following, at the latest with the last.
    """
    chance, held, at = world.chance("wire"), list[tuple[int, Planned]](), 0.0
    for at, event, _ in plan:
        switches = switched()
        bare, late, again, distance = (chance.random() for _ in range(4))  # each drawn, that one leaves the others be
        told = world.bare(event) if bare < switches.bare else event
        held = [(left - 1, one) for left, one in held]
        wait = 1 + int(distance * switches.reordered_by)
        if late < switches.reordered:
            held.append((wait, Planned(at, told, "reordered")))
        else:
            yield Planned(at, told)
        if again < switches.duplicates:
            held.append((wait, Planned(at, world.again(told), "duplicate")))
        yield from (one._replace(at=at) for left, one in held if left <= 0)
        held = [(left, one) for left, one in held if left > 0]
    yield from (one._replace(at=at) for _, one in held)


def _mixed(world: World, *, count: int | None, now: Now) -> Iterator[WebhookEvent]:
    chance, salon = world.chance("salon"), list[Iterator[WebhookEvent]]()
    guests = itertools.count() if count is None else iter(range(count))
    while True:
        while len(salon) < OPEN_VISITS and next(guests, None) is not None:
            salon.append(iter(world.visit(now=now()).events))
        if not salon:
            return
        visit = chance.choice(salon)
        event = next(visit, None)
        if event is None:
            salon.remove(visit)
        else:
            yield event


def _with_others(
    events: Iterator[WebhookEvent], world: World, *, now: Now, switched: Switched
) -> Iterator[WebhookEvent]:
    """After each event as many of the others as are due, so that they are their share of all."""
    due = 0.0
    for event in events:
        yield event
        share = switched().others
        due += share / (1 - share)
        while due >= 1 - _NEARLY:
            due -= 1
            yield world.other(now=now())
