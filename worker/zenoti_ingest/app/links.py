"""Connections to the broker, each ready once the broker has what the connection needs; and its management API."""

from collections.abc import Callable, Collection
from functools import partial

from aio_pika.abc import AbstractConnection
from yarl import URL

from zenoti_ingest.adapters.broker import Link, Prepare
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.broker.deletion_witness import Witnesses
from zenoti_ingest.adapters.broker.management import ManagementApi
from zenoti_ingest.adapters.broker.topology import Declared
from zenoti_ingest.adapters.secrets import Secret
from zenoti_ingest.app.sources import secret_of
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.failures.errors import BrokerUnavailable, WrongSettings
from zenoti_ingest.core.topology.declared import Topology
from zenoti_ingest.daemon import instance
from zenoti_ingest.settings import Settings, broker_urls
from zenoti_ingest.stages.topology_watch import TopologyWatch
from zenoti_ingest.telemetry import log

ENSURE_SECONDS = 30.0


def broker_link(
    settings: Settings,
    *,
    name: str,
    topology: Topology | None = None,
    prepare: Prepare | None = None,
    refuse_mismatch: bool = False,
    stays_up: bool = False,
    budget: SizeBudget | None = None,
) -> Link:
    """Return a connection that is ready once it is prepared; with a topology, once the broker has that topology.

    The connections of a daemon share its `budget`. While `broker.url_file` cannot be used, the connection counts the
    broker as away. Without `stays_up` the file must be usable at the start.

    Raises:
        WrongSettings: the file cannot be used, and `stays_up` is False.
    """
    secret = secret_of("broker.url", settings.broker.url, required=not stays_up)

    if not stays_up:
        _nodes(secret)

    def urls() -> list[str]:
        try:
            return _nodes(secret)
        except WrongSettings as error:
            raise BrokerUnavailable(str(error)) from error

    async def ensured(connection: AbstractConnection) -> None:
        if topology is not None:
            await ensure(settings, connection, topology)

    return Link(
        urls,
        name=f"zenoti-ingest {name} {instance()}",
        role=name,
        prepare=prepare or ensured,
        refuse_mismatch=refuse_mismatch,
        budget=budget or size_budget(settings),
    )


def _nodes(secret: Secret) -> list[str]:
    found = [url for text in secret.texts() for url in broker_urls(text)]
    if not found:
        raise WrongSettings(secret.fault)
    return found


def management_api(settings: Settings) -> ManagementApi | None:
    """Return RabbitMQ's management API, with the user of `broker.url`; None where no such API is configured.

    Raises:
        WrongSettings: the file of a URL cannot be used.
    """
    if not settings.broker.management_url:
        return None
    at = _first_node(settings)
    url = secret_of("broker.management_url", settings.broker.management_url).texts()[0]
    return ManagementApi(url=url, vhost=_vhost_in(at), user=at.user or "guest", password=at.password or "guest")


def broker_vhost(settings: Settings) -> str:
    """Return the virtual host in `broker.url`.

    Raises:
        WrongSettings: its file cannot be used.
    """
    return _vhost_in(_first_node(settings))


def _first_node(settings: Settings) -> URL:
    return URL(broker_urls(secret_of("broker.url", settings.broker.url).texts()[0])[0])


def _vhost_in(url: URL) -> str:
    return url.path.removeprefix("/") or "/"


def size_budget(settings: Settings) -> SizeBudget:
    """Return how large a body may be, for one process."""
    return SizeBudget(settings.broker.max_message_bytes)


async def ensure(settings: Settings, connection: AbstractConnection, topology: Topology) -> Declared:
    """Declare what is missing. Where the daemons may not declare, verify that all is there.

    Raises:
        TopologyMismatch: something on the broker is different; or something is missing that may not be declared.
    """
    if not settings.broker.declare:
        return await broker_topology.verify(connection, topology)
    declared = await broker_topology.declare(connection, topology)
    if declared.new_queues:
        log.info("topology_declared", queues=declared.new_queues)
    return declared


def topology_watch(
    settings: Settings,
    link: Link,
    topology: Topology,
    *,
    witnesses: Witnesses | None = None,
    note_absent: Callable[[Collection[str]], None] = lambda _: None,
) -> TopologyWatch:
    """Return a watch of the topology over a connection. With witnesses it also sees what was deleted between looks.

    A missing queue of a receiver concerns that receiver alone: after each look `note_absent` gets the receivers whose
    queues are missing.
    """
    receivers = {queue.name: queue.receiver for queue in topology.queues if queue.receiver}
    seen, may_declare = witnesses or Witnesses((), owner=str), settings.broker.declare

    async def missing(connection: AbstractConnection) -> list[str]:
        look = partial(broker_topology.compare, passive=True) if may_declare else broker_topology.missing_ends
        lost = [d.name for d in await look(connection, topology)]
        note_absent([receivers[name] for name in lost if name in receivers])
        found = [name for name in lost if name not in receivers]
        return found + [queue for queue in await seen.deleted(connection) if queue not in found]

    async def put_right(connection: AbstractConnection) -> list[str]:
        if may_declare:
            await ensure(settings, connection, topology)
        else:
            await broker_topology.still_there(connection, topology)
        return await seen.set_up(connection)

    return TopologyWatch(
        missing=partial(link.use, missing, within=ENSURE_SECONDS),
        ensure=partial(link.use, put_right, within=ENSURE_SECONDS),
    )
