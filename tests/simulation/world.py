"""A world: hosts with intakes and consumers of the real code, a broker, a Zenoti, a workload, faults; one seed decides.

Faults strike at lines of the trace. `promises` says what must hold.
"""

import asyncio
import json
from collections import defaultdict
from random import Random
from typing import Any

import msgspec

from tests.fakes import FakeIds
from tests.simulation.broker import Chances, SimulatedBroker
from tests.simulation.faults import Faults
from tests.simulation.plot import Fault, Plot
from tests.simulation.processes import NAMES, RECEIVERS, SOURCE, ConsumeProcess, Host, IntakeProcess, arrival
from tests.simulation.promises import P95_FACTOR, P95_SECONDS, Ledger, p95
from tests.simulation.virtual_time import WIRE, run_in_virtual_time
from tests.simulation.zenoti import SimulatedZenoti
from zenoti_ingest.core.topology.declared import Archive, Downstream, Topology, whole_topology

REST_WITHIN_SECONDS = 1200.0  # from the last event, or the end of the last fault, until all is at rest
LOOK_SECONDS = 5.0
RETRY_SECONDS = 30.0  # Zenoti's first


class Outcome(msgspec.Struct):
    """What became of a world.

    Attributes:
        struck: the kinds of faults that struck, with the lines of the trace at which they did.
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
        self.random = Random(drawn.seed)  # noqa: S311  # that it can be repeated is the point
        self.ids = FakeIds()
        self.broker = SimulatedBroker(
            Chances(self.random.random), release=drawn.release, nodes=drawn.nodes, notice=self.note
        )
        self.broker.consumer_timeout_seconds = 2 * drawn.hold_seconds
        self.topology = topology()
        self.broker.declare(self.topology)
        self.zenoti = SimulatedZenoti(calls_per_minute=drawn.calls_per_minute, draw=self.random.random)
        self.trace: list[str] = []
        self.paths: defaultdict[str, int] = defaultdict(int)
        self.ledger = Ledger(self.broker)
        count = max(drawn.intakes, drawn.consumers)
        self.hosts = [Host(drawn.clocks[number % len(drawn.clocks)], self.random, self.ids) for number in range(count)]
        self.intakes: list[IntakeProcess] = []
        self.consumers: list[ConsumeProcess] = []
        self.faults = Faults(self)

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def note(self, line: str, text: str) -> None:
        """Write a line of the trace; a fault may strike at it."""
        self.trace.append(f"{self.now:12.6f} {line} {text}")
        self.paths[line] += 1
        self.faults.at_line(line)

    async def run(self) -> Outcome:
        """Live, until all is at rest or it is too late for that."""
        drawn, began = self.plot, self.now
        self.intakes = [IntakeProcess(self, self.hosts[n], f"intake-{n}") for n in range(drawn.intakes)]
        for name in RECEIVERS:
            self.broker.queues[NAMES.out(name)].read_by(lambda stored, name=name: self._receive(name, stored))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_consumers())
            for number in range(drawn.events):
                group.create_task(self._event(number, began + self.random.uniform(0, drawn.seconds)))
        await self.faults.all_ended()
        rested_by = self.now + REST_WITHIN_SECONDS
        while self.now < rested_by and not self._is_at_rest():  # it is looked at, not announced
            await asyncio.sleep(LOOK_SECONDS)
            self.broker.sweep()
        self._judge()
        ledger = self.ledger
        delivered = sum(len(found) for found in ledger.got.values())
        copies = sum(len(gots) - 1 for found in ledger.got.values() for gots in found.values())
        return Outcome(
            drawn,
            ledger.violations,
            self.trace,
            self.faults.struck,
            self.paths,
            accepted=len(ledger.accepted),
            delivered=delivered,
            copies=copies,
            calls=len(self.zenoti.calls),
            seconds=self.now - began,
            healthy_p95=p95(ledger.seconds_of(name="all", healthy=self._healthy())),
        )

    async def _start_consumers(self) -> None:
        await asyncio.sleep(self.plot.consumers_from)
        for number in range(self.plot.consumers):
            self.consumers.append(ConsumeProcess(self, self.hosts[number], f"consume-{number}"))

    async def _event(self, number: int, at: float) -> None:
        """Zenoti sends an event, and again until it is accepted."""
        await asyncio.sleep(max(0.0, at - self.now))
        has_invoice = number % 3 != 0
        mark, invoice = f"mark-{number}", f"i-{number % self.plot.invoices}" if has_invoice else ""
        data: dict[str, Any] = {"id": f"d-{number}"}
        if has_invoice:
            data["invoice"] = {"id": invoice}
        kind = "Invoice.Closed" if has_invoice else "Guest.Updated"
        body = json.dumps({"event_id": mark, "event_type": kind, "data": data}).encode()
        sent = self.ledger.sends(mark, invoice, at=self.now)
        while True:
            self.note("posted", mark)
            sent.tries += 1
            intake = self.random.choice(self.intakes)
            status, receipt_id = await intake.post(arrival(body, {}))
            self.note("answered", f"{mark} {status} {receipt_id} by {intake.name}")
            if status == 202:
                sent.receipts.add(receipt_id)
                sent.accepted_at = self.now
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _receive(self, name: str, stored: Any) -> None:
        mark = self.ledger.came_out(name, stored, at=self.now)
        self.note("received", f"{mark} by {name}")

    def _healthy(self) -> list[str]:
        """The events that no fault of one thing concerns."""
        return [sent.mark for sent in self.ledger.accepted if sent.invoice not in self.faults.sick]

    def _is_at_rest(self) -> bool:
        self.ledger.read_letters(self.broker.queues[NAMES.dead].ready)
        ours = [queue.name for queue in self.topology.queues if not queue.receiver]
        ours = [name for name in ours if NAMES.role(name) in ("raw", "lane", "retry", "wait")]
        lying = any(self.broker.queues[name].ready for name in ours)
        spooled = any(host.spool.kept for host in self.hosts)
        return not lying and not spooled and not self.ledger.missing()

    def _judge(self) -> None:
        self.ledger.read_letters(self.broker.queues[NAMES.dead].ready)
        if missing := self.ledger.missing():
            words = f"lost, or not at rest after {REST_WITHIN_SECONDS:g} s: {', '.join(missing[:5])}"
            self.ledger.violations.append(words)
        self.ledger.judge(self.zenoti, most_calls=self.plot.calls_per_minute)


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
        return await World(drawn).run()

    outcome: Outcome = run_in_virtual_time(main())
    return outcome


__all__ = ["WIRE", "Fault", "Outcome", "World", "live"]
