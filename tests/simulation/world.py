"""A world: hosts with intakes and consumers of the real code, a broker, a Zenoti, a workload, faults; one seed decides.

Faults strike at lines of the trace. `promises` says what must hold.
"""

import asyncio
from collections import defaultdict
from functools import partial
from random import Random

import msgspec

from tests.fakes import FakeIds
from tests.simulation.bodies import STRANGE_INVOICES, Bodies, Door, Fate, Mix, Posted, plan
from tests.simulation.broker import Chances, SimulatedBroker, Stored
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.feed import Feed
from tests.simulation.operator import Operator
from tests.simulation.plot import Plot
from tests.simulation.processes import NAMES, RECEIVERS, SOURCE, ConsumeProcess, Host, HostClock, IntakeProcess, arrival
from tests.simulation.promises import P95_FACTOR, P95_SECONDS, Ledger, p95
from tests.simulation.settings import settings_of
from tests.simulation.vendor_quota import drawn_terms
from tests.simulation.virtual_time import run_in_virtual_time
from tests.simulation.zenoti import SimulatedZenoti
from zenoti_ingest.core.topology.declared import Archive, Downstream, Queue, Topology, whole_topology

REST_WITHIN_SECONDS = 1200.0  # from the last event, or the end of the last fault, until all is at rest
LOOK_SECONDS = 5.0
MEDDLING = frozenset({"queue deleted", "binding removed"})  # the archive has everything; a receiver may lack something
REPLAY_AFTER_SECONDS = 90.0
MOST_REPLAYS = 5


class Outcome(msgspec.Struct):
    """What became of a world.

    Attributes:
        struck: the kinds of faults that struck.
        paths: the kinds of lines of the trace, and how many.
    """

    plot: Plot
    violations: list[str]
    trace: list[str]
    struck: frozenset[str]
    paths: dict[str, int]
    accepted: int
    delivered: int
    copies: int
    calls: int
    seconds: float
    healthy_p95: float = 0.0


class World:
    """A world while it lasts."""

    def __init__(self, drawn: Plot) -> None:
        self.plot = drawn
        self.random = random = Random(drawn.seed)  # noqa: S311  # that it can be repeated is the point
        self.ids = FakeIds()
        self.trace: list[str] = []
        self.paths: defaultdict[str, int] = defaultdict(int)
        self.broker = SimulatedBroker(
            Chances(random.random), release=drawn.release, nodes=drawn.nodes, notice=self.note
        )
        self.broker.consumer_timeout_seconds = 2 * drawn.hold_seconds
        self.broker.max_message_bytes = drawn.max_message_bytes
        self.topology = topology()
        self.broker.declare(self.topology)
        self.zenoti = SimulatedZenoti(
            random,
            terms=drawn_terms(random, calls_per_minute=drawn.calls_per_minute),
            splits=drawn.splits,
            odd_share=random.choice([0.0, 0.1]),
            notice=self.note,
        )
        self.door = Door(secret=b"secret") if drawn.signs else Door()
        self.bodies = Bodies(random, invoices=drawn.invoices, door=self.door, limit=drawn.max_message_bytes)
        self.feed = Feed(self._post, random=random, happened=self._happened)
        self.ledger = Ledger(self.broker, self.zenoti)
        count = max(drawn.intakes, drawn.consumers)
        self.hosts = [self._host(number) for number in range(count)]
        self.intakes: list[IntakeProcess] = []
        self.consumers: list[ConsumeProcess] = []
        self.settings = settings_of()
        self.operator = Operator(self.settings, self.broker, clock=HostClock(0.0))
        self.faults = Faults(self)

    def _host(self, number: int) -> Host:
        disk = Disk(Random(f"{self.plot.seed} {number}").random)  # noqa: S311  # likewise
        return Host(self.plot.clocks[number % len(self.plot.clocks)], self.random, self.ids, disk)

    def close(self) -> None:
        """Nothing of it is left on this machine."""
        for host in self.hosts:
            host.disk.close()

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def note(self, line: str, text: str) -> None:
        """Write a line of the trace; a fault may strike at it."""
        self.trace.append(f"{self.now:12.6f} {line} {text}")
        self.paths[line] += 1
        if line == "called":
            self.ledger.called(text.split(" by ")[1].partition(":")[0], at=self.now)
        self.faults.at_line(line)

    async def run(self) -> Outcome:
        """Live, until all is at rest or it is too late for that."""
        drawn, began = self.plot, self.now
        self.intakes = [IntakeProcess(self, self.hosts[n], f"intake-{n}") for n in range(drawn.intakes)]
        for name in RECEIVERS:
            self.read(name)
        for invoice_id in STRANGE_INVOICES:
            self.zenoti.happened(invoice_id, "opened")
        mix = Mix(hostile=drawn.hostile)
        planned = plan(
            self.random, self.bodies, shape=drawn.workload, events=drawn.events, seconds=drawn.seconds, mix=mix
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_consumers())
            group.create_task(self.feed.run(planned))
            group.create_task(self._operate(began))
        await self.faults.all_ended()
        if self.faults.struck & MEDDLING:
            await self._replay_what_is_missing()
        rested_by = self.now + REST_WITHIN_SECONDS
        while self.now < rested_by and not self._is_at_rest():
            await asyncio.sleep(LOOK_SECONDS)
            self.broker.sweep()
        self._judge()
        ledger = self.ledger
        copies = sum(len(gots) - 1 for found in ledger.got.values() for gots in found.values())
        return Outcome(
            drawn,
            list(ledger.violations),  # copies: what happens while the world dissolves is nobody's business
            list(self.trace),
            self.faults.struck,
            dict(self.paths),
            accepted=len(ledger.accepted),
            delivered=sum(len(found) for found in ledger.got.values()),
            copies=copies,
            calls=len(self.zenoti.calls),
            seconds=self.now - began,
            healthy_p95=p95(ledger.seconds_of("all", but=self.faults.sick)),
        )

    def read(self, name: str) -> None:
        """A receiver takes all that comes into its queue."""
        self.broker.queues[NAMES.out(name)].read_by(partial(self._receive, name))

    def queue(self, name: str) -> Queue:
        """A queue as it is declared."""
        return next(queue for queue in self.topology.queues if queue.name == name)

    async def _operate(self, began: float) -> None:
        """An operator does one thing after the other."""
        for planned in sorted(self.plot.acts, key=lambda act: act.at):
            await asyncio.sleep(max(0.0, began + planned.at - self.now))
            if planned.kind == "replay":
                self.ledger.came_again()
            choice = {"id": self._some_id()} if planned.kind in ("show", "trace") else {}
            act = await self.operator.act(planned.kind, **choice)
            self.note(
                "operator", f"{planned.kind}: {act.exit_status}, {len(act.done)} of {len(act.tried)} {act.failure}"
            )
            match planned.kind:
                case "redrive":
                    self.ledger.came_again(act.tried)
                case "discard":
                    for receipt_id in act.tried:
                        self.ledger.excuse(receipt_id)

    async def _replay_what_is_missing(self) -> None:
        """After somebody has meddled with queues or bindings, an operator replays the archive, as the docs say."""
        for _ in range(MOST_REPLAYS):
            await asyncio.sleep(REPLAY_AFTER_SECONDS)
            self._read_letters()
            if not self._missing():
                return
            self.ledger.came_again()
            patient = Operator(self.settings, self.broker, clock=HostClock(0.0), patience_seconds=REST_WITHIN_SECONDS)
            act = await patient.act("replay", since="4h")
            self.note("operator", f"replay: {act.exit_status}, {len(act.done)} of {len(act.tried)} {act.failure}")

    def _some_id(self) -> str:
        """Of an event that an operator asks about."""
        receipts = [receipt for sent in self.ledger.accepted for receipt in sorted(sent.receipts)]
        return self.random.choice(receipts) if receipts else "none"

    async def _start_consumers(self) -> None:
        await asyncio.sleep(self.plot.consumers_from)
        for number in range(self.plot.consumers):
            self.consumers.append(ConsumeProcess(self, self.hosts[number], f"consume-{number}"))

    def _happened(self, posted: Posted) -> None:
        version = None
        if posted.change and posted.invoice_id:
            version = self.zenoti.happened(posted.invoice_id, posted.change)
        self.ledger.happened(posted, version, at=self.now)

    async def _post(self, posted: Posted) -> int | None:
        """Zenoti sends a request to one of the intakes."""
        intake = self.random.choice(self.intakes)
        if is_event := posted.fate not in (Fate.PING, Fate.REFUSED):
            self.ledger.posts(posted)
        self.note("posted", f"{posted.cloud_id or posted.kind} to {intake.name}")
        status, receipt_id = await intake.post(arrival(posted))
        self.note("answered", f"{posted.cloud_id or posted.kind} {status} {receipt_id}")
        if is_event and receipt_id:
            self.ledger.answered(posted, receipt_id, at=self.now)
        return status

    def _receive(self, name: str, stored: Stored) -> None:
        self.note("received", f"{self.ledger.came_out(name, stored, at=self.now)} by {name}")

    def _is_at_rest(self) -> bool:
        self._read_letters()
        ours = [queue.name for queue in self.topology.queues if not queue.receiver]
        ours = [name for name in ours if NAMES.role(name) in ("raw", "lane", "retry", "wait")]
        lying = any(queue.ready for queue in map(self.broker.queues.get, ours) if queue is not None)
        return not lying and not self._missing() and not any(host.disk.waiting() for host in self.hosts)

    def _missing(self) -> list[str]:
        """Events that are neither out nor dead letters, nor reported as lost with the disk that they were on."""
        missing = self.ledger.missing()
        if missing and any(host.disk.damages for host in self.hosts):
            return [event_id for event_id in missing if not self._is_reported(event_id)]
        return missing

    def _is_reported(self, event_id: str) -> bool:
        receipts = self.ledger.sent[event_id].receipts
        return all(any(host.disk.is_reported(receipt) for host in self.hosts) for receipt in receipts)

    def _read_letters(self) -> None:
        """The dead letters; none is in the hands of an operator now."""
        self.ledger.read_letters(self.broker.queues[NAMES.dead].ready)

    def _judge(self) -> None:
        ledger = self.ledger
        self._read_letters()
        if missing := self._missing():
            words = f"lost, or not at rest after {REST_WITHIN_SECONDS:g} s: {', '.join(missing[:5])}"
            ledger.violations.append(words)
        ledger.judge(most_calls=self.plot.calls_per_minute)
        if not self.plot.kinds and not self.plot.acts and self.plot.intakes == 1:
            for name in RECEIVERS:
                ledger.in_order(name)
        for stranger, status in self.feed.strangers:
            if status is not None and 200 <= status < 300:
                ledger.violations.append(f"a stranger's {stranger.kind} was accepted")


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
    """Live a world to its end; where only one thing breaks, compare its pace with the same world without faults."""
    outcome = _live(drawn)
    if drawn.breaks_one_thing:
        quiet = _live(msgspec.structs.replace(drawn, faults=()))
        most = P95_FACTOR * quiet.healthy_p95 + P95_SECONDS
        if outcome.healthy_p95 > most:
            found = f"p95 of healthy events {outcome.healthy_p95:.1f} s, {quiet.healthy_p95:.1f} s without faults"
            outcome.violations.append(found)
    return outcome


def _live(drawn: Plot) -> Outcome:
    async def main() -> Outcome:
        world = World(drawn)
        try:
            return await world.run()
        finally:
            world.close()

    outcome: Outcome = run_in_virtual_time(main())
    return outcome
