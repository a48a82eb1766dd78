"""One thing broken at a time, while everything else must keep its pace; memory and quota are looked at all the time."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import yaml

from tests.acceptance.conftest import ROOT
from tests.chaos import hands
from tests.chaos.events import FULL, PREFIX, Event
from tests.chaos.ledger import Answered, Ledger, Pace, most_in_a_window
from tests.chaos.parts import IN_FLIGHT_SECONDS, PARTS, Part, Scene, every_event
from tests.chaos.rounds import SETTLE_SECONDS, Outcome, Say, Struck, alive, settle
from tests.chaos.scenarios import CALLS_PER_MINUTE
from tests.chaos.world import World
from tests.proxy import Proxy

WINDOW_SECONDS = 60.0
SAMPLE_SECONDS = 1.0
STRUCK_SHARE = 2 / 3  # of a fault's time; the rest is calm
LEAST_CALM_SECONDS = 10.0
LEAST_QUIET_SECONDS = 20.0
CAUGHT_UP_SECONDS = 90.0
TIMES, MORE_SECONDS = 2.0, 5.0  # of the quiet p95, and beside it
DAMAGE_WORDS = ('"event":"spool_damaged"', '"event":"spool_record_lost"')
SPOOL_MAY_LOSE = 1  # of the events in a damaged file
OWN_PROXIES = ("intake-1", "enrich-1", "enrich-2")
LIMITS = {"intake": "intake.yaml", "translate": "consumers.yaml", "enrich": "consumers.yaml"}
HEAD = [
    "| fault | the others | events | p50 s | p95 s | worst s | copies | missing | calls in 60 s | verdict |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
]


@dataclass(frozen=True)
class Share:
    """A fault's part of the time, or the quiet one before all: monotonic seconds from strike to the end of the calm."""

    part: Part | None
    since: float
    until: float


def chosen(*, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[Part]:
    """The faults of a run. Raises SystemExit on a name that is none."""
    known = {part.name for part in PARTS}
    if strangers := sorted({*only, *without} - known):
        raise SystemExit(f"chaos: no such fault: {', '.join(strangers)}; there are: {', '.join(sorted(known))}")
    return [part for part in PARTS if (not only or part.name in only) and part.name not in without]


async def partial(world: World, parts: Sequence[Part], *, seconds: float, say: Say) -> Outcome:
    """A quiet share, then each fault once in a share of its own, as many as the time has room for; then settle."""
    async with AsyncExitStack() as undo:
        scene = await _set(world, undo)
        memory: dict[str, int] = {}
        watching = asyncio.create_task(_watch(world, memory))
        undo.callback(watching.cancel)
        sending = asyncio.create_task(world.load.run())
        begun = time.monotonic()
        try:
            await alive(world)
            shares = await _shares(scene, parts, seconds=seconds, say=say)
        finally:
            sending.cancel()
        lasted = time.monotonic() - begun
        lost = await _excuse(scene)
        settlement, left = await settle(world, say=say)
        if watching.done():
            watching.result()  # it never ends by itself, unless it failed
    rows, wrong = _judge(world, shares)
    memory_rows, over = _memory(memory)
    settlement.wrong += wrong + over
    calls = most_in_a_window(world.api.times, seconds=WINDOW_SECONDS, since=begun, until=time.monotonic())
    if calls > CALLS_PER_MINUTE:
        settlement.wrong.append(f"{calls} calls within {WINDOW_SECONDS:g} s")
    notes = [*HEAD, *rows, "", *memory_rows, "", f"calls in the worst 60 s, of {CALLS_PER_MINUTE}: {calls}", *lost]
    left_out = [part.name for part in parts if part not in {share.part for share in shares}]
    notes += [f"no time for: {', '.join(left_out)}"] if left_out else []
    struck = [
        Struck(share.since - begun, share.part.name, "", share.until - share.since, accepted=0, retried=0)
        for share in shares
        if share.part is not None
    ]
    return Outcome(lasted, struck, settlement, left, notes)


async def _set(world: World, undo: AsyncExitStack) -> Scene:
    """One more receiver, proxies of their own for some, and the API at an address of each process's own."""
    await hands.declare(world.broker.urls[0], FULL, max_length=3)
    world.queues.append(f"{PREFIX}.wait.full")
    nodes = world.broker.nodes
    proxies = {name: await undo.enter_async_context(Proxy(nodes[0].url)) for name in OWN_PROXIES}
    for daemon in world.daemons:
        daemon.change({"DOWNSTREAM__FULL__QUEUE": FULL, "DOWNSTREAM__FULL__DECLARE": "false"})
        daemon.change(
            {"DOWNSTREAM__FULL__EVENTS": "full.#", "SOURCES__MAIN__BASE_URL": f"{world.api.url}/{daemon.name}"}
        )
        if daemon.name in proxies:
            daemon.change({"BROKER__URL": proxies[daemon.name].url})
        if complaint := await daemon.again():
            world.ledger.wrong.append(complaint)
    return Scene(world, proxies)


async def _shares(scene: Scene, parts: Sequence[Part], *, seconds: float, say: Say) -> list[Share]:
    world, begun = scene.world, time.monotonic()
    equal = seconds / (1 + len(parts))
    planned = max(LEAST_QUIET_SECONDS, equal)
    await asyncio.sleep(planned)
    shares = [Share(None, begun, time.monotonic())]
    for part in parts:
        struck = max(part.least, equal * STRUCK_SHARE)
        calm = max(LEAST_CALM_SECONDS, equal - struck)
        if planned + struck + calm > seconds + 1:
            continue
        planned += struck + calm
        since = time.monotonic()
        async with part.strike(scene):
            await asyncio.sleep(struck)
        healed = time.monotonic()
        await asyncio.sleep(calm)
        if behind := await _caught_up(world, healed):
            late = f"{behind} events of its time are not there {CAUGHT_UP_SECONDS:g} s later"
            world.ledger.wrong.append(f"{part.name}: {late}")
        ended = time.monotonic()
        shares.append(Share(part, since, ended))
        said = f"{since - begun:7.1f} s  {part.name:<19} {healed - since:.0f} s, then calm {ended - healed:.0f} s"
        say(f"{said}; on their way {world.ledger.unsettled}; ready {await world.depths()}")
        for daemon in world.daemons:
            if daemon.died():
                world.ledger.wrong.append(f"{daemon.name} ended by itself during: {part.name}")
                await daemon.start()
    return shares


async def _caught_up(world: World, healed: float) -> int:
    """Return once what was accepted before the healing has come out, or else, too late, how much of it has not.

    So a fault's backlog (after a gateway's pages up to 30 s until the next probe, then the pace of the quota) does not
    count against the next fault.
    """
    deadline = time.monotonic() + CAUGHT_UP_SECONDS
    while (behind := world.ledger.unsettled_before(healed)) > SPOOL_MAY_LOSE:
        if time.monotonic() > deadline:
            return behind
        await asyncio.sleep(0.2)
    return 0


def _judge(world: World, shares: Sequence[Share]) -> tuple[list[str], list[str]]:
    """The rows of the table, and what is wrong with them in words."""
    rows, wrong = [], []
    quiet = world.ledger.pace(_in(world, shares[0], every_event)).percentile(0.95)
    for share in shares:
        part = share.part
        name = part.name if part else "none (quiet)"
        pace = world.ledger.pace(_in(world, share, part.is_other if part else every_event), apart=frozenset({FULL}))
        calls = most_in_a_window(world.api.times, seconds=WINDOW_SECONDS, since=share.since, until=share.until)
        found = complaints(world.ledger, share, pace, calls=calls, bound=TIMES * quiet + MORE_SECONDS)
        wrong += [f"{name}: {line}" for line in found]
        figures = (*(pace.percentile(q) for q in (0.5, 0.95)), pace.delays[-1] if pace.delays else 0.0)
        cells = [name, part.others if part else "all", str(pace.events), *(f"{figure:.2f}" for figure in figures)]
        cells += [str(len(pace.copies)), str(len(pace.missing)), str(calls), "kept" if not found else "BROKEN"]
        rows.append(f"| {' | '.join(cells)} |")
    return rows, wrong


def complaints(ledger: Ledger, share: Share, pace: Pace, *, calls: int, bound: float) -> list[str]:
    """What is wrong with a share, in words; nothing: it was kept.

    Args:
        ledger: knows when each event was accepted.
        share: of which fault, and since when.
        pace: of the others.
        calls: the most in any 60 s that end in the share.
        bound: of the 95th percentile, in seconds.
    """
    found = []
    if not pace.events:
        found.append("there were no others")
    if pace.missing:
        found.append(f"missing: {', '.join(pace.missing[:20])}")
    if pace.percentile(0.95) > bound:
        found.append(f"p95 {pace.percentile(0.95):.2f} s is above {bound:.2f} s")
    allowed = share.part.copies if share.part else 0
    in_flight = share.since + IN_FLIGHT_SECONDS
    copied = [n for n, more in pace.copies.items() if more > allowed or ledger.answered[n].at > in_flight]
    if copied:
        found.append(f"copies: {', '.join(f'{name} {pace.copies[name]}' for name in copied[:20])}")
    if calls > CALLS_PER_MINUTE:
        found.append(f"{calls} calls within {WINDOW_SECONDS:g} s")
    return found


def _in(world: World, share: Share, is_other: Callable[[Event, Answered], bool]) -> list[str]:
    """The events that were accepted in a share, and must not be touched by what broke in it."""
    return [
        name
        for name, answered in world.ledger.answered.items()
        if share.since <= answered.at < share.until
        and (event := world.ledger.offered[name]).queues
        and is_other(event, answered)
    ]


async def _excuse(scene: Scene) -> list[str]:
    """A damaged file may lose one of its events, after it was read: whatever is missing beyond that shows as lost."""
    ledger = scene.world.ledger
    if not scene.spooling:
        return []

    def missing() -> list[str]:
        return [
            name
            for name, answered in ledger.answered.items()
            if answered.door == 0
            and any(since <= answered.at <= until for since, until in scene.spooling)
            and not ledger.has_arrived(ledger.offered[name])
        ]

    deadline = time.monotonic() + SETTLE_SECONDS
    while len(found := missing()) > SPOOL_MAY_LOSE and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    # The other intake may be the first to adopt the folder that a restart leaves.
    logs = [daemon.log.read_text() for daemon in scene.world.of("intake")]
    if not any(word in log for word in DAMAGE_WORDS for log in logs):
        ledger.wrong.append("no intake noticed the damaged spool, so nothing was shown")
    for name in found[:SPOOL_MAY_LOSE]:
        ledger.excuse(name)
    return [f"lost with the damaged bytes of the spool: {', '.join(found) or 'nothing'}"]


async def _watch(world: World, most: dict[str, int]) -> None:
    """The most resident KiB of each daemon; who is between two lives holds none."""
    while True:
        for daemon in world.daemons:
            try:
                most[daemon.name] = max(most.get(daemon.name, 0), daemon.resident_kib())
            except (FileNotFoundError, ProcessLookupError, StopIteration):
                continue
        await asyncio.sleep(SAMPLE_SECONDS)


def _memory(most: dict[str, int]) -> tuple[list[str], list[str]]:
    """A table of the most that each held, and what is wrong with it."""
    rows = ["| resident MiB | at most | limit in deploy/kubernetes |", "|---|--:|--:|"]
    wrong = []
    for name, kib in sorted(most.items()):
        limit = limit_mib(name.partition("-")[0])
        rows.append(f"| {name} | {kib / 1024:.1f} | {limit} |")
        if kib > 1024 * limit:
            wrong.append(f"{name} held {kib / 1024:.1f} MiB of {limit}")
    return rows, wrong


def limit_mib(kind: str) -> int:
    """What deploy/ gives a kind of daemon: the least of its ways."""
    documents = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / LIMITS[kind]).read_text())
    containers = [
        container
        for document in documents
        if document and document["kind"] in {"Deployment", "StatefulSet"}
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    limit = next(container["resources"]["limits"]["memory"] for container in containers if container["name"] == kind)
    number, unit = int(limit[:-2]), limit[-2:]
    return number * {"Mi": 1, "Gi": 1024}[unit]
