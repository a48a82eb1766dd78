"""The whole topology on a real RabbitMQ: it can be declared again, and it carries."""

from tests.conftest import Hand, topology_of
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.broker.topology import Declared
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.topology.names import Names


async def test_the_whole_topology_is_declared_and_stays_as_it_is(hand: Hand, names: Names) -> None:
    """What was declared is neither missing nor different; to declare it again finds nothing new, changes nothing."""
    topology = topology_of(names)
    await hand.put(Outgoing(exchange=names.work, routing_key=names.dead, body=b"kept", message_id="1", headers={}))
    assert await broker_topology.compare(hand.connection, topology) == []
    assert await broker_topology.declare(hand.connection, topology) == Declared(0)
    await broker_topology.verify(hand.connection, topology)
    assert [m.body for m in await hand.drain(names.dead)] == [b"kept"]


async def test_the_whole_topology_carries(hand: Hand, names: Names) -> None:
    """A message finds every queue that it is meant for: raw and archive, each downstream by its patterns, unrouted."""

    async def reached(exchange: str, key: str) -> list[str]:
        await hand.put(Outgoing(exchange=exchange, routing_key=key, body=b"x", message_id="1", headers={}))
        quorum = [q.name for q in topology_of(names).queues if q.arguments["x-queue-type"] == "quorum"]
        quorum.remove(names.turn("main"))  # it begins with a baton
        found = [
            queue.removeprefix(names.prefix)
            for queue in quorum
            if queue != names.turn("main") and await hand.ready(queue)
        ]
        await hand.purge(topology_of(names))
        return found

    assert await reached(names.intake, "main") == [".raw.main"]
    assert await reached(names.work, names.lane("main")) == [".enrich.main.0"]
    assert await reached(names.events, "main.invoice.closed") == [".out.all", ".out.invoices"]
    assert await reached(names.events, "main.guest.created") == [".out.all"]
    assert await reached(names.events, "without-a-source") == [".out.all"]
    assert (await hand.ready(names.archive)) >= 0
