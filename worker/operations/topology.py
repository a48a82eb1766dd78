"""`topology plan | apply | export`: the declared topology and the broker's."""

from aio_pika.abc import AbstractConnection
from yarl import URL

from worker.adapters import broker_topology
from worker.app import full_topology, secret_of
from worker.core.topology import definitions
from worker.operations.link import connected
from worker.operations.terminal import document, say, show, table
from worker.settings import Settings, broker_urls

WITHIN_SECONDS = 60.0


async def plan(settings: Settings, *, as_json: bool) -> int:
    """Compare; 0 where both are the same, 1 where they differ."""
    found: list[broker_topology.Difference] = []

    async def compare(connection: AbstractConnection) -> None:
        found.extend(await broker_topology.compare(connection, full_topology(settings)))

    async with connected(settings, name="topology plan") as link:
        await link.use(compare, within=WITHIN_SECONDS)
    if as_json:
        document({"same": not found, "differences": found})
    elif found:
        show(table(["kind", "name", "is", "detail"], [(d.kind, d.name, d.state, d.detail) for d in found]))
    else:
        say("The broker has every exchange and queue as declared.")
    return 1 if found else 0


async def apply(settings: Settings, *, as_json: bool) -> int:
    """Declare what is missing, and bind.

    Raises:
        TopologyMismatch: something is there with other arguments.
    """
    made: list[int] = []

    async def declare(connection: AbstractConnection) -> None:
        made.append(await broker_topology.declare(connection, full_topology(settings)))

    async with connected(settings, name="topology apply") as link:
        await link.use(declare, within=WITHIN_SECONDS)
    if as_json:
        document({"new_queues": made[0]})
    else:
        say(f"Declared: {made[0]} new queues; the rest was there.")
    return 0


async def export(settings: Settings) -> int:
    """Print RabbitMQ definitions."""
    first = secret_of("broker.url", settings.broker.url).texts()[0]
    vhost = URL(broker_urls(first)[0]).path.removeprefix("/") or "/"
    document(definitions(full_topology(settings), vhost=vhost))
    return 0
