"""What strikes a world: each fault waits for its line of the trace, lasts, and ends.

A fault whose line never came strikes once all events are sent, so that none is left out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from tests.simulation.answers import MODES, OK, SICKNESSES, drawn
from tests.simulation.disk import Disk
from tests.simulation.plot import Fault
from tests.simulation.processes import NAMES, SOURCE, IntakeProcess, WorldProcess
from tests.simulation.virtual_time import WIRE
from tests.simulation.watches import declare_anew, delete_queue, unbind

if TYPE_CHECKING:
    from tests.simulation.world import World

JUMPS_SECONDS = (-3600.0, -30.0, 2.0, 600.0)
DRIFTS = (-0.01, 0.0005, 0.02)
SMALL_LIMIT_BYTES = 30_000
LATE_SECONDS = (6.5, 6.5, 20.0)  # some confirms, or most, come after nobody waits for them any more
ROOM_BYTES = (0, 4096, 20_000)
SLOW_SECONDS = (0.2, 2.0, 8.0)

T = TypeVar("T")


class _Awaited:
    """A fault whose line has not come yet."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.number, self.fault, self.left = number, fault, fault.count


class Faults:
    """The faults of a world.

    Attributes:
        struck: the kinds that have struck.
        sick: invoices that were sick for a time.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._awaited: list[_Awaited] = []
        self._asleep = list(enumerate(world.plot.faults))
        self._tasks: list[asyncio.Task[None]] = []
        self._lines: set[str] = set()
        self.struck: frozenset[str] = frozenset({"hostile bodies"} if world.plot.hostile else ())
        self.sick: set[str] = set()
        self._kinds: dict[str, Callable[[Fault], Awaitable[None]]] = {
            "kill consume": self._kill,
            "kill intake": self._kill,
            "restart consume": self._restart,
            "restart intake": self._restart,
            "upgrade": self._upgrade,
            "freeze consume": self._freeze,
            "freeze intake": self._freeze,
            "cut consume": self._cut,
            "cut intake": self._cut,
            "isolate consume": self._isolate,
            "isolate intake": self._isolate,
            "clock jumps": self._clock_jumps,
            "clock drifts": self._clock_drifts,
            "channel closes": self._channel_closes,
            "node freezes": self._node_freezes,
            "node restarts": self._node_restarts,
            "alarm": self._alarm,
            "confirms late": self._confirms_late,
            "queue refuses": self._queue_refuses,
            "receiver refuses": self._receiver_refuses,
            "receiver gone": self._receiver_gone,
            "queue deleted": self._queue_deleted,
            "binding removed": self._binding_removed,
            "size limit": self._size_limit,
            "api": self._api,
            "sick invoice": self._sick_invoice,
            "disk full": self._disk_full,
            "disk slow": self._disk_slow,
            "disk hangs": self._disk_hangs,
            "disk damaged": self._disk_damaged,
            "folder lost": self._folder_lost,
        }
        self._wake(None)

    def at_line(self, line: str) -> None:
        """A line of the trace has been written."""
        if line not in self._lines:
            return
        for awaited in [each for each in self._awaited if each.fault.line == line]:
            awaited.left -= 1
            if awaited.left == 0:
                self._strike(awaited)

    async def all_ended(self) -> None:
        """Let those strike whose line has not come, and return once the last has ended."""
        while self._awaited or any(not task.done() for task in self._tasks):
            for awaited in list(self._awaited):
                self._strike(awaited)
            await asyncio.sleep(1)
        for task in self._tasks:
            task.result()

    def _wake(self, since: int | None) -> None:
        """Those that count their lines since a fault's beginning begin to count."""
        woken = [(number, fault) for number, fault in self._asleep if fault.within == since]
        self._asleep = [each for each in self._asleep if each not in woken]
        self._awaited += [_Awaited(number, fault) for number, fault in woken]
        self._lines = {awaited.fault.line for awaited in self._awaited}

    def _strike(self, awaited: _Awaited) -> None:
        self._awaited.remove(awaited)
        self._wake(awaited.number)
        self.struck |= {awaited.fault.kind}
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._lasts(awaited.fault), context=WIRE.copy()))

    async def _lasts(self, fault: Fault) -> None:
        self._world.note("fault", f"{fault.kind}, {fault.lasts:.1f} s")
        await self._kinds[fault.kind](fault)
        self._world.note("fault ends", fault.kind)

    async def _kill(self, fault: Fault) -> None:
        if (process := self._process(fault)) is not None:
            await process.kill_and_restart()

    async def _restart(self, fault: Fault) -> None:
        if (process := self._process(fault)) is not None:
            await process.restart()

    async def _upgrade(self, _: Fault) -> None:
        """One by one, as a rolling upgrade does."""
        for process in [*self._world.consumers, *self._world.intakes]:
            process.version += 1
            await process.restart()

    async def _freeze(self, fault: Fault) -> None:
        if (process := self._process(fault)) is not None:
            await process.freeze(fault.lasts)

    async def _cut(self, fault: Fault) -> None:
        if (process := self._process(fault)) is not None:
            process.cut(back_after=fault.lasts)
            await asyncio.sleep(fault.lasts)

    async def _isolate(self, fault: Fault) -> None:
        """No broker, and no requests to a door. A consumer still reaches the API: the worse case for the lease."""
        process = self._process(fault)
        if process is None:
            return
        process.cut(back_after=fault.lasts)
        process.is_isolated = True
        await asyncio.sleep(fault.lasts)
        process.is_isolated = False

    async def _clock_jumps(self, fault: Fault) -> None:
        clock = _chosen(fault, self._world.hosts).clock
        jump = _chosen(fault, JUMPS_SECONDS)
        clock.jump(jump)
        await asyncio.sleep(fault.lasts)
        clock.jump(-jump)

    async def _clock_drifts(self, fault: Fault) -> None:
        clock = _chosen(fault, self._world.hosts).clock
        clock.drift(_chosen(fault, DRIFTS))
        await asyncio.sleep(fault.lasts)
        clock.drift(0.0)

    async def _channel_closes(self, fault: Fault) -> None:
        channels = [channel for link in self._world.broker.links for channel in link.channels if channel.is_open]
        if channels:
            _chosen(fault, channels).close_by_broker()

    async def _node_freezes(self, fault: Fault) -> None:
        broker = self._world.broker
        node = int(fault.choice * broker.nodes)
        broker.freeze(node)
        await asyncio.sleep(fault.lasts)
        broker.thaw(node)

    async def _node_restarts(self, fault: Fault) -> None:
        """All its connections are lost; while it is away nobody connects to it."""
        broker = self._world.broker
        node = int(fault.choice * broker.nodes)
        broker.frozen.add(node)
        for link in [link for link in broker.links if link.node == node]:
            link.cut()
        await asyncio.sleep(fault.lasts)
        broker.thaw(node)

    async def _alarm(self, fault: Fault) -> None:
        self._world.broker.blocks = True
        await asyncio.sleep(fault.lasts)
        self._world.broker.unblock()

    async def _confirms_late(self, fault: Fault) -> None:
        self._world.broker.confirm_seconds = _chosen(fault, LATE_SECONDS)
        await asyncio.sleep(fault.lasts)
        self._world.broker.confirm_seconds = 0.0

    async def _queue_refuses(self, fault: Fault) -> None:
        ours = [NAMES.raw(SOURCE), NAMES.lane(SOURCE), NAMES.retry(10), NAMES.waiting("all"), NAMES.dead]
        await self._refuse(_chosen(fault, ours), fault.lasts)

    async def _receiver_refuses(self, fault: Fault) -> None:
        await self._refuse(NAMES.out("invoices"), fault.lasts)

    async def _receiver_gone(self, fault: Fault) -> None:
        """Its queue is deleted, and declared again by its owner some time later."""
        world, name = self._world, NAMES.out("invoices")
        world.ledger.excused |= {lost.message_id for lost in delete_queue(world.broker, name).lost}
        await asyncio.sleep(fault.lasts)
        declare_anew(world.broker, world.queue(name))
        world.read("invoices")

    async def _queue_deleted(self, _: Fault) -> None:
        """Somebody deletes the raw queue; what lay in it for longer is in the archive alone."""
        delete_queue(self._world.broker, NAMES.raw(SOURCE))
        self._world.ledger.came_again()

    async def _binding_removed(self, fault: Fault) -> None:
        unbind(self._world.broker, _chosen(fault, self._world.topology.bindings))

    async def _refuse(self, name: str, seconds: float) -> None:
        queue = self._world.broker.queues.get(name)
        if queue is not None:
            queue.refuses = True
            await asyncio.sleep(seconds)
            queue.refuses = False

    async def _size_limit(self, _: Fault) -> None:
        self._world.broker.max_message_bytes = SMALL_LIMIT_BYTES
        self._world.ledger.least_limit = SMALL_LIMIT_BYTES

    async def _api(self, fault: Fault) -> None:
        zenoti = self._world.zenoti
        zenoti.mode = drawn(self._world.random, MODES)
        self._world.note("api", zenoti.mode)
        await asyncio.sleep(fault.lasts)
        zenoti.mode = OK

    async def _sick_invoice(self, fault: Fault) -> None:
        invoice = _chosen(fault, self._world.bodies.invoice_ids)
        sickness = drawn(self._world.random, SICKNESSES)
        self.sick.add(invoice)
        self._world.note("sick", f"{invoice}: {sickness}")
        self._world.zenoti.sicken(invoice, sickness)
        await asyncio.sleep(fault.lasts)
        self._world.zenoti.heal(invoice)

    async def _disk_full(self, fault: Fault) -> None:
        disk = self._intake(fault).host.disk
        disk.is_full, disk.room_bytes = True, _chosen(fault, ROOM_BYTES)
        await asyncio.sleep(fault.lasts)
        disk.is_full = False

    async def _disk_slow(self, fault: Fault) -> None:
        disk = self._intake(fault).host.disk
        disk.slow_seconds = _chosen(fault, SLOW_SECONDS)
        await asyncio.sleep(fault.lasts)
        disk.slow_seconds = 0.0

    async def _disk_hangs(self, fault: Fault) -> None:
        disk = self._intake(fault).host.disk
        disk.hangs = True
        await asyncio.sleep(fault.lasts)
        disk.hangs = False

    async def _disk_damaged(self, fault: Fault) -> None:
        disk = self._intake(fault).host.disk
        disk.damage()
        self._is_at_risk(disk)

    async def _folder_lost(self, fault: Fault) -> None:
        intake = self._intake(fault)
        if intake.spool is not None and not intake.process.is_killed:
            intake.host.disk.lose_folder(intake.spool)
        self._is_at_risk(intake.host.disk)

    def _is_at_risk(self, disk: Disk) -> None:
        """What is saved from a damaged file can have gone out already."""
        for receipt_id in disk.event_bodies_at_risk():
            self._world.broker.doubts[receipt_id] += 1

    def _intake(self, fault: Fault) -> IntakeProcess:
        return _chosen(fault, self._world.intakes)

    def _process(self, fault: Fault) -> WorldProcess | None:
        of_kind: Sequence[WorldProcess] = (
            self._world.consumers if fault.kind.endswith("consume") else self._world.intakes
        )
        return _chosen(fault, of_kind) if of_kind else None


def _chosen(fault: Fault, among: Sequence[T]) -> T:
    return among[int(fault.choice * len(among))]
