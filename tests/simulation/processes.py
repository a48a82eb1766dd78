"""Hosts and their processes in a simulated world: the real stages on a simulated broker, API, clock and disk.

A process can be killed, frozen, cut off, isolated and restarted. Its host's clock and disk outlive it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from random import Random
from typing import Any, Protocol, cast

from multidict import CIMultiDict, CIMultiDictProxy

from tests.fakes import FakeIds
from tests.simulation.bodies import Door, Posted
from tests.simulation.broker import SimulatedBroker, SimulatedLink
from tests.simulation.disk import Disk
from tests.simulation.plot import Plot
from tests.simulation.traces import SimulatedTraces
from tests.simulation.virtual_time import SimulatedProcess
from tests.simulation.watches import SimulatedOwners, consumer_watch, door_connection, prepared_publisher, queue_watch
from tests.simulation.zenoti import ApiOfProcess, SimulatedZenoti
from zenoti_ingest.adapters.broker.batons import BatonQueues
from zenoti_ingest.adapters.broker.state_stream import StateStream
from zenoti_ingest.adapters.http_door import Arrival
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.adapters.spool.spool import COMMIT_SECONDS
from zenoti_ingest.app.consume import lane_state, receiver_states
from zenoti_ingest.app.intake import DoorConnection, door_state
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.failures.policy import Ladder
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.quota import Quota
from zenoti_ingest.core.operating.times import as_text
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.settings import Settings
from zenoti_ingest.simulator.webhooks import SIGNATURE_HEADER
from zenoti_ingest.stages.clock_watch import ClockWatch
from zenoti_ingest.stages.consuming import Stage, consume
from zenoti_ingest.stages.enrich import Lane, Plan
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.intake import DoorSource, Intake
from zenoti_ingest.stages.invoice_calls import InvoiceCalls
from zenoti_ingest.stages.ports import Chance, Clock, Ids
from zenoti_ingest.stages.source_watch import SourceWatch
from zenoti_ingest.stages.spool_drain import SpoolDrain
from zenoti_ingest.stages.too_large import TooLargeEvents
from zenoti_ingest.stages.traced import traced
from zenoti_ingest.stages.translate import Translate
from zenoti_ingest.stages.waiting import WaitQueue
from zenoti_schemas.state import DaemonState, SpoolState

NAMES = Names("zi")
SOURCE = "main"
RECEIVERS = {"all": ("*.#",), "invoices": ("*.invoice.#",)}
DUPLICATE_SECONDS = 300.0
MOST_ATTEMPTS = 8
LEASE_SECONDS = 15.0
UNIX_MICROSECONDS = 1_935_853_690_000_000  # 2031-05-06
RESTART_SECONDS = 3.0
DRAIN_SECONDS = 25.0
NO_ANSWER = 0  # instead of a status
ANSWER_SECONDS = 10.0  # Zenoti waits so long
GIVES_UP_SECONDS = (20.0, 30.0)  # the broker gives up a client that is silent: two heartbeats and more


class HostClock:
    """The port `Clock`: virtual time, with a date of the host's own.

    Args:
        ahead_seconds: how far its date is ahead of the true one.
    """

    def __init__(self, ahead_seconds: float) -> None:
        self._ahead, self._rate, self._since = ahead_seconds, 0.0, 0.0

    def monotonic(self) -> float:
        """As the port says."""
        return asyncio.get_running_loop().time()

    def unix_microseconds(self) -> int:
        """As the port says."""
        now = self.monotonic()
        ahead = self._ahead + self._rate * (now - self._since)
        return UNIX_MICROSECONDS + round((now + ahead) * 1_000_000)

    def utc_now(self) -> str:
        """As the port says."""
        return as_text(self.unix_microseconds())

    def jump(self, seconds: float) -> None:
        """The date changes at once."""
        self._ahead += seconds

    def drift(self, rate: float) -> None:
        """From now on the date gains so many seconds each second."""
        now = self.monotonic()
        self._ahead += self._rate * (now - self._since)
        self._rate, self._since = rate, now


class SeededChance:
    """The port `Chance`, by the world's seed."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def below(self, count: int) -> int:
        """As the port says."""
        return self._random.randrange(count)


class HostRuntime:
    """The port `Runtime` of the processes of a host."""

    def __init__(self, clock: Clock, chance: Chance, ids: Ids) -> None:
        self.clock, self.chance, self.ids = clock, chance, ids


class Host:
    """What the processes of one machine share: clock and disk."""

    def __init__(self, ahead_seconds: float, random: Random, ids: FakeIds, disk: Disk) -> None:
        self.clock = HostClock(ahead_seconds)
        self.runtime = HostRuntime(self.clock, SeededChance(random), ids)
        self.owners: dict[str, SimulatedProcess] = {}
        self.disk = disk


class Surroundings(Protocol):
    """What a process needs of its world."""

    plot: Plot
    random: Random
    broker: SimulatedBroker
    zenoti: SimulatedZenoti
    door: Door
    settings: Settings
    ids: FakeIds

    def note(self, line: str, text: str) -> None:
        """Write a line of the trace."""


class WorldProcess:
    """A process of a host: it can be killed, and starts again.

    Attributes:
        version: grows with each upgrade.
        is_isolated: no request reaches it.
    """

    def __init__(self, world: Surroundings, host: Host, name: str) -> None:
        self.world, self.host, self.name = world, host, name
        self.version = 1
        self.is_isolated = False
        self.links: list[SimulatedLink] = []
        self.process = SimulatedProcess(self.name)
        self.budget = SizeBudget()
        self.start()

    def start(self) -> None:
        """Begin to work, in a new process."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Finish what is in hand, and begin nothing new."""
        raise NotImplementedError

    def link(self) -> SimulatedLink:
        """A new connection of this process."""
        link = SimulatedLink(self.world.broker, **self.of_link())
        self.links.append(link)
        return link

    def of_link(self) -> dict[str, Any]:
        """What a connection of this process is made of."""
        node = self.world.random.randrange(self.world.plot.nodes)
        return {"start": self.process.start, "budget": self.budget, "node": node, "name": self.name}

    @property
    def watches(self) -> bool:
        """Whether it watches topology and queues: each door, but one consumer, since that asks most questions."""
        return self.world.plot.is_watched and self.name in ("intake-0", "intake-1", "consume-0")

    def instance(self) -> str:
        """A name that no other process ever has."""
        return f"{self.name}-{self.world.ids.random()}"

    def cut(self, *, back_after: float = 1.0) -> None:
        """Lose the connections; our end hears of it some time later."""
        for link in self.links:
            link.cut(heard_after=self.world.random.uniform(0, GIVES_UP_SECONDS[0]), back_after=back_after)

    async def freeze(self, seconds: float) -> None:
        """As SIGSTOP and, later, SIGCONT do; the broker gives it up meanwhile, if it lasts."""
        frozen, gives_up = self.process, self.world.random.uniform(*GIVES_UP_SECONDS)
        frozen.freeze()
        await asyncio.sleep(min(seconds, gives_up))
        if seconds > gives_up and frozen is self.process:
            for link in self.links:
                link.cut()
        await asyncio.sleep(max(0.0, seconds - gives_up))
        frozen.thaw()

    async def kill_and_restart(self) -> None:
        """Kill -9, and a new process some seconds later."""
        if self.process.is_killed:
            return
        self.kill()
        await asyncio.sleep(RESTART_SECONDS)
        self.process = SimulatedProcess(self.name)
        self.budget = SizeBudget()
        self.start()

    async def restart(self) -> None:
        """Stop in order, and start again; what takes too long is killed."""
        if self.process.is_killed:
            return
        stopping = self.process
        draining = stopping.start(self.drain())
        await asyncio.wait([draining], timeout=DRAIN_SECONDS)
        if self.process is stopping:
            await self.kill_and_restart()

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.ended()
        for link in self.links:
            link.end()
        self.links.clear()

    def ended(self) -> None:
        """What the host's kernel does then."""


class IntakeProcess(WorldProcess):
    """An intake."""

    def __init__(self, world: Surroundings, host: Host, name: str) -> None:
        self.stage: Intake | None = None
        self.watch: SourceWatch | None = None
        self._is_stopping = False
        self._serving: set[asyncio.Task[None]] = set()
        self._spooling: list[asyncio.Task[None]] = []
        self.spool: Spool | None = None
        super().__init__(world, host, name)

    def start(self) -> None:
        """The real stage, and the drain of its spool."""
        runtime, traces = self.host.runtime, SimulatedTraces(len(self.name))
        self.spool = spool = self.host.disk.spool()
        self._is_stopping = False
        self._serving.clear()
        door = self._door_connection() if self.watches else None
        link = self.link() if door is None else cast("SimulatedLink", door.link)

        def unavailable_reason() -> str:
            if door is not None:
                return door.unavailable_reason()
            return "" if link.is_up else "not connected"

        self.stage = stage = Intake(
            traced(link, traces),
            spool,
            names=NAMES,
            sources={SOURCE: DoorSource(signature_header=SIGNATURE_HEADER, rule=self.world.door.rule)},
            confirm_seconds=5.0,
            unavailable_reason=unavailable_reason,
            runtime=runtime,
            traces=traces,
        )
        letters = TooLargeEvents(
            link, spool, names=NAMES, host="host", unavailable_reason=unavailable_reason, clock=runtime.clock
        )
        drain = SpoolDrain(stage, spool, too_large=letters, unavailable_reason=unavailable_reason, clock=runtime.clock)
        self.watch = SourceWatch(SOURCE, runtime.clock)
        self._spooling = [self.process.start(drain.run()), self.process.start(spool.run())]
        self.process.start(StateStream(link, exchange=NAMES.state).run(self._described(stage, self.watch, spool)))
        if door is not None:
            door.concerns(stage)
            self.process.start(door.watch.run())

    def _door_connection(self) -> DoorConnection:
        owners = SimulatedOwners(self.host.owners, self.process, own=self.world.ids.random())
        door = door_connection(self.world.settings, self.world.broker, owners=owners, **self.of_link())
        self.links.append(cast("SimulatedLink", door.link))
        return door

    def _described(self, stage: Intake, watch: SourceWatch, spool: Spool) -> Callable[[], DaemonState]:
        clock, instance = self.host.clock, self.instance()
        started_at = clock.utc_now()

        def describe() -> DaemonState:
            return DaemonState(
                daemon="intake",
                instance=instance,
                version=str(self.version),
                started_at=started_at,
                at=clock.utc_now(),
                ready=True,
                sources={SOURCE: door_state(watch, stage.last_event_at.get(SOURCE))},
                spool=SpoolState(events=spool.state.events, bytes=spool.state.bytes, max_bytes=spool.state.max_bytes),
            )

        return describe

    async def drain(self) -> None:
        """Take no more requests, finish those that are being served, and close the spool."""
        self._is_stopping = True
        if self._serving:
            await asyncio.wait(self._serving)
        for task in self._spooling:
            task.cancel()
        await asyncio.wait(self._spooling)

    def ended(self) -> None:
        """The spool's files and locks are free; what was drained and not yet forgotten comes once more."""
        for receipt_id in self.host.disk.receipts():
            self.world.broker.doubts[receipt_id] += 1
        if self.spool is not None:
            self.host.disk.killed(self.spool)

    async def post(self, arrival: Arrival) -> tuple[int, str]:
        """A webhook: the status, or NO_ANSWER within ten seconds; and the receipt, if it was accepted."""
        process, stage, watch = self.process, self.stage, self.watch
        if process.is_killed or self._is_stopping or self.is_isolated or stage is None or watch is None:
            return NO_ANSWER, ""
        answer: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        disk, doubts = self.host.disk, self.world.broker.doubts

        async def serve() -> None:
            began = self.host.clock.monotonic()
            given = await stage.receive(arrival)
            watch.answered(given.status)
            is_late = self.host.clock.monotonic() - began >= COMMIT_SECONDS  # the disk may have it, and the broker too
            if is_late or (given.kept == "spool" and disk.damages):  # what is saved from a file can have gone out
                doubts[given.receipt_id] += 1
            if not answer.done():
                answer.set_result((given.status, given.receipt_id or ""))

        await asyncio.sleep(0.01)
        serving = process.start(serve())
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            return NO_ANSWER, ""


class ConsumeProcess(WorldProcess):
    """Translate, the lane and the wait queues, as `app.consume` puts them together."""

    def __init__(self, world: Surroundings, host: Host, name: str) -> None:
        self.api: ApiOfProcess = world.zenoti.port(name)
        self.lane: Lane | None = None
        self._stop = asyncio.Event()
        self._consuming: list[asyncio.Task[Any]] = []
        super().__init__(world, host, name)

    def start(self) -> None:
        """The real stages, the stream of states, the watches."""
        runtime, plot, world = self.host.runtime, self.world.plot, self.world
        publisher, consumer, traces = self._publisher(), self.link(), SimulatedTraces(len(self.name))
        self._stop = asyncio.Event()
        to = traced(publisher, traces)
        fan_out = FanOut(to, names=NAMES, patterns=RECEIVERS, clock=runtime.clock)
        states = StateStream(publisher, exchange=NAMES.state)
        batons = BatonQueues(publisher, consumer, names=NAMES)
        self.lane = lane = self._lane(fan_out, states=states, batons=batons, traces=traces)
        translate = Translate(
            to,
            fan_out,
            names=NAMES,
            source=SOURCE,
            prefetch=100,
            max_bytes=plot.keeps_bytes,
            enrich=("#",),
            seen=DuplicateFilter(window_seconds=DUPLICATE_SECONDS, max_keys=10_000),
            runtime=runtime,
            budget=self.budget,
            traces=traces,
        )
        waiting = {name: WaitQueue(to, names=NAMES, receiver=name) for name in RECEIVERS}
        clocks = ClockWatch({SOURCE: lane.clock}, runtime.clock)

        def heard(said: DaemonState, is_live: bool) -> None:  # noqa: FBT001  # as a listener is called
            clocks.heard(said, is_live)
            if is_live and said.daemon == "consume" and SOURCE in said.sources:
                lane.heard(said.sources[SOURCE])

        stages: list[Stage] = [lane, translate, *waiting.values()]
        run = partial(
            consume,
            link=consumer,
            publisher=publisher,
            stop=self._stop,
            clock=runtime.clock,
            hold_seconds=plot.hold_seconds,
        )
        work: list[Coroutine[Any, Any, Any]] = [
            states.run(self._described(lane, fan_out, waiting, clocks), confirmed=clocks.confirmed),
            states.listen(consumer, stream=NAMES.state, heard=heard),
            fan_out.watch(consumer.ready),
            clocks.run(),
        ]
        if self.watches:
            work.append(consumer_watch(world.settings, publisher, fan_out).run())
            work.append(queue_watch(world.settings, consumer, [lane], runtime.clock).run())
        for each in work:
            self.process.start(each)
        self._consuming = [self.process.start(run(stage)) for stage in stages]

    def _publisher(self) -> SimulatedLink:
        if not self.watches:
            return self.link()
        publisher = prepared_publisher(self.world.settings, self.world.broker, **self.of_link())
        self.links.append(publisher)
        return publisher

    async def drain(self) -> None:
        """Begin nothing new, finish what is in hand, and hand the rest back."""
        self._stop.set()
        await asyncio.wait(self._consuming)

    def _described(
        self, lane: Lane, fan_out: FanOut, waiting: Mapping[str, WaitQueue], clocks: ClockWatch
    ) -> Callable[[], DaemonState]:
        clock, instance = self.host.clock, self.instance()
        started_at = clock.utc_now()

        def describe() -> DaemonState:
            return DaemonState(
                daemon="consume",
                instance=instance,
                version=str(self.version),
                started_at=started_at,
                at=clock.utc_now(),
                ready=True,
                sources={SOURCE: lane_state(lane, clock)},
                receivers=receiver_states(fan_out.receivers, waiting),
                clocks_ahead_seconds=clocks.differing,
            )

        return describe

    def _lane(self, fan_out: FanOut, *, states: StateStream, batons: BatonQueues, traces: SimulatedTraces) -> Lane:
        plot, runtime = self.world.plot, self.host.runtime
        calls = InvoiceCalls(
            self.api,
            source=SOURCE,
            expand=("InvoiceItems", "Transactions"),
            quota=Quota(calls_per_minute=plot.calls_per_minute, now=runtime.clock.monotonic()),
            lease=Lease(LEASE_SECONDS),
            runtime=runtime,
            base_url="https://api.example.test",
            traces=traces,
        )
        return Lane(
            fan_out.publisher,
            fan_out,
            calls,
            names=NAMES,
            source=SOURCE,
            prefetch=max(100, 15 * plot.calls_per_minute),
            max_bytes=plot.keeps_bytes,
            plan=Plan(max_in_flight=4, deliver_failures=plot.deliver_failures, ladder=Ladder((10, 60), MOST_ATTEMPTS)),
            seen=DuplicateFilter(window_seconds=DUPLICATE_SECONDS, max_keys=10_000),
            runtime=runtime,
            states=states,
            batons=batons,
            budget=self.budget,
            traces=traces,
        )


def arrival(posted: Posted) -> Arrival:
    """A request as the door hands it on."""
    return Arrival(
        source=SOURCE,
        path_type=posted.path_type,
        headers=CIMultiDictProxy(CIMultiDict(posted.headers)),
        tokens=posted.tokens,
        body=posted.body,
        method="POST",
    )
