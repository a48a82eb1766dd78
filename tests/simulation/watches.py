"""The watches of the topology and the queues in simulated processes, put together by the real code of `app`.

Also what somebody else may do to the topology: delete a queue, remove a binding.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import msgspec

from tests.simulation.broker import SimulatedBroker, SimulatedLink
from tests.simulation.management import SimulatedConnection
from tests.simulation.virtual_time import SimulatedProcess
from zenoti_ingest.adapters.broker.library import rim
from zenoti_ingest.adapters.broker.link import PREPARE_SECONDS, Link, Prepare
from zenoti_ingest.app.broker import ensure, full_topology, names_of, topology_watch
from zenoti_ingest.app.consume import queue_depths, queue_roles
from zenoti_ingest.app.intake import DoorConnection
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import WorkerError
from zenoti_ingest.core.topology.declared import Binding, Queue
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.settings import Settings
from zenoti_ingest.stages.enrich import Lane
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.ports import Clock
from zenoti_ingest.stages.queue_watch import QueueWatch
from zenoti_ingest.stages.topology_watch import TopologyWatch

Starts = Callable[[Coroutine[Any, Any, Any]], Any]


class PreparedLink(SimulatedLink):
    """A connection that is ready once it is prepared, as the real link is; if that fails, it connects again.

    Args:
        broker: where it leads.
        prepare: run on each new connection.
        of_link: as `SimulatedLink` has them.
    """

    def __init__(self, broker: SimulatedBroker, *, prepare: Prepare, **of_link: Any) -> None:
        self._prepare = prepare
        super().__init__(broker, **of_link)

    def connect(self) -> None:
        """A new connection, which is not ready yet."""
        super().connect()
        if self._ready.is_set():
            self._ready.clear()
            self.in_process(self._prepared())

    async def _prepared(self) -> None:
        lost = self.lost
        try:
            with rim():
                async with asyncio.timeout(PREPARE_SECONDS):
                    await self._prepare(cast("Any", SimulatedConnection(self)))
        except (WorkerError, TimeoutError):
            if not lost.is_set():
                self.cut()
        else:
            if not lost.is_set():
                self._ready.set()


class SimulatedOwners:
    """The names of the processes of a host, as `adapters.owners.Owners` keeps them on its disk.

    Args:
        on_disk: what the host's disk has of them: it outlives the process.
        process: this process.
        own: its name; no other process ever has the same.
    """

    def __init__(self, on_disk: dict[str, SimulatedProcess], process: SimulatedProcess, *, own: str) -> None:
        self._on_disk, self.own = on_disk, own
        on_disk[own] = process

    def ended(self) -> list[str]:
        """The names of killed processes."""
        return [name for name, process in self._on_disk.items() if process.is_killed]

    def forget(self, name: str) -> None:
        """That name names nothing any more."""
        self._on_disk.pop(name, None)

    def release(self) -> None:
        """There is no lock."""


def door_connection(
    settings: Settings, broker: SimulatedBroker, *, owners: SimulatedOwners, **of_link: Any
) -> DoorConnection:
    """The door's connection with its witnesses; `watch.run` of it is to be run in the process.

    Its `link` publishes, `unavailable_reason` says why nothing can be published, `concerns` takes the stage.
    """

    def connect(*, prepare: Prepare) -> Link:
        return cast("Link", PreparedLink(broker, prepare=prepare, **of_link))

    return DoorConnection(settings, owners=owners, connect=connect)


def prepared_publisher(settings: Settings, broker: SimulatedBroker, **of_link: Any) -> PreparedLink:
    """The publishing connection of a consumer, which is ready once the broker has the topology."""
    topology = full_topology(settings)

    async def ensured(connection: Any) -> None:
        await ensure(settings, connection, topology)

    return PreparedLink(broker, prepare=ensured, **of_link)


def consumer_watch(settings: Settings, publisher: SimulatedLink, fan_out: FanOut) -> TopologyWatch:
    """The topology watch of a consumer."""
    return topology_watch(settings, cast("Any", publisher), full_topology(settings), note_absent=fan_out.note_absent)


def queue_watch(settings: Settings, consumer: SimulatedLink, lanes: Sequence[Lane], clock: Clock) -> QueueWatch:
    """The queue watch of a consumer."""
    roles = queue_roles(names_of(settings), full_topology(settings))
    return QueueWatch(queue_depths(cast("Any", consumer), roles), roles=roles, lanes=lanes, clock=clock)


class Deletion(msgspec.Struct, frozen=True):
    """A queue that somebody deleted.

    Attributes:
        queue: its name.
        lost: what was ready in it. What a consumer had in hand is not among it: that is handled.
    """

    queue: str
    lost: tuple[Outgoing, ...]


def delete_queue(broker: SimulatedBroker, name: str) -> Deletion:
    """Somebody deletes a queue, if it is there."""
    queue = broker.queues.get(name)
    lost = tuple(each.message for each in queue.ready) if queue is not None else ()
    broker.delete_queue(name)
    return Deletion(name, lost)


def declare_anew(broker: SimulatedBroker, queue: Queue) -> None:
    """Its owner declares a queue again; who binds it is another matter."""
    broker.declare_queue(queue.name, queue.arguments)


def declare_otherwise(broker: SimulatedBroker, queue: Queue) -> Deletion:
    """Somebody deletes a queue and declares it with other arguments: the daemons refuse it until it is put right."""
    deleted = delete_queue(broker, queue.name)
    broker.declare_queue(queue.name, {"x-queue-type": "quorum", "x-delivery-limit": 3})
    return deleted


def leave_over(broker: SimulatedBroker, names: Names) -> None:
    """What a source that is not configured any more has left: its queue, still bound, and a retry exchange."""
    broker.declare_queue(names.raw("old"), {"x-queue-type": "quorum"})
    broker.bind(names.intake, names.raw("old"), "old")
    broker.declare_exchange(names.retry(7), "fanout")


def unbind(broker: SimulatedBroker, binding: Binding) -> None:
    """Somebody removes a binding."""
    broker.unbind(binding.exchange, binding.destination, binding.routing_key, kind=binding.kind)
