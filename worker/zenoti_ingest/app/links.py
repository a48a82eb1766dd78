"""Connections to the broker that are ready once it has what they need."""

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
    """A connection that is ready once it is prepared; where a topology is given, once the broker has that.

    The connections of a daemon share its `budget`. A `broker.url_file` that cannot be used is a broker that is away:
    with `stays_up` from the start on, else once the file could be used.

    Raises:
        WrongSettings: the file cannot be used.
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
    """RabbitMQ's management API, asked as the user of `broker.url`; None where none is configured."""
    if not settings.broker.management_url:
        return None
    at = URL(broker_urls(secret_of("broker.url", settings.broker.url).texts()[0])[0])
    url = secret_of("broker.management_url", settings.broker.management_url).texts()[0]
    return ManagementApi(url=url, vhost=vhost_of(at), user=at.user or "guest", password=at.password or "guest")


def vhost_of(url: URL) -> str:
    """The virtual host in a broker's URL."""
    return url.path.removeprefix("/") or "/"


def size_budget(settings: Settings) -> SizeBudget:
    """How large a body may be, for one process."""
    return SizeBudget(settings.broker.max_message_bytes)


async def ensure(settings: Settings, connection: AbstractConnection, topology: Topology) -> Declared:
    """Declare what is missing; or, where the daemons may not, verify.

    Raises:
        TopologyMismatch: it cannot be as declared.
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
    """An eye on the topology, by a connection; with witnesses also on what was missing in the meantime.

    A missing queue of a receiver concerns that receiver alone: `note_absent` is given the receivers of each look.
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
