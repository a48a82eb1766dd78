"""Translate (EIP: message translator): read a raw body as an event; publish it to the lane, or straight out.

An event goes to the lane if its invoice is to be fetched. Publish -> confirm -> ack. Events keep the order in which the
broker delivers them, since nothing is awaited between the decision on an event and the write of its publish.
"""

import asyncio

import msgspec

from zenoti_ingest.adapters.traces import UNTRACED
from zenoti_ingest.core.delivery.byte_shares import DEFAULT_TRANSLATE_MAX_BYTES, ByteShares
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.events import cloud_event
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.events.identity import UNKNOWN, Identity
from zenoti_ingest.core.events.messages import Outgoing, Received, message_of
from zenoti_ingest.core.events.reading import Event, read
from zenoti_ingest.core.events.routing import routing_key, wants_enrichment
from zenoti_ingest.core.events.spans import HANDED_BACK
from zenoti_ingest.core.failures.errors import Malformed, PermanentError, PublishUnconfirmed, Unroutable
from zenoti_ingest.core.failures.policy import DEFECT, RETURNS_OF_A_SUSPECT, DeadLetter, defect_detail
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.delivery_log import LANE, DeliveryLog
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.ports import Publishes, Runtime, Span, Subscription, Traces
from zenoti_ingest.stages.room import AtWork, Room
from zenoti_ingest.stages.settling import Settler, place_of, until_confirmed
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import unrouted
from zenoti_schemas.enriched import Enrichment


class Translate:
    """The stage of a source; any number of processes run it side by side.

    Args:
        publisher: the port to the broker.
        fan_out: the way to the receivers.
        names: of exchanges and queues.
        source: whose raw queue it reads.
        prefetch: how many unacknowledged events it holds at most.
        max_bytes: bound on the inflated bodies in hand; a single body may be larger.
        enrich: patterns of the types worth an API call.
        seen: keys of the events that this process has passed on.
        budget: how large a body may be.
        archived: whether the archive has every event.
        runtime: clock and chance.
        traces: the port to where spans go.
    """

    name = "translate"

    def __init__(
        self,
        publisher: Publishes,
        fan_out: FanOut,
        *,
        names: Names,
        source: str,
        prefetch: int,
        enrich: tuple[str, ...],
        seen: DuplicateFilter,
        runtime: Runtime,
        max_bytes: int = DEFAULT_TRANSLATE_MAX_BYTES,
        budget: SizeBudget | None = None,
        archived: bool = True,
        traces: Traces = UNTRACED,
    ) -> None:
        self._fan_out = fan_out
        self._traces = traces
        self._names = names
        self.source = source
        self._enrich = enrich
        self._seen = seen
        self._clock, self._chance = runtime.clock, runtime.chance
        self._budget = budget or SizeBudget()
        self._subscription: Subscription | None = None
        self._changed = asyncio.Event()
        self._passing: dict[str, asyncio.Event] = {}  # keys of the events whose publish is under way
        self._suspects: list[Delivery] = []
        self._in_hand = 0
        self._nobody_alone = asyncio.Event()
        self._nobody_alone.set()
        self.doing = "waiting"
        self._log = DeliveryLog(stage=self.name, source=source, clock=runtime.clock)
        self._settler = Settler(publisher, names=names, delivery_log=self._log, archived=archived, clock=runtime.clock)
        self.defects = self._settler.defects
        self.queue = names.raw(source)
        self.prefetch = prefetch
        shares = ByteShares.of(max_bytes)
        self.max_bytes = shares.kept
        self._room = Room(shares.at_work)

    def open(self, subscription: Subscription) -> None:
        """Be ready for deliveries."""
        self._subscription = subscription
        self._suspects = []

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Take suspects whenever nothing else is in hand, until the end; then finish what is in hand."""
        while not (stop.is_set() or subscription.ended.is_set()):
            self._changed.clear()
            if self._suspects and not self._in_hand:
                await self._take_suspect(subscription)
            else:
                await self._changed.wait()
        self._subscription = None
        subscription.leaving.set()
        await subscription.handled()

    def wake(self) -> None:
        """Check again whether a suspect can be taken."""
        self._changed.set()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Handle a delivery; a suspect, which has come back several times, waits until nothing else is in hand."""
        subscription = self._subscription
        if subscription is None:
            return  # the channel is about to close, which hands it back
        if delivery.returned >= RETURNS_OF_A_SUSPECT:
            self._suspects.append(delivery)
            self._changed.set()
            return
        await self._nobody_alone.wait()
        self._in_hand += 1
        try:
            await self._take(delivery, subscription)
        finally:
            self._in_hand -= 1
            if self._suspects:
                self._changed.set()

    async def _take_suspect(self, subscription: Subscription) -> None:
        """Take a random suspect: the delivery that kills the process must not always come first."""
        suspect = self._suspects.pop(self._chance.below(len(self._suspects)))
        self._nobody_alone.clear()
        try:
            await self._take(suspect, subscription)
        finally:
            self._nobody_alone.set()

    async def _take(self, delivery: Delivery, subscription: Subscription) -> None:
        """Settle a delivery; if its publish fails it stays unsettled, and the broker delivers it again."""
        with await self._room.enter(len(delivery.body)) as at_work:
            if not (at_work.has_waited and subscription.leaving.is_set()):
                await self._handle(delivery, subscription, at_work)

    async def _handle(self, delivery: Delivery, subscription: Subscription, at_work: AtWork) -> None:
        message = message_of(delivery, source=self.source)
        place = place_of(delivery, stage=self.name, queue=self.queue)
        with self._traces.processing(message, place) as span:
            if span.context is not None:
                message = msgspec.structs.replace(message, trace=span.context)
            try:
                await self._pass_on(message, delivery, subscription, span, at_work)
            except (PublishUnconfirmed, Unroutable) as error:
                span.outcome(HANDED_BACK, error=type(error).__name__)
                subscription.fail(str(error))

    async def _pass_on(
        self, message: Received, delivery: Delivery, subscription: Subscription, span: Span, at_work: AtWork
    ) -> None:
        event: Event | None = None
        try:
            event = read(message, max_bytes=self._budget.max_message_bytes)
            if event.body is not message.body:
                at_work.grow(len(event.body))
            to = await self._send(event, subscription)
        except PermanentError as error:
            verdict = DeadLetter(error.reason, str(error))
            await self._settler.dead_letter(
                delivery, message, verdict, subscription=subscription, span=span, identity=_identity(event, error)
            )
        except (PublishUnconfirmed, Unroutable):
            raise
        except Exception as error:  # noqa: BLE001  # a defect is logged, and the event becomes a dead letter
            ids = {"receipt_id": message.receipt_id, "trace_id": message.trace_id}
            log.exception("defect", stage=self.name, source=self.source, **ids)
            verdict = DeadLetter(DEFECT, defect_detail(error))
            await self._settler.dead_letter(
                delivery, message, verdict, subscription=subscription, span=span, identity=UNKNOWN
            )
        else:
            delivery.ack()
            if to is None:
                self._log.duplicate_dropped(delivery, event, span=span)
            else:
                self._log.passed_on(delivery, event, span=span, to=to)
            self.defects.went_well()

    async def _send(self, event: Event, subscription: Subscription) -> str | None:
        """Publish to the next hop; returns where, or None: this process has passed the event on before."""
        key = event.duplicate_key
        if key is None:
            return await self._publish(event, subscription)
        while (passing := self._passing.get(key)) is not None:
            await passing.wait()
        if self._seen.has(key, now=self._clock.monotonic()):
            return None
        self._passing[key] = passed = asyncio.Event()
        try:
            to = await self._publish(event, subscription)
            self._seen.remember(key, now=self._clock.monotonic())
        finally:
            del self._passing[key]
            passed.set()
        return to

    async def _publish(self, event: Event, subscription: Subscription) -> str:
        outgoing, to = self.next_hop(event)
        if to == LANE:
            await self._settler.publish(outgoing, subscription=subscription)
        else:
            publication = self._fan_out.publication(outgoing, only=event.received.only_to)
            await until_confirmed(publication.attempt, exchange=outgoing.exchange, subscription=subscription)
            if not publication.is_wanted:
                unrouted.labels(self.source).inc()
        return to

    def next_hop(self, event: Event) -> tuple[Outgoing, str]:
        """The message for the next hop, and where it goes: LANE, or the status with which it comes out."""
        key = routing_key(self.source, event.type)
        wanted = bool(self._fan_out.receivers.wanting(key, only=event.received.only_to))
        if event.fetch_key is None:
            enrichment = Enrichment(status="not_applicable")
        elif wanted and wants_enrichment(self._enrich, event.type):
            lane = self._names.lane(self.source)
            return event.received.to(exchange=self._names.work, routing_key=lane), LANE
        else:
            enrichment = Enrichment(status="skipped")
        return cloud_event.outgoing(event, exchange=self._names.events, enrichment=enrichment), enrichment.status


def _identity(event: Event | None, error: PermanentError) -> Identity:
    """What names the event of a dead letter, whether it could be read or not."""
    if event is not None:
        return event.identity
    return error.identity if isinstance(error, Malformed) else UNKNOWN
