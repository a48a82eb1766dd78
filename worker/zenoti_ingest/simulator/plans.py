"""Plans what to send and when: endless salon visits, the fixed trace of a closing time, and their disturbances.

It is pure: randomness comes from the world's seed, so equal seeds and switches give the same events in the same order.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, Literal, NamedTuple

from zenoti_ingest.simulator.switches import WebhookSwitches
from zenoti_ingest.simulator.world import WebhookEvent, World

OPEN_VISITS: Final = 5  # guests in the salon at the same time
CLOSING_TIME_INVOICES: Final = 300

_NEARLY: Final = 1e-9  # five fifths are a little less than 1
_RUSH: Final = (0.0, 600.0, 480.0)  # seconds: earliest, latest and most frequent beginning
_BETWEEN_EVENTS: Final = (30.0, 120.0)  # seconds between two events of an invoice

Now = Callable[[], datetime]
Switched = Callable[[], WebhookSwitches]


class Planned(NamedTuple):
    """An event, and its time: simulated seconds after the beginning; times never decrease.

    `disturbed` marks the second delivery of an event, and an event that was held back.
    """

    at: float
    event: WebhookEvent
    disturbed: Literal["", "duplicate", "reordered"] = ""


def visits(world: World, *, count: int | None, now: Now, switched: Switched) -> Iterator[Planned]:
    """Plan the events of `count` visits (None: endless), with other events between them, at the switched rate.

    A few visits are open at a time and mixed randomly; the events of each visit are in order.
    """
    events, at = _with_others(_mixed(world, count=count, now=now), world, now=now, switched=switched), 0.0
    for event in events:
        yield Planned(at, event)
        at += 1 / switched().rate


def closing_time(world: World, *, now: Now, invoices: int = CLOSING_TIME_INVOICES) -> Iterator[Planned]:
    """All events of a chain of salons at closing time: within 18 minutes, five events per invoice over 2 to 8 minutes.

    These are more events than a quota of 60 calls a minute can serve. The trace is fixed: a seed always gives the same.
    """
    chance, planned = world.chance("closing time"), []
    for _ in range(invoices):
        at = chance.triangular(*_RUSH)
        for event in world.visit(now=now()).events:
            planned.append(Planned(at, event))
            at += chance.uniform(*_BETWEEN_EVENTS)
    return iter(sorted(planned, key=lambda entry: entry.at))


def disturbed(plan: Iterable[Planned], world: World, *, switched: Switched) -> Iterator[Planned]:
    """The plan as sent over the wire: some events bare, some delivered twice, some held back, by the switches.

    Events held back and second deliveries go out after a few later events, or at the end.
    """
    chance, held, at = world.chance("wire"), list[tuple[int, Planned]](), 0.0
    for at, event, _ in plan:
        switches = switched()
        bare, late, again, distance = (chance.random() for _ in range(4))  # always all: a switch changes no other draw
        sent = world.bare(event) if bare < switches.bare else event
        held = [(left - 1, later) for left, later in held]
        wait = 1 + int(distance * switches.reordered_by)
        if late < switches.reordered:
            held.append((wait, Planned(at, sent, "reordered")))
        else:
            yield Planned(at, sent)
        if again < switches.duplicates:
            held.append((wait, Planned(at, world.again(sent), "duplicate")))
        yield from (later._replace(at=at) for left, later in held if left <= 0)
        held = [(left, later) for left, later in held if left > 0]
    yield from (later._replace(at=at) for _, later in held)


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
    """After each event, yield as many other events as are due for their share of all events."""
    due = 0.0
    for event in events:
        yield event
        share = switched().others
        due += share / (1 - share)
        while due >= 1 - _NEARLY:
            due -= 1
            yield world.other(now=now())
