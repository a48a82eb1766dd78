"""The daemon `intake`: builds its parts, runs, drains and closes them."""

import argparse
import asyncio
import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
from aio_pika.abc import AbstractConnection

from zenoti_ingest.adapters.admin_http import Check
from zenoti_ingest.adapters.broker import Link, Prepare, state_stream
from zenoti_ingest.adapters.broker.deletion_witness import Witnesses
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.adapters.http_door import HttpDoor, Limits
from zenoti_ingest.adapters.owners import Owners
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.adapters.systemd import given_sockets
from zenoti_ingest.app.broker import broker_link, door_topology, ensure, names_of, topology_watch
from zenoti_ingest.app.reporting import check_link, check_topology, exposed_metrics, tracing
from zenoti_ingest.app.sources import require_sources, secret_of
from zenoti_ingest.core.failures.errors import BrokerUnavailable, WrongSettings
from zenoti_ingest.core.intake.admission import Rule
from zenoti_ingest.core.intake.detour import Detour
from zenoti_ingest.core.intake.spool_record import is_note_of
from zenoti_ingest.daemon import Daemon, Readiness, kept_up
from zenoti_ingest.settings import Settings, SourceSettings
from zenoti_ingest.stages.intake import DoorSource, Intake
from zenoti_ingest.stages.ports import Traces
from zenoti_ingest.stages.source_watch import SourceWatch
from zenoti_ingest.stages.spool_drain import SpoolDrain
from zenoti_ingest.stages.too_large import TooLargeEvents
from zenoti_ingest.stages.topology_watch import Nobody, TopologyObserver
from zenoti_ingest.stages.traced import traced
from zenoti_ingest.telemetry import log
from zenoti_schemas.state import SourceState, SpoolState

CLOSE_SECONDS = 3.0  # what may remain after the drain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command `intake` has no arguments."""
    parser.set_defaults(daemon=True, drains=True)


async def run(settings: Settings, _: argparse.Namespace, stop: asyncio.Event) -> int:
    """Run the command `intake`."""
    await run_intake(settings, stop)
    return 0


async def run_intake(settings: Settings, stop: asyncio.Event) -> None:
    """Run the HTTP door until stop is set; then be unready, take no connections, finish the requests in hand, close."""
    async with tracing("intake") as traces:
        await _run_intake(settings, stop, traces)


async def _run_intake(settings: Settings, stop: asyncio.Event, traces: Traces) -> None:
    require_sources(settings)
    doors = {name: _door_source(name, source) for name, source in settings.sources.items()}
    names, at = names_of(settings), settings.intake
    spool = Spool(Path(at.spool_dir), max_bytes=at.spool_max_bytes)
    owners = Owners(Path(at.spool_dir))
    connect = partial(broker_link, settings, name="intake", stays_up=True)
    connection = DoorConnection(settings, owners=owners, connect=connect)
    link, watch = connection.link, connection.watch
    intake = Intake(
        traced(link, traces),
        spool,
        names=names,
        sources=doors,
        confirm_seconds=at.confirm_seconds,
        unavailable_reason=connection.unavailable_reason,
        runtime=HOST,
        traces=traces,
    )
    connection.concerns(intake)
    host = socket.gethostname()
    too_large = TooLargeEvents(
        traced(link, traces),
        spool,
        names=names,
        host=host,
        unavailable_reason=connection.unavailable_reason,
        clock=HOST.clock,
    )
    drain = SpoolDrain(
        intake, spool, too_large=too_large, unavailable_reason=connection.unavailable_reason, clock=HOST.clock
    )
    watches = {name: SourceWatch(name, HOST.clock) for name in settings.sources}
    door = HttpDoor(
        intake.receive,
        sources=frozenset(settings.sources),
        limits=door_limits(settings),
        answered=lambda source, status: watches[source].answered(status),
    )

    def checks() -> dict[str, Check]:
        return {
            "broker": _check_door_link(link, intake.detours),
            "topology": check_topology(watch),
            "spool": _check_spool(spool, settings.sources),
        }

    def sources() -> dict[str, SourceState]:
        return {name: door_state(watch, intake.last_event_at.get(name)) for name, watch in watches.items()}

    metrics = exposed_metrics(
        settings, "intake", stages=("intake",), connections=("intake",), exchanges=(names.intake, names.work)
    )
    daemon = Daemon(
        "intake",
        host=at.admin_host,
        port=at.admin_port,
        ready=Readiness(stop=stop, checks=checks, spools=True),
        sources=sources,
        metrics=metrics,
        spool=lambda: _spool_state(spool),
    )
    states = state_stream.StateStream(link, exchange=names.state)
    lasting = {
        "link": link.run,
        "topology_watch": watch.run,
        "state_stream": lambda: states.run(daemon.describe),
        "spool_drain": drain.run,
    }
    endless = [kept_up(work, name=name) for name, work in lasting.items()]
    async with daemon.running(*endless, spool.run()):
        port = await door.listen(
            host=at.host,
            port=at.port,
            drain_seconds=at.drain_seconds / 2,
            reuse_port=at.reuse_port,
            sockets=given_sockets(os.environ),
        )
        log.info("door_listening", host=at.host, port=port, sources=sorted(settings.sources))
        await stop.wait()
        daemon.stopping()
        await door.close()
        await connection.close()


def door_limits(settings: Settings) -> Limits:
    """Return the limits of what a sender may use of the door."""
    return msgspec.convert(settings.intake, Limits, from_attributes=True)


class Connects(Protocol):
    """Makes the door's connection."""

    def __call__(self, *, prepare: Prepare) -> Link:
        """Return a connection that is ready once `prepare` has run on it."""


class NamesOwners(Protocol):
    """As `adapters.owners.Owners`."""

    own: str

    def ended(self) -> list[str]: ...  # noqa: D102  # as Owners says

    def forget(self, name: str) -> None: ...  # noqa: D102  # as Owners says

    def release(self) -> None: ...  # noqa: D102  # as Owners says


class DoorConnection:
    """The door's connection, and whether the topology is whole, and has been since the last check.

    Args:
        settings: of the installation.
        owners: of the witnesses.
        connect: makes the connection.
    """

    def __init__(self, settings: Settings, *, owners: NamesOwners, connect: Connects) -> None:
        names = names_of(settings)
        raw = [names.raw(source) for source in settings.sources] if settings.broker.declare else []
        self._settings = settings
        self._topology = door_topology(settings)
        self._owners = owners
        self._witnesses = Witnesses(raw, owner=lambda: self._owners.own)
        self._looked: TopologyObserver = Nobody()
        self.link = connect(prepare=self._prepare)
        self.watch = topology_watch(settings, self.link, self._topology, witnesses=self._witnesses)

    def concerns(self, looked: TopologyObserver) -> None:
        """Call this observer around each check."""
        self._looked = self.watch.looked = looked

    def unavailable_reason(self) -> str:
        """Return why nothing can be published now; empty: it can."""
        if not self.link.state.ready:
            return self.link.state.detail or "not connected"
        return self.watch.detail

    async def close(self) -> None:
        """Remove the witness queues of this process."""
        with suppress(BrokerUnavailable):
            await self.link.use(self._witnesses.remove, within=CLOSE_SECONDS)
            self._owners.forget(self._owners.own)
        self._owners.release()

    async def _prepare(self, connection: AbstractConnection) -> None:
        declared = await ensure(self._settings, connection, self._topology)
        for owner in self._owners.ended():
            await self._witnesses.clear(connection, owner)
            self._owners.forget(owner)
        deleted = await self._witnesses.set_up(connection)
        if deleted or declared.new_queues:
            await self._looked.was_missing()


def _check_door_link(link: Link, detours: Mapping[str, Detour]) -> Check:
    """Missing confirms show a hanging broker long before the connection is lost."""
    check, unconfirmed = check_link(link), sorted(name for name, detour in detours.items() if detour.is_on)
    if not check.ok or not unconfirmed:
        return check
    return Check(ok=False, state="not confirming", detail=f"events go to the spool: {', '.join(unconfirmed)}")


def _check_spool(spool: Spool, sources: Collection[str]) -> Check:
    at = spool.state
    waiting = f"{at.events} events, {at.bytes} of {at.max_bytes} bytes"
    if at.oldest_seconds is not None:
        waiting += f", the oldest {at.oldest_seconds:g} s old"
    if strangers := ", ".join(sorted(s for s in at.by_source.keys() - sources if not is_note_of(s, sources))):
        waiting += f"; no such source is configured: {strangers}; its events go out once it is again"
    return Check(ok=not at.detail, detail="; ".join(filter(None, (at.detail, at.trouble, waiting))))


def _spool_state(spool: Spool) -> SpoolState:
    at = spool.state
    return SpoolState(
        events=at.events,
        bytes=at.bytes,
        max_bytes=at.max_bytes,
        oldest_seconds=at.oldest_seconds,
        detail="; ".join(filter(None, (at.detail, at.trouble))),
    )


def _door_source(name: str, source: SourceSettings) -> DoorSource:
    if not source.webhook_secret and not source.webhook_token:
        if not source.insecure:
            raise WrongSettings(
                f"sources.{name} has neither webhook_secret nor webhook_token: set one, or insecure = true"
            )
        log.warning("source_insecure", source=name)
    secret = secret_of(f"sources.{name}.webhook_secret", source.webhook_secret)
    token = secret_of(f"sources.{name}.webhook_token", source.webhook_token)
    observe = source.verify == "observe"
    return DoorSource(
        signature_header=source.signature_header,
        rule=lambda: Rule(secrets=secret.values(), tokens=token.values(), observe=observe),
    )


def door_state(watch: SourceWatch, last_event_at: str | None) -> SourceState:
    """Return a source's part of the state of the door's process."""
    gap = watch.silence.usual_gap_seconds
    return SourceState(
        last_event_at=last_event_at,
        usual_gap_seconds=None if gap is None else round(gap, 3),
        streak=watch.streak.failures,
        refused=watch.streak.refused,
    )
