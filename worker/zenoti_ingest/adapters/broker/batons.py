"""The batons of the lanes, each in a queue of its own. `core/invoices/baton` decides what a baton holds."""

from typing import Protocol

from zenoti_ingest.adapters.broker.needs import Publisher
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable, PermanentError, PublishUnconfirmed, Unroutable
from zenoti_ingest.core.invoices import baton
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.telemetry import log


class _Takes(Protocol):
    async def take(self, queue: str) -> bytes | None: ...


class BatonQueues:
    """The port `Batons`, over the broker.

    Args:
        publisher: the connection to publish on.
        consumer: the connection to consume on.
        names: the names of exchanges and queues.
    """

    def __init__(self, publisher: Publisher, consumer: _Takes, *, names: Names) -> None:
        self._publisher, self._consumer, self._names = publisher, consumer, names

    async def take(self, source: str) -> Baton | None:
        """See the port."""
        try:
            body = await self._consumer.take(self._names.turn(source))
        except BrokerUnavailable as error:
            log.debug("baton_untaken", source=source, detail=str(error))
            return None
        return None if body is None else baton.decode(body)

    async def put(self, source: str, given: Baton, *, within: float) -> bool:
        """See the port."""
        message = Outgoing(
            exchange=self._names.work,
            routing_key=self._names.turn(source),
            body=baton.encode(given),
            message_id="",  # nobody asks for it
            headers={},
            content_type=baton.CONTENT_TYPE,
        )
        try:
            await self._publisher.publish(message, within=within)
        except (PublishUnconfirmed, Unroutable, PermanentError) as error:
            log.debug("baton_unpublished", source=source, detail=str(error))
            return False
        return True
