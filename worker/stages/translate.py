"""Translate: raw body -> which event? -> to the lane, where an invoice is to be fetched, else straight out.

Publish -> confirm -> ack. Order is kept as the broker delivers it: a delivery's decision and the write of its publish
happen without a wait between them.
"""

import asyncio
import time

from schemas.enriched import Enrichment
from worker.adapters.broker import Delivery, Subscription
from worker.core import outbound
from worker.core.duplicates import Seen
from worker.core.errors import Malformed, PermanentError, PublishUnconfirmed, Unroutable
from worker.core.messages import Outgoing, Received
from worker.core.routing import any_matches, routing_key, wants_enrichment
from worker.core.settle import DeadLetter, defect_detail
from worker.core.topology import Names
from worker.core.translate import Event, read
from worker.stages.ports import PUBLISH_SECONDS, Publishes
from worker.stages.settling import bury, message_of
from worker.telemetry import duplicates, log, translated


class Translate:
    """The stage of one source; any number of processes run it side by side.

    Args:
        publisher: the port to the broker.
        names: of exchanges and queues.
        source: whose raw queue it reads.
        prefetch: unacknowledged events it holds.
        wanted: the binding keys of all downstreams.
        enrich: patterns of the types worth an API call.
        seen: what this process has passed on.
    """

    name = "translate"

    def __init__(
        self,
        publisher: Publishes,
        *,
        names: Names,
        source: str,
        prefetch: int,
        wanted: tuple[str, ...],
        enrich: tuple[str, ...],
        seen: Seen,
    ) -> None:
        self._publisher = publisher
        self._names = names
        self._source = source
        self._wanted = wanted
        self._enrich = enrich
        self._seen = seen
        self._subscription: Subscription | None = None
        self._changed = asyncio.Event()
        self.queue = names.raw(source)
        self.prefetch = prefetch

    async def admit(self) -> None:
        """Work may always be taken."""

    def open(self, subscription: Subscription) -> None:
        """Be ready for deliveries."""
        self._subscription = subscription

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Let deliveries come until the end, then wait for those in hand."""
        while not (stop.is_set() or subscription.ended.is_set()):
            self._changed.clear()
            await self._changed.wait()
        self._subscription = None
        await subscription.handled()

    def wake(self) -> None:
        """Look again."""
        self._changed.set()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Pass one event on; what cannot be published ends the subscription, and the broker delivers it again."""
        subscription = self._subscription
        if subscription is None:
            return  # the channel is about to close, which hands it back
        try:
            await self._pass_on(delivery)
        except (PublishUnconfirmed, Unroutable) as error:
            subscription.fail(str(error))

    async def _pass_on(self, delivery: Delivery) -> None:
        message = message_of(delivery, source=self._source)
        try:
            event = read(message)
            await self._send(event)
        except PermanentError as error:
            await self._bury(delivery, message, DeadLetter(error.reason, str(error)), error)
            return
        except (PublishUnconfirmed, Unroutable):
            raise
        except Exception as error:  # noqa: BLE001  # a defect: caught here, told, and kept as a letter
            log.exception("defect", stage=self.name, source=self._source, receipt_id=message.receipt_id)
            await self._bury(delivery, message, DeadLetter("defect", defect_detail(error)), None)
            return
        await delivery.ack()

    async def _send(self, event: Event) -> None:
        """Publish to the next hop, unless this process has passed the event on before."""
        key = event.duplicate_key
        if key is not None and self._seen.has(key, now=time.monotonic()):
            duplicates.labels(self._source, self.name).inc()
            log.info("duplicate_dropped", stage=self.name, source=self._source, event_id=event.id)
            return
        outgoing, to = self.next_hop(event)
        await self._publisher.publish(outgoing, within=PUBLISH_SECONDS)
        translated.labels(self._source, to).inc()
        if key is not None:
            self._seen.remember(key, now=time.monotonic())

    def next_hop(self, event: Event) -> tuple[Outgoing, str]:
        """Where an event goes, and a word for it."""
        wanted = any_matches(self._wanted, routing_key(self._source, event.type))
        if event.invoice_id is None:
            enrichment = Enrichment(status="not_applicable")
        elif wanted and wants_enrichment(self._enrich, event.type):
            lane = self._names.lane(self._source)
            return event.received.to(exchange=self._names.work, routing_key=lane), "lane"
        else:
            enrichment = Enrichment(status="skipped")
        return outbound.outgoing(event, exchange=self._names.events, enrichment=enrichment), enrichment.status

    async def _bury(
        self, delivery: Delivery, message: Received, verdict: DeadLetter, error: PermanentError | None
    ) -> None:
        known = {"event_type": error.event_type, "event_id": error.event_id} if isinstance(error, Malformed) else {}
        await bury(self._publisher, delivery, message, verdict, names=self._names, stage=self.name, **known)
