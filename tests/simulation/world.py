"""A world: hosts with intakes and consumers of the real code, a broker, a Zenoti, a workload, faults; one seed decides.

What each event must come to is checked at the end of the world, and the quota over all of it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from random import Random
from typing import Any

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from tests.fakes import FakeIds, FakeSpool
from tests.simulation.broker import Chances, SimulatedBroker, SimulatedLink, Stored
from tests.simulation.virtual_time import WIRE, SimulatedProcess, run_in_virtual_time
from tests.simulation.zenoti import MODES, SimulatedZenoti
from zenoti_ingest.adapters.broker.batons import BatonQueues
from zenoti_ingest.adapters.broker.state_stream import StateStream
from zenoti_ingest.adapters.http_door import Arrival
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.failures.policy import Ladder
from zenoti_ingest.core.intake.admission import Rule
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.quota import Quota
from zenoti_ingest.core.operating.times import as_text
from zenoti_ingest.core.topology.declared import Archive, Downstream, Topology, whole_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.clock_watch import ClockWatch
from zenoti_ingest.stages.consuming import Stage, consume
from zenoti_ingest.stages.enrich import Lane, Plan
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.intake import DoorSource, Intake
from zenoti_ingest.stages.invoice_calls import InvoiceCalls
from zenoti_ingest.stages.ports import Chance, Clock, Ids
from zenoti_ingest.stages.spool_drain import SpoolDrain
from zenoti_ingest.stages.too_large import TooLargeEvents
from zenoti_ingest.stages.translate import Translate
from zenoti_ingest.stages.waiting import WaitQueue
from zenoti_schemas.state import DaemonState, SourceState

NAMES = Names("zi")
SOURCE = "main"
RECEIVERS = {"all": ("*.#",), "invoices": ("*.invoice.#",)}
UNIX_MICROSECONDS = 1_935_853_690_000_000  # 2031-05-06
REST_WITHIN_SECONDS = 1200.0  # from the last event, or the end of the last fault, until all is at rest
RETRY_SECONDS = 30.0  # Zenoti's first
RESTART_SECONDS = 3.0
STRIKES = ("kill consume", "kill consume", "kill intake", "freeze consume", "cut consume", "cut intake")
PERIODS = ("api", "broker frozen", "broker blocks", "receiver refuses", "sick invoice", "a queue refuses")


class HostClock:
    """The port `Clock`: virtual time, with a date that may be wrong by so many seconds."""

    def __init__(self, ahead_seconds: float) -> None:
        self._ahead = round(ahead_seconds * 1_000_000)

    def monotonic(self) -> float:
        """As the port says."""
        return asyncio.get_running_loop().time()

    def unix_microseconds(self) -> int:
        """As the port says."""
        return UNIX_MICROSECONDS + round(self.monotonic() * 1_000_000) + self._ahead

    def utc_now(self) -> str:
        """As the port says."""
        return as_text(self.unix_microseconds())


class SeededChance:
    """The port `Chance`, by the world's seed."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def below(self, count: int) -> int:
        """As the port says."""
        return self._random.randrange(count)


class WorldRuntime:
    """The port `Runtime` of one process."""

    def __init__(self, clock: Clock, chance: Chance, ids: Ids) -> None:
        self.clock, self.chance, self.ids = clock, chance, ids


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong: what, when (seconds from the beginning), for how long (seconds)."""

    kind: str
    at: float
    lasts: float


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed has drawn.

    Attributes:
        faults: in the order in which they strike.
        calls_per_minute: the quota.
    """

    seed: int
    events: int
    invoices: int
    seconds: float
    calls_per_minute: int
    consumers: int
    intakes: int
    clocks_ahead: tuple[float, ...]
    faults: tuple[Fault, ...]


class Outcome(msgspec.Struct):
    """What became of a world."""

    plot: Plot
    violations: list[str]
    trace: list[str]
    accepted: int = 0
    delivered: int = 0
    copies: int = 0
    calls: int = 0
    seconds: float = 0.0


def plot(seed: int) -> Plot:
    """Draw a small world."""
    random = Random(seed)  # noqa: S311  # that it can be repeated is the point
    events = random.randint(10, 200)
    seconds = random.uniform(30, 600)
    faults = []
    for _ in range(random.choice([0, 1, 1, 2, 3])):  # in pairs: a strike within a period finds what neither finds alone
        at, lasts = random.uniform(0, seconds), random.uniform(2, 60)
        faults.append(Fault(random.choice(PERIODS), at, lasts))
        faults += [
            Fault(random.choice(STRIKES), at + random.uniform(0, lasts), random.uniform(2, 60))
            for _ in range(random.randint(0, 3))
        ]
    return Plot(
        seed=seed,
        events=events,
        invoices=random.randint(1, max(1, events // 2)),
        seconds=seconds,
        calls_per_minute=random.choice([12, 60, 600]),
        consumers=random.randint(1, 3),
        intakes=random.randint(1, 2),
        clocks_ahead=tuple(random.choice([0.0, 0.0, 0.3, -2.0, 300.0]) for _ in range(5)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


class World:
    """A world while it lasts."""

    def __init__(self, drawn: Plot) -> None:
        self.plot = drawn
        self.random = Random(drawn.seed)  # noqa: S311  # that it can be repeated is the point
        self.ids = FakeIds()
        self.broker = SimulatedBroker(Chances(self.random.random))
        self.topology = topology()
        self.broker.declare(self.topology)
        self.zenoti = SimulatedZenoti(calls_per_minute=drawn.calls_per_minute, draw=self.random.random)
        self.trace: list[str] = []
        self.posted: dict[str, float] = {}
        self.accepted: dict[str, tuple[str, float]] = {}
        self.received: dict[str, Counter[str]] = {name: Counter() for name in RECEIVERS}
        self.violations: list[str] = []
        self.spools = [FakeSpool() for _ in range(drawn.intakes)]
        self.intakes: list[IntakeProcess] = []
        self.consumers: list[ConsumeProcess] = []

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def note(self, what: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.now:12.6f} {what}")

    def runtime(self, number: int) -> WorldRuntime:
        """Of the host with that number."""
        ahead = self.plot.clocks_ahead[number % len(self.plot.clocks_ahead)]
        return WorldRuntime(HostClock(ahead), SeededChance(self.random), self.ids)

    async def run(self) -> Outcome:
        """Live, until all is at rest or it is too late for that."""
        for number in range(self.plot.intakes):
            self.intakes.append(IntakeProcess(self, number))
        for number in range(self.plot.consumers):
            self.consumers.append(ConsumeProcess(self, number))
        began = self.now
        for name in RECEIVERS:
            self._receive(name)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._strike(began))
            for number in range(self.plot.events):
                group.create_task(self._event(number, began + self.random.uniform(0, self.plot.seconds)))
        rested_by = self.now + REST_WITHIN_SECONDS
        while self.now < rested_by and not self._is_at_rest():  # noqa: ASYNC110  # it is looked at, not announced
            await asyncio.sleep(5)
        self._judge()
        delivered = sum(len(found) for found in self.received.values())
        copies = sum(found.total() - len(found) for found in self.received.values())
        return Outcome(
            self.plot,
            self.violations,
            self.trace,
            accepted=len(self.accepted),
            delivered=delivered,
            copies=copies,
            calls=len(self.zenoti.calls),
            seconds=self.now - began,
        )

    async def _event(self, number: int, at: float) -> None:
        """Zenoti sends an event, and again until it is accepted."""
        await asyncio.sleep(max(0.0, at - self.now))
        has_invoice = number % 3 != 0
        event_id = f"e-{number}"
        data: dict[str, Any] = {"id": f"d-{number}"}
        if has_invoice:
            data["invoice"] = {"id": f"i-{number % self.plot.invoices}"}
        kind = "Invoice.Closed" if has_invoice else "Guest.Updated"
        body = json.dumps({"event_id": event_id, "event_type": kind, "data": data}).encode()
        self.posted[event_id] = self.now
        while True:
            intake = self.random.choice(self.intakes)
            status = await intake.post(body)
            self.note(f"{event_id} {intake.name} {status}")
            if status == 202:
                self.accepted[event_id] = (kind, self.now)
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _receive(self, name: str) -> None:
        """A receiver that takes everything from its queue at once."""
        queue = self.broker.queues[NAMES.out(name)]
        loop = asyncio.get_running_loop()

        def look() -> None:
            while queue.ready:
                self._got(name, queue.ready.popleft())
            loop.call_later(1.0, look, context=WIRE)

        loop.call_soon(look, context=WIRE)

    def _got(self, name: str, stored: Stored) -> None:
        document = json.loads(stored.message.body)
        event_id = document["eventid"]
        self.received[name][event_id] += 1
        invoice = document["data"]["invoice"]
        received_at = document["receivedat"]
        self.note(f"{event_id} in {name}, {document['data']['enrichment']['status']}")
        if invoice is not None and document["data"]["enrichment"]["fetched_at"] < received_at:
            self.violations.append(f"{event_id}: fetched_at before its receipt {received_at}")
        if invoice is not None and invoice["read_at"] < self.posted[event_id]:
            self.violations.append(f"{event_id}: an invoice that was read before the event was sent")

    async def _strike(self, began: float) -> None:
        async with asyncio.TaskGroup() as group:
            for fault in self.plot.faults:
                await asyncio.sleep(max(0.0, began + fault.at - self.now))
                self.note(f"fault: {fault.kind}")
                group.create_task(self._fault(fault.kind, fault.lasts))

    async def _fault(self, kind: str, seconds: float) -> None:  # noqa: C901  # a table of faults
        match kind:
            case "kill consume":
                await self.random.choice(self.consumers).kill_and_restart()
            case "kill intake":
                await self.random.choice(self.intakes).kill_and_restart()
            case "freeze consume":
                consumer = self.random.choice(self.consumers)
                consumer.process.freeze()
                if seconds > HEARTBEATS_SECONDS:
                    consumer.cut()
                await asyncio.sleep(seconds)
                consumer.process.thaw()
            case "cut consume":
                self.random.choice(self.consumers).cut()
            case "cut intake":
                self.random.choice(self.intakes).cut()
            case "api":
                self.zenoti.mode = self.random.choice(MODES[1:])
                self.note(f"api: {self.zenoti.mode}")
                await asyncio.sleep(5 * seconds)
                self.zenoti.mode = "ok"
            case "broker frozen":
                self.broker.is_frozen = True
                await asyncio.sleep(seconds / 3)
                self.broker.thaw()
            case "broker blocks":
                self.broker.blocks = True
                await asyncio.sleep(seconds)
                self.broker.unblock()
            case "receiver refuses":
                queue = self.broker.queues[NAMES.out("invoices")]
                queue.refuses = True
                await asyncio.sleep(seconds)
                queue.refuses = False
            case "a queue refuses":
                ours = [NAMES.raw(SOURCE), NAMES.lane(SOURCE), NAMES.retry(10), NAMES.waiting("all")]
                queue = self.broker.queues[self.random.choice(ours)]
                queue.refuses = True
                await asyncio.sleep(seconds)
                queue.refuses = False
            case "sick invoice":
                invoice = f"i-{self.random.randrange(self.plot.invoices)}"
                self.zenoti.sick.add(invoice)
                await asyncio.sleep(seconds)
                self.zenoti.sick.discard(invoice)

    def _is_at_rest(self) -> bool:
        ours = [queue.name for queue in self.topology.queues if not queue.receiver]
        ours = [name for name in ours if NAMES.role(name) in ("raw", "lane", "retry", "wait")]
        lying = any(self.broker.queues[name].ready for name in ours)
        spooled = any(spool.kept for spool in self.spools)
        return not lying and not spooled and not self._missing()

    def _missing(self) -> list[str]:
        """Events that were accepted and are nowhere where they should be."""
        letters = {stored.message.headers.get("event_id") for stored in self.broker.queues[NAMES.dead].ready}
        found = []
        for event_id, (kind, _) in self.accepted.items():
            wanting = ["all", "invoices"] if kind == "Invoice.Closed" else ["all"]
            if event_id not in letters and not all(self.received[name][event_id] for name in wanting):
                found.append(event_id)
        return found

    def _judge(self) -> None:
        if missing := self._missing():
            self.violations.append(f"lost, or not at rest after {REST_WITHIN_SECONDS:g} s: {', '.join(missing[:5])}")
        times = [call.at for call in self.zenoti.calls]
        most = self.plot.calls_per_minute
        for first, last in zip(times, times[most:], strict=False):
            if last - first < 60.0:
                self.violations.append(f"more than {most} calls in 60 s, at {last:.3f}")
                break
        for name, found in self.received.items():
            strangers = found.keys() - self.accepted.keys()
            if strangers:  # accepted, but the answer was lost with its process: that is no fault
                self.note(f"{name} has {len(strangers)} whose 202 never arrived")
        if not self.plot.faults and any(count > 1 for found in self.received.values() for count in found.values()):
            self.violations.append("an event twice in a world without faults")


HEARTBEATS_SECONDS = 20.0


class WorldProcess:
    """A process of a host: it can be killed, and starts again."""

    def __init__(self, world: World, number: int, kind: str) -> None:
        self.world, self.number, self.name = world, number, f"{kind}-{number}"
        self.links: list[SimulatedLink] = []
        self.process = SimulatedProcess(self.name)
        self.start()

    def start(self) -> None:
        """Begin to work, in a new process."""
        raise NotImplementedError

    def link(self) -> SimulatedLink:
        """A new connection of this process."""
        process = self.process
        link = SimulatedLink(self.world.broker, start=process.start)
        self.links.append(link)
        return link

    def cut(self) -> None:
        """Lose the connections; our end hears of it after two heartbeats."""
        for link in self.links:
            link.cut(heard_after=self.world.random.uniform(0, HEARTBEATS_SECONDS))

    async def kill_and_restart(self) -> None:
        """Kill -9, and a new process some seconds later."""
        self.process.kill()
        for link in self.links:
            link.end()
        self.links.clear()
        await asyncio.sleep(RESTART_SECONDS)
        self.process = SimulatedProcess(self.name)
        self.start()


class IntakeProcess(WorldProcess):
    """An intake; its spool outlives it, as a disk does."""

    def __init__(self, world: World, number: int) -> None:
        self.stage: Intake | None = None
        super().__init__(world, number, "intake")

    def start(self) -> None:
        """The real stage, and the drain of its spool."""
        link, spool, runtime = self.link(), self.world.spools[self.number], self.world.runtime(self.number)

        def unavailable_reason() -> str:
            return "" if link.is_up else "not connected"

        self.stage = Intake(
            link,
            spool,
            names=NAMES,
            sources={SOURCE: DoorSource(signature_header="x", rule=Rule)},
            confirm_seconds=5.0,
            unavailable_reason=unavailable_reason,
            runtime=runtime,
        )
        common = {"names": NAMES, "unavailable_reason": unavailable_reason, "clock": runtime.clock}
        letters = TooLargeEvents(link, spool, host="host", **common)  # type: ignore[arg-type]  # a dict of several
        drain = SpoolDrain(
            self.stage, spool, too_large=letters, unavailable_reason=unavailable_reason, clock=runtime.clock
        )
        self.process.start(drain.run())

    async def post(self, body: bytes) -> int:
        """A webhook: the status, or 0 where no answer came within ten seconds."""
        process, stage = self.process, self.stage
        if process.is_killed or stage is None:
            return 0
        arrival = Arrival(
            source=SOURCE, path_type="", headers=CIMultiDictProxy(CIMultiDict()), tokens=(), body=body, method="POST"
        )
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            given = await stage.receive(arrival)
            if not answer.done():
                answer.set_result(given.status)

        await asyncio.sleep(0.01)
        process.start(serve())
        try:
            async with asyncio.timeout(10):
                return await answer
        except TimeoutError:
            return 0


class ConsumeProcess(WorldProcess):
    """Translate, the lane and the wait queues, as `app.consume` puts them together."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world, number, "consume")

    def start(self) -> None:
        """The real stages, the stream of states, the watches that they need."""
        world, runtime = self.world, self.world.runtime(self.number + 2)
        publisher, consumer = self.link(), self.link()
        fan_out = FanOut(publisher, names=NAMES, patterns=RECEIVERS, clock=runtime.clock)
        states = StateStream(publisher, exchange=NAMES.state)
        lane = self._lane(publisher, consumer, fan_out, states, runtime)
        translate = Translate(
            publisher,
            fan_out,
            names=NAMES,
            source=SOURCE,
            prefetch=100,
            enrich=("#",),
            seen=DuplicateFilter(window_seconds=300, max_keys=10_000),
            runtime=runtime,
        )
        waiting = [WaitQueue(publisher, names=NAMES, receiver=name) for name in RECEIVERS]
        clocks = ClockWatch({SOURCE: lane.clock}, runtime.clock)
        started_at = runtime.clock.utc_now()
        instance = f"{self.name}-{world.ids.random()}"

        def describe() -> DaemonState:
            source = SourceState(
                events_held=len(lane.window),
                circuit="open" if lane.circuit.is_open else "closed",
                fetched_at_most=lane.clock.claim(),
            )
            return DaemonState(
                daemon="consume",
                instance=instance,
                version="0",
                started_at=started_at,
                at=runtime.clock.utc_now(),
                ready=True,
                sources={SOURCE: source},
            )

        def heard(said: DaemonState, is_live: bool) -> None:  # noqa: FBT001  # as a listener is called
            clocks.heard(said, is_live)
            if is_live and SOURCE in said.sources:
                lane.heard(said.sources[SOURCE])

        stages: list[Stage] = [lane, translate, *waiting]
        run = partial(consume, link=consumer, publisher=publisher, stop=asyncio.Event(), clock=runtime.clock)
        work: list[Coroutine[Any, Any, Any]] = [
            states.run(describe, confirmed=clocks.confirmed),
            states.listen(consumer, stream=NAMES.state, heard=heard),
            fan_out.watch(consumer.ready),
            *(run(stage) for stage in stages),
        ]
        for each in work:
            self.process.start(each)

    def _lane(
        self,
        publisher: SimulatedLink,
        consumer: SimulatedLink,
        fan_out: FanOut,
        states: StateStream,
        runtime: WorldRuntime,
    ) -> Lane:
        calls = InvoiceCalls(
            self.world.zenoti.port(self.name),
            source=SOURCE,
            expand=("InvoiceItems",),
            quota=Quota(calls_per_minute=self.world.plot.calls_per_minute, now=runtime.clock.monotonic()),
            lease=Lease(15.0),
            runtime=runtime,
        )
        return Lane(
            publisher,
            fan_out,
            calls,
            names=NAMES,
            source=SOURCE,
            prefetch=max(100, 15 * self.world.plot.calls_per_minute),
            plan=Plan(max_in_flight=4, deliver_failures=False, ladder=Ladder((10, 60), 8)),
            seen=DuplicateFilter(window_seconds=300, max_keys=10_000),
            runtime=runtime,
            states=states,
            batons=BatonQueues(publisher, consumer, names=NAMES),
        )


def topology() -> Topology:
    """Of one source and two receivers."""
    return whole_topology(
        NAMES,
        sources=[SOURCE],
        downstreams=[
            Downstream(name=name, queue=NAMES.out(name), events=("#",) if name == "all" else ("invoice.#",))
            for name in RECEIVERS
        ],
        delays_seconds=(10, 60),
        archive=Archive(max_age="1D", max_bytes=1_000_000_000),
    )


def live(drawn: Plot) -> Outcome:
    """Live a world to its end."""

    async def main() -> Outcome:
        return await World(drawn).run()

    outcome: Outcome = run_in_virtual_time(main())
    return outcome
