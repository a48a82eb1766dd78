"""The run: rounds of a few faults at a time, a calm after each that shows life, and the settlement at the end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos import hands
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ledger import Settlement
from tests.chaos.world import World

ALIVE_SECONDS = 10.0  # what is promised
DEAD_SECONDS = 90.0  # after that a run has failed
FAULT_SECONDS = 200.0
SETTLE_SECONDS = 240.0
STILL_SECONDS = 60.0  # longer than any delay there is: what has not moved for so long does not move
QUIET_SECONDS = 2.0
BURST = (40, 120)
PROGRESS_SECONDS = 5.0

Say = Callable[[str], None]


class NoLife(Exception):
    """Nothing came out any more, though everything was healed: there is no use in going on."""


@dataclass(frozen=True)
class Struck:
    """A fault as it happened.

    Attributes:
        at: seconds from the start of the run.
        fault: which kind.
        what: in words.
        lasted: seconds from the strike until it was healed.
        accepted: events that the door took meanwhile.
        retried: posts that it did not take meanwhile.
        alive: seconds from the healing of the round until an event posted then had come out.
    """

    at: float
    fault: str
    what: str
    lasted: float
    accepted: int
    retried: int
    alive: float = 0.0


@dataclass
class Outcome:
    """A whole run.

    Attributes:
        seconds: how long it took, without the settlement.
        struck: the faults.
        settlement: what became of the events.
        left: what is ready in our queues at the end.
        notes: what else to report.
    """

    seconds: float
    struck: list[Struck]
    settlement: Settlement
    left: dict[str, int]
    notes: list[str] = field(default_factory=list)


class Deck:
    """Deals kinds of faults as from a pack of cards, so that each has its share; the seed shuffles.

    Args:
        faults: the kinds.
        rng: of the seed.
        each: a pack with one card of each, and no second pack.
    """

    def __init__(self, faults: Sequence[Fault], rng: Random, *, each: bool = False) -> None:
        self._pack = [fault for fault in faults for _ in range(1 if each else fault.weight)]
        self._rng = rng
        self._cards: list[Fault] = []
        self._each = each
        self._shuffle()

    def deal(self, most: int) -> list[Fault]:
        """Two to `most`, of different families."""
        wanted = self._rng.randint(min(2, most), most)
        dealt: list[Fault] = []
        while len(dealt) < wanted:
            if not self._cards and not self._each:
                self._shuffle()
            families = {fault.family for fault in dealt}
            fitting = next((card for card in self._cards if card.family not in families), None)
            if fitting is None:
                break
            self._cards.remove(fitting)
            dealt.append(fitting)
        return dealt

    def _shuffle(self) -> None:
        self._cards = list(self._pack)
        self._rng.shuffle(self._cards)


def chosen(*, nodes: int, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[Fault]:
    """The faults of a run. Raises SystemExit on a name that is none."""
    known = {fault.name for fault in FAULTS}
    if strangers := sorted({*only, *without} - known):
        raise SystemExit(f"chaos: no such fault: {', '.join(strangers)}; there are: {', '.join(sorted(known))}")
    return [f for f in FAULTS if f.nodes <= nodes and (not only or f.name in only) and f.name not in without]


async def run(
    world: World, faults: Sequence[Fault], *, each: bool, seconds: float, count: int, at_once: int, say: Say
) -> Outcome:
    """Strike until the time is up and so many faults have been dealt, or `each` has been once; then settle."""
    begun = time.monotonic()
    rng = Random(f"{world.plan.seed} rounds")
    deck = Deck(faults, rng, each=each)
    struck: list[Struck] = []
    sending = asyncio.create_task(world.load.run())
    try:
        await alive(world)
        while each or time.monotonic() - begun < seconds or len(struck) < count:
            if not (dealt := deck.deal(at_once)):
                break
            struck += await _round(world, dealt, rng, begun=begun, say=say)
    except NoLife as error:
        world.ledger.wrong.append(str(error))
    finally:
        sending.cancel()
    return Outcome(time.monotonic() - begun, struck, *await settle(world, say=say))


async def _round(world: World, dealt: Sequence[Fault], rng: Random, *, begun: float, say: Say) -> list[Struck]:
    own = [Random(rng.random()) for _ in dealt]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_strike(world, fault, chance, begun=begun))
            for fault, chance in zip(dealt, own, strict=True)
        ]
    life = await alive(world)
    found = []
    for task in tasks:
        strike = task.result()
        struck = Struck(strike.at, strike.fault, strike.what, strike.lasted, strike.accepted, strike.retried, life)
        found.append(struck)
        say(f"{struck.at:7.1f} s  {struck.fault:<19} {struck.what:<52} alive after {life:4.1f} s")
    for daemon in world.daemons:
        if daemon.died():
            world.ledger.wrong.append(f"{daemon.name} ended by itself")
            await daemon.start()
    return found


async def _strike(world: World, fault: Fault, rng: Random, *, begun: float) -> Struck:
    await asyncio.sleep(rng.uniform(0, 1))
    for _ in range(rng.randrange(*BURST)):  # so that every hop has something in hand as it is struck
        world.load.send(world.load.maker.any())
    await asyncio.sleep(rng.uniform(0, 0.5))
    at = time.monotonic()
    accepted, retried = len(world.ledger.accepted), world.load.retried
    async with asyncio.timeout(FAULT_SECONDS):
        what = await fault.strike(world, rng)
    return Struck(
        at=at - begun,
        fault=fault.name,
        what=what,
        lasted=time.monotonic() - at,
        accepted=len(world.ledger.accepted) - accepted,
        retried=world.load.retried - retried,
    )


async def alive(world: World, *, within: float = DEAD_SECONDS) -> float:
    """Seconds until an event of each way, posted now, has come out.

    Raises:
        NoLife: not within so many seconds; where everything stands is in the message.
    """
    begun = time.monotonic()
    maker = world.load.maker
    events = [maker.guest(), maker.invoice(fresh=True)]
    for event in events:
        world.load.send(event)
    while not all(event.id in world.ledger.accepted and world.ledger.has_arrived(event) for event in events):
        if time.monotonic() - begun > within:
            raise NoLife(f"no life for {within:g} s; ready: {await world.depths()}")
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def settle(world: World, *, say: Say) -> tuple[Settlement, dict[str, int]]:
    """Wait until everything accepted has come out and nothing moves any more, stop the daemons, and judge."""
    ledger = world.ledger
    try:
        await world.load.finish(within=SETTLE_SECONDS)
    except TimeoutError:
        ledger.wrong.append(f"the door did not take everything within {SETTLE_SECONDS:g} s")
    deadline, said_at = time.monotonic() + SETTLE_SECONDS, 0.0
    seen, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        still = time.monotonic() - since
        if still > (STILL_SECONDS if ledger.unsettled else QUIET_SECONDS):
            break
        if ledger.arrivals != seen:
            seen, since = ledger.arrivals, time.monotonic()
        if time.monotonic() - said_at > PROGRESS_SECONDS:
            said_at = time.monotonic()
            say(f"         settling: {ledger.unsettled} of {len(ledger.accepted)} on their way; {await world.depths()}")
        await asyncio.sleep(0.1)
    for daemon in world.daemons:
        if complaint := await daemon.terminate():
            ledger.wrong.append(complaint)
    await asyncio.sleep(QUIET_SECONDS / 2)  # what a stop handed back shows in the depths
    left = await hands.depths(world.broker.urls, world.queues)
    ledger.wrong += [f"{queue} cannot be asked for its depth" for queue in world.queues if queue not in left]
    return ledger.settlement(), {queue: count for queue, count in left.items() if count}
