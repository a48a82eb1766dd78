"""The daemon `consume`: builds its parts, runs, drains and closes them."""

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

from zenoti_ingest.adapters.admin_http import Check
from zenoti_ingest.adapters.broker import Link, state_stream
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.broker.batons import BatonQueues
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.adapters.invoice_api import new_session
from zenoti_ingest.app.broker import (
    ENSURE_SECONDS,
    broker_link,
    downstreams_of,
    full_topology,
    names_of,
    size_budget,
    topology_watch,
)
from zenoti_ingest.app.reporting import check_link, check_topology, exposed_metrics, tracing
from zenoti_ingest.app.sources import invoice_api, require_sources
from zenoti_ingest.core.delivery.receivers import Receivers
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.failures.errors import TopologyMismatch, WrongSettings
from zenoti_ingest.core.failures.policy import Ladder
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.quota import Quota
from zenoti_ingest.core.operating.clock_differences import DIFFER_SECONDS
from zenoti_ingest.core.topology.declared import Topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.daemon import Daemon, Readiness, kept_up
from zenoti_ingest.settings import Settings, SourceSettings, enrich_window
from zenoti_ingest.stages.clock_watch import ClockWatch
from zenoti_ingest.stages.consuming import Stage, consume
from zenoti_ingest.stages.enrich import Lane, Plan
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.invoice_calls import InvoiceCalls
from zenoti_ingest.stages.ports import Batons, Clock, States, Traces
from zenoti_ingest.stages.queue_watch import Depths, QueueWatch
from zenoti_ingest.stages.traced import traced
from zenoti_ingest.stages.translate import Translate
from zenoti_ingest.stages.waiting import MAX_BYTES as WAITING_MAX_BYTES
from zenoti_ingest.stages.waiting import WaitQueue
from zenoti_ingest.telemetry import log
from zenoti_schemas.state import DaemonState, ReceiverState, SourceState

_STAGES = {
    "all": frozenset({"translate", "enrich"}),
    "translate": frozenset({"translate"}),
    "enrich": frozenset({"enrich"}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command `consume`."""
    parser.set_defaults(daemon=True, drains=True)
    parser.add_argument("--stage", choices=sorted(_STAGES), default="all")


async def run(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    """Run the command `consume`."""
    await run_consume(settings, stop, stages=_STAGES[arguments.stage])
    return 0


async def run_consume(settings: Settings, stop: asyncio.Event, *, stages: frozenset[str]) -> None:
    """Run the consumers until stop is set; then begin nothing new, and finish or hand back what is in hand.

    Raises:
        TopologyMismatch: the broker has a queue or exchange that differs from its declaration.
    """
    async with tracing("consume") as traces:
        await _run_consume(settings, stop, stages=stages, traces=traces)


async def _run_consume(settings: Settings, stop: asyncio.Event, *, stages: frozenset[str], traces: Traces) -> None:
    require_sources(settings)
    names, topology = names_of(settings), full_topology(settings)
    budget = size_budget(settings)
    publisher = broker_link(settings, name="publish", topology=topology, refuse_mismatch=True, budget=budget)
    consumer = broker_link(settings, name="consume", budget=budget)
    async with new_session(*(source.base_url for source in settings.sources.values())) as session:
        clock = HOST.clock
        to, turn = traced(publisher, traces), _rotated(settings)
        fan_out = FanOut(
            to, names=names, patterns={d.name: d.binding_keys for d in downstreams_of(settings)}, clock=clock
        )
        states = state_stream.StateStream(publisher, exchange=names.state)
        batons = BatonQueues(publisher, consumer, names=names)
        lanes = {
            n: _lane(settings, n, s, fan_out, session, budget=budget, states=states, batons=batons, traces=traces)
            for n, s in turn
            if "enrich" in stages
        }
        translates = {
            n: _translate(settings, n, s, fan_out, budget=budget, traces=traces)
            for n, s in turn
            if "translate" in stages
        }
        waiting = {
            name: WaitQueue(to, names=names, receiver=name, max_bytes=WAITING_MAX_BYTES // len(settings.downstream))
            for name in settings.downstream
        }
        working: list[Stage] = [*lanes.values(), *translates.values(), *waiting.values()]

        watch = topology_watch(settings, publisher, topology, note_absent=fan_out.note_absent)
        clocks = ClockWatch({name: lane.clock for name, lane in lanes.items()}, clock)

        def checks() -> dict[str, Check]:
            return {
                "publisher": check_link(publisher),
                "consumer": check_link(consumer),
                "topology": check_topology(watch),
                **{f"circuit {name}": _check_circuit(lane) for name, lane in lanes.items()},
                **{f"{stage.name} {stage.queue}": _check_stage(stage) for stage in working},
            }

        def sources() -> dict[str, SourceState]:
            return {name: lane_state(lane, clock) for name, lane in lanes.items()}

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
            receivers=lambda: receiver_states(fan_out.receivers, waiting),
            stranger_refuses=lambda: fan_out.receivers.a_stranger_refuses,
            clocks=lambda: clocks.differing,
        )

        def heard(said: DaemonState, is_live: bool) -> None:  # noqa: FBT001  # a listener is called so
            clocks.heard(said, is_live)
            for name in lanes.keys() & said.sources.keys() if is_live else ():
                lanes[name].heard(said.sources[name])

        roles = queue_roles(names, topology)
        queues = QueueWatch(queue_depths(consumer, roles), roles=roles, lanes=list(lanes.values()), clock=clock)
        lasting = {
            "publisher": publisher.run,
            "consumer": consumer.run,
            "state_stream": lambda: states.run(daemon.describe, confirmed=clocks.confirmed),
            "states_heard": lambda: states.listen(consumer, stream=names.state, heard=heard),
            "topology_watch": watch.run,
            "queue_watch": queues.run,
            "clock_watch": clocks.run,
            "fan_out_watch": lambda: fan_out.watch(consumer.ready),
        }
        refusals = (TopologyMismatch, WrongSettings)
        endless = [kept_up(work, name=name, ended_by=refusals) for name, work in lasting.items()]
        async with daemon.running(*endless) as group:
            working_on = partial(
                consume, link=consumer, publisher=publisher, stop=stop, clock=clock, hold_seconds=at.hold_seconds
            )
            tasks = [group.create_task(working_on(stage)) for stage in working]
            await stop.wait()
            daemon.stopping()
            _, late = await asyncio.wait(tasks, timeout=at.drain_seconds)
            for task in late:  # closing the connections hands back what they hold
                task.cancel()
            if late:
                log.warning("drain_cut_short", stages=len(late))


def queue_depths(link: Link, queues: Collection[str]) -> Callable[[], Awaitable[Depths]]:
    """Return a function that asks the broker for depth and consumers of each queue; a refused queue is asked once."""
    refused: set[str] = set()

    async def look() -> Depths:
        wanted = [queue for queue in queues if queue not in refused]
        return await link.use(partial(broker_topology.depths, queues=wanted, refused=refused), within=ENSURE_SECONDS)

    return look


def queue_roles(names: Names, topology: Topology) -> dict[str, str]:
    """Return the role of each queue, except streams and batons; a queue with a foreign name is a receiver's."""
    roles = {queue.name: names.role(queue.name) or "out" for queue in topology.queues}
    return {name: what for name, what in roles.items() if what not in ("archive", "state", "turn")}


def _check_circuit(lane: Lane) -> Check:
    """An open circuit does not make the process unready: its events are safe, and a restart would not help."""
    return Check(ok=True, state=_circuit(lane), detail=lane.calls.last_failure)


def _check_stage(stage: Stage) -> Check:
    if not stage.defects.are_too_many:
        return Check(ok=True, state=stage.doing)
    detail = (
        f"stopped after {stage.defects.in_a_row} defects in a row: see `dead list --reason defect`; then restart it"
    )
    return Check(ok=False, state="stopped", detail=detail)


def _rotated(settings: Settings) -> list[tuple[str, SourceSettings]]:
    """Return the sources, rotated by the process id, so that lanes get active consumers in different processes."""
    items = list(settings.sources.items())
    turn = os.getpid() % len(items)
    return items[turn:] + items[:turn]


def _seen(settings: Settings) -> DuplicateFilter:
    at = settings.consumer
    return DuplicateFilter(window_seconds=at.duplicate_window_seconds, max_keys=at.duplicate_window_max)


def receiver_states(receivers: Receivers, waiting: Mapping[str, WaitQueue]) -> dict[str, ReceiverState]:
    """Return the receivers that do not take their events. A receiver whose wait queue is empty may take the next."""
    found: dict[str, ReceiverState] = {}
    for name, stage in waiting.items():
        refusal, gone = receivers.refusals.get(name), receivers.gone.get(name)
        refuses = refusal is not None and refusal.has_waiting
        if refuses or gone or stage.in_hand:
            found[name] = ReceiverState(
                refusing_since=refusal.since if refusal and refuses else None,
                detail=refusal.detail if refusal and refuses else "",
                in_hand=len(stage.in_hand),
                gone_since=gone.since if gone else None,
                back_at=gone.back_at if gone else None,
            )
    return found


def _translate(
    settings: Settings, name: str, source: SourceSettings, fan_out: FanOut, *, budget: SizeBudget, traces: Traces
) -> Translate:
    return Translate(
        fan_out.publisher,
        fan_out,
        names=names_of(settings),
        source=name,
        prefetch=settings.consumer.translate_prefetch,
        max_bytes=settings.consumer.translate_max_bytes // len(settings.sources),
        enrich=source.enrich,
        seen=_seen(settings),
        runtime=HOST,
        budget=budget,
        archived=settings.archive.enabled,
        traces=traces,
    )


def _lane(
    settings: Settings,
    name: str,
    source: SourceSettings,
    fan_out: FanOut,
    session: Any,
    *,
    budget: SizeBudget,
    states: States,
    batons: Batons,
    traces: Traces,
) -> Lane:
    return Lane(
        fan_out.publisher,
        fan_out,
        InvoiceCalls(
            invoice_api(session, name, source),
            source=name,
            expand=source.expand,
            quota=Quota(calls_per_minute=source.calls_per_minute, now=HOST.clock.monotonic()),
            lease=Lease(settings.consumer.lease_seconds),
            runtime=HOST,
            base_url=source.base_url,
            traces=traces,
        ),
        names=names_of(settings),
        source=name,
        prefetch=enrich_window(settings, source),
        max_bytes=settings.consumer.enrich_max_bytes // len(settings.sources),
        plan=Plan(
            max_in_flight=source.max_in_flight,
            deliver_failures=source.on_enrich_failure == "deliver",
            ladder=Ladder(settings.retry.delays_seconds, settings.retry.max_attempts),
        ),
        seen=_seen(settings),
        runtime=HOST,
        states=states,
        batons=batons,
        budget=budget,
        archived=settings.archive.enabled,
        traces=traces,
    )


def _circuit(lane: Lane) -> str:
    return "open" if lane.circuit.is_open else "closed"


def lane_state(lane: Lane, clock: Clock) -> SourceState:
    """Return a lane's part of the state of its process."""
    ahead = round(lane.clock.seconds_ahead(clock.unix_microseconds()), 1)
    return SourceState(
        events_held=len(lane.window),
        invoices_waiting=lane.window.key_count,
        calls_in_flight=lane.window.in_flight,
        calls_saved=round(lane.quota.tokens(clock.monotonic()), 1),
        circuit=_circuit(lane),
        failures=lane.circuit.failures,
        last_failure=lane.calls.last_failure,
        fetched_at_most=lane.clock.claim(),
        fetched_ahead_seconds=ahead if ahead > DIFFER_SECONDS else None,
    )
