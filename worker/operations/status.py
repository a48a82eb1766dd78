"""`status`: depths, what the daemons say of themselves, the backlog as time, dead letters by reason."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from aio_pika.abc import AbstractConnection

from schemas.state import DaemonState, SourceState
from worker import __version__
from worker.adapters import state
from worker.adapters.broker import Link
from worker.adapters.broker_topology import depths
from worker.adapters.clock import utc_now
from worker.app import full_topology, names_of
from worker.operations.dead import Filter, by_reason, headers_of
from worker.operations.link import connected
from worker.operations.terminal import document, say, show, table
from worker.settings import Settings

WITHIN_SECONDS = 30.0


class Depth(msgspec.Struct, frozen=True):
    """A queue: messages ready, and who reads it; None where it is missing."""

    ready: int | None
    consumers: int | None


class Backlog(msgspec.Struct, frozen=True):
    """What waits for API calls, and how long that takes at the configured pace at most: a call an event."""

    events: int
    calls_per_minute: float
    minutes_at_most: float


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One source over all daemons."""

    seconds_since_last_event: float | None
    circuit: str | None
    calls_saved: float | None
    backlog: Backlog


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `status --json`. `spool` is null until the intake has one."""

    at: str
    version: str
    queues: dict[str, Depth]
    daemons: list[DaemonState]
    sources: dict[str, SourceStatus]
    dead_letters: dict[str, int]
    spool: None = None


async def status(settings: Settings, *, as_json: bool) -> int:
    """Look once and tell."""
    async with connected(settings, name="status") as link:
        found = await look(settings, link)
    if as_json:
        document(found)
    else:
        _tell(found)
    return 0


async def look(settings: Settings, link: Link) -> Status:
    """Everything that can be seen from the broker."""
    names = names_of(settings)
    counted: dict[str, tuple[int, int] | None] = {}

    async def count(connection: AbstractConnection) -> None:
        counted.update(await depths(connection, [queue.name for queue in full_topology(settings).queues]))

    await link.use(count, within=WITHIN_SECONDS)
    queues = {name: Depth(*(pair or (None, None))) for name, pair in counted.items()}
    daemons = await state.latest(link, stream=names.state) if counted.get(names.state) else []
    letters = await headers_of(link, names, Filter()) if counted.get(names.dead) else []
    return Status(
        at=utc_now(),
        version=__version__,
        queues=queues,
        daemons=daemons,
        sources={
            name: _source(name, daemons, (queues[names.lane(name)].ready or 0), source.calls_per_minute)
            for name, source in settings.sources.items()
        },
        dead_letters=dict(by_reason(letters)),
    )


def _source(name: str, daemons: list[DaemonState], lane_ready: int, calls_per_minute: float) -> SourceStatus:
    said = [daemon.sources[name] for daemon in daemons if name in daemon.sources]
    last = max((s.last_event_at for s in said if s.last_event_at), default=None)
    lanes = [s for s in said if s.circuit is not None]
    active: SourceState | None = max(lanes, key=lambda s: (s.circuit == "open", s.events_held), default=None)
    waiting = lane_ready + sum(s.events_held for s in lanes)
    return SourceStatus(
        seconds_since_last_event=_age(last) if last else None,
        circuit=active.circuit if active else None,
        calls_saved=active.calls_saved if active else None,
        backlog=Backlog(waiting, calls_per_minute, round(waiting / calls_per_minute, 1)),
    )


def _age(at: str) -> float:
    return round((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds(), 1)


def _tell(found: Status) -> None:
    show(
        table(
            ["queue", "ready", "consumers"], [(n, _or_missing(d.ready), d.consumers) for n, d in found.queues.items()]
        )
    )
    rows: list[tuple[Any, ...]] = [
        (d.daemon, d.instance, d.version, "ready" if d.ready else d.detail) for d in found.daemons
    ]
    show(table(["daemon", "instance", "version", "state"], rows))
    rows = [
        (n, s.circuit, s.calls_saved, s.backlog.events, s.backlog.minutes_at_most, s.seconds_since_last_event)
        for n, s in found.sources.items()
    ]
    show(table(["source", "circuit", "calls saved", "waiting", "minutes at most", "s since last event"], rows))
    total = sum(found.dead_letters.values())
    say(f"dead letters: {total} " + ", ".join(f"{reason} {n}" for reason, n in found.dead_letters.items()))


def _or_missing(ready: int | None) -> str | int:
    return "missing" if ready is None else ready
