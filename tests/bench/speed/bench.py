"""One run's surroundings: sides, load, API, broker; and the two kinds of turn that the measures are made of.

A turn ends with what has arrived: each event's bytes are taken out of the queue and counted, none may be missing.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import aio_pika
import msgspec
from yarl import URL

from tests.bench.speed.figures import Turn, median, quantile
from tests.bench.speed.load import Plan, Seen
from tests.bench.speed.processes import Helper, Withheld, cpu_seconds, listener
from tests.bench.speed.sides import Ours, Reference, Side, side
from tests.bench.speed.trace import Arrived

API_SECONDS = 0.05
STEP_SECONDS = 30.0
TURN_SECONDS = 120.0
IN_HAND_SECONDS = 2.0  # more than translate needs for what it has taken


class Lost(AssertionError):
    """Events that were accepted have not arrived, or not all were accepted: the figures are worthless."""


class Size(msgspec.Struct, frozen=True):
    """How much: turns that count (one more goes before them), a factor on the numbers of events, and rests.

    Attributes:
        rest: seconds before each row of turns. A machine that is shared can give less after some tens of seconds of
            full load; a measure should not pay for what the measure before it has used up.
    """

    turns: int = 5
    factor: float = 1.0
    rest: float = 60.0

    def events(self, count: int) -> int:
        """So many of them."""
        return max(100, int(count * self.factor))


class Bench:
    """Everything a measure needs."""

    def __init__(self, *, size: Size, load: Helper, api: Helper, broker_pid: int | None, sides: Sequence[Side]) -> None:
        self.size = size
        self.load = load
        self.api = api
        self.ours, self.obvious, *others = sides
        self.faststream = others[0] if others else None
        self._broker = [] if broker_pid is None else [broker_pid]

    def broker_cpu_seconds(self) -> float:
        """What the broker has spent so far; 0 where it is not of this machine."""
        return cpu_seconds(self._broker)

    async def post(self, plan: Plan, *, before: Callable[[], Awaitable[None]] | None = None) -> Seen:
        """Have a plan carried out; `before` runs once all is made and connected."""
        assert await self.load.ask(msgspec.json.encode(plan).decode(), within=STEP_SECONDS) == "ready"
        if before is not None:
            await before()
        seen = msgspec.json.decode(await self.load.ask("go", within=plan.within + STEP_SECONDS), type=Seen)
        if seen.accepted != plan.count:
            raise Lost(f"{plan.count - seen.accepted} of {plan.count} posts got no 202")
        return seen

    async def by_turns(
        self, turns: Sequence[Callable[[], Awaitable[Turn]]], *, counting: int | None = None
    ) -> list[Turn]:
        """One turn each, again and again, after a rest; the first is to warm up, of the others the medians."""
        found: list[list[Turn]] = [[] for _ in turns]
        await asyncio.sleep(self.size.rest)
        for number in range(1 + (counting or self.size.turns)):
            for at, turn in enumerate(turns):
                cpu = Withheld()
                measured = await turn()
                if number:
                    found[at].append(measured._replace(withheld=cpu.percent()))
        return [median(measured) for measured in found]

    async def door_turn(self, at: Side, *, count: int, connections: int, rate: float = 0.0) -> Turn:
        """Posts to a door; all of them are in its raw queue afterwards."""
        plan = Plan(port=at.port, tag=fresh_tag(), count=count, connections=connections, rate=rate)
        spent: list[float] = []

        async def begin() -> None:
            spent.extend((at.cpu_seconds(), self.broker_cpu_seconds()))

        seen = await self.post(plan, before=begin)
        cpu, broker_cpu = at.cpu_seconds() - spent[0], self.broker_cpu_seconds() - spent[1]
        require_all(await at.queues.drain("raw.main", plan.tag, count), at)
        waits = [1000 * wait for wait in seen.waits]
        per_event = 1_000_000 / count
        p50, p99 = quantile(waits, 0.5), quantile(waits, 0.99)
        return Turn(count / seen.seconds, cpu * per_event, broker_cpu * per_event, p50, p99)

    async def backlog_turn(self, at: Side, *, count: int, to: str, passed_on: bool = False) -> Turn:
        """What has piled up before a side's processes while they were held; all of it is in `to` afterwards.

        `passed_on`: it is passed on to the next queue before, by a process that has ended by then.
        """
        tag = fresh_tag()
        at.freeze()
        await at.queues.fill(tag, count)
        while passed_on and await at.queues.depth("raw.main"):  # what its end hands back is there again
            async with at.running("pass-on"):
                await at.queues.emptied("raw.main", within=TURN_SECONDS)
                await asyncio.sleep(IN_HAND_SECONDS)
        asked = int(await self.api.ask("", within=STEP_SECONDS))
        cpu, broker_cpu, began = at.cpu_seconds(), self.broker_cpu_seconds(), time.monotonic()
        at.thaw()
        seconds = await at.queues.filled(to, count, within=TURN_SECONDS) - began
        per_event = 1_000_000 / count
        cpu, broker_cpu = at.cpu_seconds() - cpu, self.broker_cpu_seconds() - broker_cpu
        asked = int(await self.api.ask("", within=STEP_SECONDS)) - asked
        require_all(await at.queues.drain(to, tag, count), at)
        return Turn(count / seconds, cpu * per_event, broker_cpu * per_event, calls=asked / count)


def fresh_tag() -> str:
    """A word for the events of one turn that no other has."""
    return secrets.token_hex(4)


def require_all(arrived: Arrived, at: Side) -> None:
    """Refuse what is not whole. Raises Lost."""
    if arrived.missing:
        raise Lost(f"{at.name}: {arrived.missing} of {arrived.count} events have not arrived")
    if arrived.copies:
        print(f"{at.name}: {arrived.copies} of {arrived.count} events have arrived twice")


@asynccontextmanager
async def surroundings(broker_url: str, folder: Path, size: Size, *, faststream: bool = True) -> AsyncIterator[Bench]:
    """All of it, up; nothing of it is left afterwards."""
    async with AsyncExitStack() as ending:
        connection = await ending.enter_async_context(await aio_pika.connect(broker_url, timeout=STEP_SECONDS))
        load = await ending.enter_async_context(Helper("load"))
        api = await ending.enter_async_context(Helper("stand_ins", str(API_SECONDS)))
        url = f"http://127.0.0.1:{await api.hear(within=STEP_SECONDS)}"
        kinds: list[tuple[type[Side], str]] = [(Ours, "ours"), (Reference, "obvious")]
        if faststream and find_spec("faststream") and find_spec("httpx"):
            kinds.append((Reference, "faststream_loop"))
        elif faststream:
            print("FastStream, pydantic and httpx are not installed: that reference is left out")
        sides = await asyncio.gather(
            *(
                ending.enter_async_context(
                    side(kind, name, broker_url=broker_url, folder=folder, api=url, connection=connection)
                )
                for kind, name in kinds
            )
        )
        at = URL(broker_url)
        yield Bench(size=size, load=load, api=api, broker_pid=listener(at.port or 5672), sides=sides)
