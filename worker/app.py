"""Composition root: open, verify, one TaskGroup, drain, close. Alone knows settings, stages and adapters together."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aio_pika.abc import AbstractConnection
from prometheus_client import CollectorRegistry

from schemas.state import SourceState, SpoolState
from worker import __version__
from worker.adapters import broker_topology, state
from worker.adapters.admin_http import Check
from worker.adapters.broker import Link, Prepare
from worker.adapters.http_door import HttpDoor, Limits
from worker.adapters.invoice_api import InvoiceApi, new_session
from worker.adapters.secrets import Secret
from worker.adapters.spool import Spool
from worker.adapters.systemd import given_sockets
from worker.adapters.traces import open_traces
from worker.adapters.witness import Witnesses
from worker.core.detour import Detour
from worker.core.differences import role
from worker.core.door import Rule
from worker.core.duplicates import Seen
from worker.core.errors import BrokerUnavailable, WrongSettings
from worker.core.quota import Quota
from worker.core.settle import Ladder
from worker.core.topology import Archive, Downstream, Names, Topology, intake_topology, whole_topology
from worker.daemon import Daemon, Readiness, instance
from worker.settings import SecretSpec, Settings, Source, broker_urls, enrich_window
from worker.stages.consuming import Stage, consume
from worker.stages.enrich import Lane, Plan
from worker.stages.intake import DoorSource, Intake
from worker.stages.invoice_calls import InvoiceCalls
from worker.stages.ports import Publishes, Traces
from worker.stages.queue_watch import Depths, QueueWatch
from worker.stages.source_watch import SourceWatch
from worker.stages.spool_drain import SpoolDrain
from worker.stages.topology_watch import Looked, Nobody, TopologyWatch
from worker.stages.traced import traced
from worker.stages.translate import Translate
from worker.telemetry import log
from worker.telemetry.metrics import exposed

ENSURE_SECONDS = 30.0
CLOSE_SECONDS = 3.0  # what may remain after the drain


def names_of(settings: Settings) -> Names:
    """The names beneath the configured prefix."""
    return Names(settings.broker.prefix)


def door_topology(settings: Settings) -> Topology:
    """What the intake needs on the broker."""
    return intake_topology(names_of(settings), sources=tuple(settings.sources), archive=_archive(settings))


def full_topology(settings: Settings) -> Topology:
    """Everything on the broker."""
    return whole_topology(
        names_of(settings),
        sources=tuple(settings.sources),
        downstreams=downstreams_of(settings),
        delays_seconds=settings.retry.delays_seconds,
        archive=_archive(settings),
    )


def downstreams_of(settings: Settings) -> tuple[Downstream, ...]:
    """The receivers."""
    return tuple(
        Downstream(
            queue=d.queue or f"{settings.broker.prefix}.out.{name}",
            declare=d.declare,
            events=d.events,
            sources=d.sources,
            max_bytes=d.max_bytes,
        )
        for name, d in settings.downstream.items()
    )


def broker_link(
    settings: Settings,
    *,
    name: str,
    topology: Topology | None = None,
    prepare: Prepare | None = None,
    refuse_mismatch: bool = False,
) -> Link:
    """A connection that is ready once it is prepared; where a topology is given, once the broker has that."""
    secret = secret_of("broker.url", settings.broker.url)

    async def ensured(connection: AbstractConnection) -> None:
        if topology is not None:
            await ensure(settings, connection, topology)

    return Link(
        lambda: [url for text in secret.texts() for url in broker_urls(text)],
        name=f"zenoti-ingest {name} {instance()}",
        role=name,
        prepare=prepare or ensured,
        refuse_mismatch=refuse_mismatch,
    )


async def ensure(settings: Settings, connection: AbstractConnection, topology: Topology) -> int:
    """Declare what is missing, and return how many queues that were; or, where the daemons may not, verify.

    Raises:
        TopologyMismatch: it cannot be as declared.
    """
    if not settings.broker.declare:
        await broker_topology.verify(connection, topology)
        return 0
    new = await broker_topology.declare(connection, topology)
    if new:
        log.info("topology_declared", queues=new)
    return new


def topology_watch(
    settings: Settings, link: Link, topology: Topology, *, witnesses: Witnesses | None = None
) -> TopologyWatch:
    """An eye on the topology, by a connection; with witnesses also on what was missing in the meantime."""
    seen, may_declare = witnesses or Witnesses((), owner=str), settings.broker.declare

    async def missing() -> list[str]:
        found: list[str] = []

        async def ask(connection: AbstractConnection) -> None:
            look = partial(broker_topology.compare, passive=True) if may_declare else broker_topology.missing_ends
            found.extend(d.name for d in await look(connection, topology))
            found.extend(queue for queue in await seen.deleted(connection) if queue not in found)

        await link.use(ask, within=ENSURE_SECONDS)
        return found

    async def put_right() -> None:
        async def mend(connection: AbstractConnection) -> None:
            if may_declare:
                await ensure(settings, connection, topology)
            else:
                await broker_topology.still_there(connection, topology)
            await seen.set_up(connection)

        await link.use(mend, within=ENSURE_SECONDS)

    return TopologyWatch(missing=missing, ensure=put_right)


def secret_of(key: str, spec: SecretSpec) -> Secret:
    """A secret from where the settings say."""
    return Secret(key=key, given=spec.given, file=spec.file)


def invoice_api(session: Any, name: str, source: Source) -> InvoiceApi:
    """The API of one source.

    Raises:
        WrongSettings: the source has no key.
    """
    if not source.api_key:
        raise WrongSettings(f"sources.{name}.api_key is missing: enriching wants it (or `consume --stage translate`)")
    key = secret_of(f"sources.{name}.api_key", source.api_key)
    return InvoiceApi(
        session,
        base_url=source.base_url,
        api_key=lambda: key.texts()[0],
        call_seconds=source.call_seconds,
        application_version=__version__,
    )


@asynccontextmanager
async def tracing(role: str) -> AsyncIterator[Traces]:
    """Where spans go while the body runs, by OpenTelemetry's own environment variables; exported at its end."""
    traces = open_traces(os.environ, service=f"zenoti-ingest-{role}", version=__version__)
    try:
        yield traces
    finally:
        await traces.close()


async def run_intake(settings: Settings, stop: asyncio.Event) -> None:
    """The HTTP door, until stop is set; then unready, no new connections, requests in hand finished, closed."""
    async with tracing("intake") as traces:
        await _run_intake(settings, stop, traces)


async def _run_intake(settings: Settings, stop: asyncio.Event, traces: Traces) -> None:
    require_sources(settings)
    doors = {name: _door_source(name, source) for name, source in settings.sources.items()}
    names, at = names_of(settings), settings.intake
    spool = Spool(Path(at.spool_dir), max_bytes=at.spool_max_bytes)
    eye = _DoorsEye(settings, admin_port=lambda: daemon.port)
    link, watch = eye.link, eye.watch
    intake = Intake(
        traced(link, traces),
        spool,
        names=names,
        sources=doors,
        confirm_seconds=at.confirm_seconds,
        against=eye.against,
        traces=traces,
    )
    eye.concerns(intake)
    drain = SpoolDrain(intake, spool, against=eye.against)
    watches = {name: SourceWatch(name) for name in settings.sources}
    door = HttpDoor(
        intake.receive,
        sources=frozenset(settings.sources),
        limits=door_limits(settings),
        answered=lambda source, status: watches[source].answered(status),
    )

    def checks() -> dict[str, Check]:
        return {
            "broker": _check_door_link(link, intake.detours),
            "topology": _check_topology(watch),
            "spool": _check_spool(spool, settings.sources),
        }

    def sources() -> dict[str, SourceState]:
        return {name: _door_state(watch, intake.last_event_at.get(name)) for name, watch in watches.items()}

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
    telling = state.tell(link, exchange=names.state, describe=daemon.describe)
    async with daemon.running(link.run(), watch.run(), telling, spool.run(), drain.run()):
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
        await eye.close()


def door_limits(settings: Settings) -> Limits:
    """How much of the door a stranger may use."""
    return msgspec.convert(settings.intake, Limits, from_attributes=True)


class _DoorsEye:
    """The door's connection, and what it sees: whether the topology is whole, and has been since the last look."""

    def __init__(self, settings: Settings, *, admin_port: Callable[[], int]) -> None:
        names = names_of(settings)
        raw = [names.raw(source) for source in settings.sources] if settings.broker.declare else []
        self._settings = settings
        self._topology = door_topology(settings)
        # Doors that share a port have each an admin port of its own, and one of a bounded number.
        at = f"{socket.gethostname()[:60]}.{settings.intake.port}"
        self._witnesses = Witnesses(raw, owner=lambda: f"{at}.{admin_port()}")
        self._looked: Looked = Nobody()
        self.link = broker_link(settings, name="intake", prepare=self._prepare)
        self.watch = topology_watch(settings, self.link, self._topology, witnesses=self._witnesses)

    def concerns(self, looked: Looked) -> None:
        """Tell this one."""
        self._looked = self.watch.looked = looked

    def against(self) -> str:
        """What is known to stand against publishing; empty: nothing."""
        if not self.link.state.ready:
            return self.link.state.detail or "not connected"
        return self.watch.detail

    async def close(self) -> None:
        """Leave nothing behind."""
        with suppress(BrokerUnavailable):
            await self.link.use(self._witnesses.remove, within=CLOSE_SECONDS)

    async def _prepare(self, connection: AbstractConnection) -> None:
        deleted = await self._witnesses.deleted(connection)
        new = await ensure(self._settings, connection, self._topology)
        await self._witnesses.set_up(connection)
        if deleted or new:
            await self._looked.was_missing()


async def run_consume(settings: Settings, stop: asyncio.Event, *, stages: frozenset[str]) -> None:
    """The consumers, until stop is set; then nothing new is begun, what is in hand is finished or handed back.

    Raises:
        TopologyMismatch: the broker has something that is not as declared.
    """
    async with tracing("consume") as traces:
        await _run_consume(settings, stop, stages=stages, traces=traces)


async def _run_consume(settings: Settings, stop: asyncio.Event, *, stages: frozenset[str], traces: Traces) -> None:
    require_sources(settings)
    names, topology = names_of(settings), full_topology(settings)
    publisher = broker_link(settings, name="publish", topology=topology, refuse_mismatch=True)
    consumer = broker_link(settings, name="consume")
    async with new_session(*(source.base_url for source in settings.sources.values())) as session:
        to, turn = traced(publisher, traces), _rotated(settings)
        lanes = {n: _lane(settings, n, s, to, session, traces=traces) for n, s in turn if "enrich" in stages}
        translates = {n: _translate(settings, n, s, to, traces) for n, s in turn if "translate" in stages}
        working: list[Stage] = [*lanes.values(), *translates.values()]

        watch = topology_watch(settings, publisher, topology)

        def checks() -> dict[str, Check]:
            return {
                "publisher": _check_link(publisher),
                "consumer": _check_link(consumer),
                "topology": _check_topology(watch),
                **{f"circuit {name}": Check(ok=True, state=_circuit(lane)) for name, lane in lanes.items()},
                **{f"{stage.name} {stage.queue}": _check_stage(stage) for stage in working},
            }

        def sources() -> dict[str, SourceState]:
            return {name: _lane_state(lane) for name, lane in lanes.items()}

        at = settings.consumer
        metrics = exposed_metrics(
            settings,
            "consume",
            stages=sorted(stages),
            connections=("publish", "consume"),
            exchanges=[e.name for e in topology.exchanges if e.name not in (names.intake, names.unrouted, names.state)],
        )
        daemon = Daemon(
            "consume",
            host=at.admin_host,
            port=at.admin_port,
            ready=Readiness(stop=stop, checks=checks, spools=False),
            sources=sources,
            metrics=metrics,
        )
        telling = state.tell(publisher, exchange=names.state, describe=daemon.describe)
        roles = queue_roles(names, topology)
        queues = QueueWatch(queue_depths(consumer, roles), roles=roles, lanes=list(lanes.values()))
        endless = (publisher.run(), consumer.run(), watch.run(), telling, queues.run())
        async with daemon.running(*endless) as group:
            working_on = partial(consume, link=consumer, publisher=publisher, stop=stop, hold_seconds=at.hold_seconds)
            tasks = [group.create_task(working_on(stage)) for stage in working]
            await stop.wait()
            daemon.stopping()
            _, late = await asyncio.wait(tasks, timeout=at.drain_seconds)
            for task in late:  # the closing of the connections hands back what they hold
                task.cancel()
            if late:
                log.warning("drain_cut_short", stages=len(late))


def queue_depths(link: Link, queues: Collection[str]) -> Callable[[], Awaitable[Depths]]:
    """Asks the broker how much lies in each queue, and who reads it; what we may not look at is asked for once."""
    refused: set[str] = set()

    async def look() -> Depths:
        found: Depths = {}

        async def ask(connection: AbstractConnection) -> None:
            wanted = [queue for queue in queues if queue not in refused]
            found.update(await broker_topology.depths(connection, wanted, refused=refused))

        await link.use(ask, within=ENSURE_SECONDS)
        return found

    return look


def queue_roles(names: Names, topology: Topology) -> dict[str, str]:
    """What each queue is for; streams are no queues, and what bears another name than ours is a downstream's."""
    roles = {queue.name: role(queue.name, names) or "out" for queue in topology.queues}
    return {name: what for name, what in roles.items() if what not in ("archive", "state")}


def exposed_metrics(
    settings: Settings, daemon: str, *, stages: Sequence[str], connections: Sequence[str], exchanges: Sequence[str]
) -> CollectorRegistry:
    """A daemon's metrics, with the values of the labels that the configuration gives."""
    values = {"source": list(settings.sources), "stage": stages, "connection": connections, "exchange": exchanges}
    return exposed(daemon, version=__version__, values=values)


def require_sources(settings: Settings) -> None:
    """Refuse to start with nothing to do.

    Raises:
        WrongSettings: there is no source.
    """
    if not settings.sources:
        raise WrongSettings("no source is configured: set at least one key of [sources.<name>], such as webhook_secret")


def _archive(settings: Settings) -> Archive | None:
    kept = settings.archive
    return Archive(max_age=kept.max_age, max_bytes=kept.max_bytes) if kept.enabled else None


def _check_link(link: Link) -> Check:
    return Check(ok=link.state.ready, state="usable" if link.state.ready else "away", detail=link.state.detail)


def _check_topology(watch: TopologyWatch) -> Check:
    return Check(ok=not watch.detail, state="broken" if watch.detail else "whole", detail=watch.detail)


def _check_stage(stage: Stage) -> Check:
    if not stage.defects.are_too_many:
        return Check(ok=True, state=stage.doing)
    told = f"stopped after {stage.defects.in_a_row} defects in a row: see `dead list --reason defect`; then restart it"
    return Check(ok=False, state="stopped", detail=told)


def _check_door_link(link: Link, detours: Mapping[str, Detour]) -> Check:
    """A broker that hangs is seen by its confirms long before the connection is lost."""
    check, unconfirmed = _check_link(link), sorted(name for name, detour in detours.items() if detour.is_on)
    if not check.ok or not unconfirmed:
        return check
    return Check(ok=False, state="not confirming", detail=f"events go to the spool: {', '.join(unconfirmed)}")


def _check_spool(spool: Spool, sources: Collection[str]) -> Check:
    at = spool.state
    waiting = f"{at.events} events, {at.bytes} of {at.max_bytes} bytes"
    if at.oldest_seconds is not None:
        waiting += f", the oldest {at.oldest_seconds:g} s old"
    if strangers := ", ".join(sorted(at.by_source.keys() - sources)):
        waiting += f"; no such source is configured: {strangers}; its events go out once it is again"
    return Check(ok=not at.detail, detail="; ".join(filter(None, (at.detail, waiting))))


def _spool_state(spool: Spool) -> SpoolState:
    at = spool.state
    return SpoolState(
        events=at.events, bytes=at.bytes, max_bytes=at.max_bytes, oldest_seconds=at.oldest_seconds, detail=at.detail
    )


def _rotated(settings: Settings) -> list[tuple[str, Source]]:
    """The sources, from another one in each process: the first to subscribe becomes a lane's active consumer."""
    items = list(settings.sources.items())
    turn = os.getpid() % len(items)
    return items[turn:] + items[:turn]


def _door_source(name: str, source: Source) -> DoorSource:
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


def _seen(settings: Settings) -> Seen:
    at = settings.consumer
    return Seen(window_seconds=at.duplicate_window_seconds, max_keys=at.duplicate_window_max)


def _translate(settings: Settings, name: str, source: Source, publisher: Publishes, traces: Traces) -> Translate:
    return Translate(
        publisher,
        names=names_of(settings),
        source=name,
        prefetch=settings.consumer.translate_prefetch,
        wanted=tuple(key for d in downstreams_of(settings) for key in d.binding_keys),
        enrich=source.enrich,
        seen=_seen(settings),
        traces=traces,
    )


def _lane(settings: Settings, name: str, source: Source, publisher: Publishes, session: Any, *, traces: Traces) -> Lane:
    return Lane(
        publisher,
        InvoiceCalls(
            invoice_api(session, name, source),
            source=name,
            expand=source.expand,
            quota=Quota(calls_per_minute=source.calls_per_minute, now=time.monotonic()),
            base_url=source.base_url,
            traces=traces,
        ),
        names=names_of(settings),
        source=name,
        prefetch=enrich_window(settings, source),
        plan=Plan(
            max_in_flight=source.max_in_flight,
            deliver_failures=source.on_enrich_failure == "deliver",
            ladder=Ladder(settings.retry.delays_seconds, settings.retry.max_attempts),
        ),
        seen=_seen(settings),
        traces=traces,
    )


def _door_state(watch: SourceWatch, last_event_at: str | None) -> SourceState:
    gap = watch.silence.usual_gap_seconds
    return SourceState(
        last_event_at=last_event_at,
        usual_gap_seconds=None if gap is None else round(gap, 3),
        streak=watch.streak.failures,
        refused=watch.streak.refused,
    )


def _circuit(lane: Lane) -> str:
    return "open" if lane.circuit.is_open else "closed"


def _lane_state(lane: Lane) -> SourceState:
    return SourceState(
        events_held=len(lane.window),
        invoices_waiting=lane.window.invoices,
        calls_in_flight=lane.window.in_flight,
        calls_saved=round(lane.quota.tokens(time.monotonic()), 1),
        circuit=_circuit(lane),
        failures=lane.circuit.failures,
    )
