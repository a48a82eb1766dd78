"""Enrich (EIP: content enricher): the events of a lane, one API call for all that wait for one invoice, then out.

One consumer of a lane is active at a time, so quota, coalescing and the order within an invoice need no coordinator.
Publish -> confirm -> ack. A publish that fails ends the subscription: the broker delivers again what was not settled.
"""

import asyncio
import time
from collections.abc import Awaitable

import msgspec

from schemas.enriched import Enrichment
from worker.adapters.broker import Delivery, Subscription
from worker.adapters.clock import utc_now
from worker.core import outbound
from worker.core.circuit import Circuit
from worker.core.duplicates import Seen
from worker.core.errors import (
    ApiRefusedUs,
    ApiThrottled,
    Malformed,
    PermanentError,
    PublishUnconfirmed,
    TransientError,
    Unroutable,
    WorkerError,
)
from worker.core.invoice_request import Invoice, decipher, request
from worker.core.messages import Outgoing, Received
from worker.core.quota import Quota
from worker.core.settle import DeadLetter, Hold, Ladder, Retry, defect_detail, settle
from worker.core.topology import Names
from worker.core.translate import Event, read
from worker.core.window import Round, Window
from worker.stages.ports import PUBLISH_SECONDS, Fetches, Publishes
from worker.stages.settling import bury, message_of
from worker.telemetry import (
    api_calls,
    circuit_open,
    duplicates,
    enriched,
    lane_events,
    log,
    retries,
)

MAX_HOLD_SECONDS = 30.0
QUIET_SECONDS = 0.02  # deliveries of a backlog follow each other far more closely
FILL_SECONDS = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a source wants its invoices: parts to ask for, calls at a time, what a failure becomes, and the ladder."""

    expand: tuple[str, ...]
    max_in_flight: int
    deliver_failures: bool
    ladder: Ladder


class _Filling(msgspec.Struct):
    """The backlog's arrival after a take-over: until when at most, and when the latest of it came."""

    until: float
    latest: float = 0.0


class _Held(msgspec.Struct, frozen=True):
    event: Event
    delivery: Delivery


class Lane:
    """The lane of one source.

    Args:
        publisher: the port to the broker.
        api: the port to the invoice API.
        names: of exchanges and queues.
        source: whose lane it is.
        prefetch: unacknowledged events looked at together.
        plan: how the source wants its invoices.
        quota: when the next call may go.
        seen: what this lane has passed on.
    """

    name = "enrich"

    def __init__(
        self,
        publisher: Publishes,
        api: Fetches,
        *,
        names: Names,
        source: str,
        prefetch: int,
        plan: Plan,
        quota: Quota,
        seen: Seen,
    ) -> None:
        self._publisher = publisher
        self._api = api
        self._names = names
        self._source = source
        self._plan = plan
        self._seen = seen
        self._window: Window[_Held] = Window()
        self._subscription: Subscription | None = None
        self._changed = asyncio.Event()
        self._filling: _Filling | None = None
        self.quota = quota
        self.circuit = Circuit()
        self.queue = names.lane(source)
        self.prefetch = prefetch

    @property
    def window(self) -> Window[_Held]:
        """The events in hand."""
        return self._window

    async def admit(self) -> None:
        """Return when the circuit is closed; until then probe with the invoice that failed last."""
        while self.circuit.is_open:
            await asyncio.sleep(max(self.circuit.probe_in(time.monotonic()), self.quota.wait(time.monotonic())))
            await self._probe(self.circuit.probe_invoice)

    def open(self, subscription: Subscription) -> None:
        """Be ready for deliveries."""
        self._window = Window()
        self._subscription = subscription
        self._filling = None

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Begin calls as quota and window allow, until the end; then finish those in flight."""
        async with asyncio.TaskGroup() as calls:
            while not (stop.is_set() or subscription.ended.is_set() or self.circuit.is_open):
                self._changed.clear()
                begun = self._begin()
                if begun is not None:
                    calls.create_task(self._serve_round(begun, subscription))
                    continue
                await self._wait_for_change()
            self._subscription = None
            await subscription.handled()
        self._window = Window()
        lane_events.labels(self._source).set(0)

    def wake(self) -> None:
        """Look again."""
        self._changed.set()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Put one event into the window."""
        subscription = self._subscription
        if subscription is None:
            return  # the channel is about to close, which hands it back
        message = message_of(delivery, source=self._source)
        try:
            event = self._understood(message)
        except Malformed as error:
            await self._guarded(self._bury(delivery, message, DeadLetter(error.reason, str(error)), None), subscription)
            return
        self._note_delivery(time.monotonic())
        order = (bool(message.replay), message.received_at, message.receipt_id)
        self._window.add(event.invoice_id or "", order=order, item=_Held(event, delivery))
        lane_events.labels(self._source).set(len(self._window))
        self._changed.set()

    def _note_delivery(self, now: float) -> None:
        """The first delivery tells that this consumer has become the active one: the lane's backlog is on its way."""
        if self._filling is None:
            self._filling = _Filling(until=now + FILL_SECONDS)
            self.quota.take_over(now)
        self._filling.latest = now

    def _is_filling(self, now: float) -> bool:
        """Whether more of the backlog is to be expected at once: what belongs to one call should share it."""
        filling = self._filling
        return filling is None or (
            now < filling.until and now - filling.latest < QUIET_SECONDS and len(self._window) < self.prefetch
        )

    def _understood(self, message: Received) -> Event:
        event = read(message)
        if event.invoice_id is None:
            raise Malformed("no invoice id, on a lane")  # translate sends none such; somebody else did
        return event

    def _begin(self) -> Round[_Held] | None:
        now = time.monotonic()
        if self._is_filling(now) or self._window.in_flight >= self._plan.max_in_flight or self.quota.wait(now) > 0:
            return None
        if self._filling is not None:
            self._filling.until = now
        begun = self._window.next_round(now)
        if begun is not None:
            self.quota.spend(now)
        return begun

    async def _wait_for_change(self) -> None:
        now = time.monotonic()
        waits = [self._window.next_change(now)]
        if self._window.invoices:
            waits += [self.quota.wait(now) or None, QUIET_SECONDS if self._is_filling(now) else None]
        timeout = min((wait for wait in waits if wait is not None), default=None)
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return  # the time that was waited for has come

    async def _serve_round(self, begun: Round[_Held], subscription: Subscription) -> None:
        """One call, and the settlement of every event that waited for it."""
        fetched_at = utc_now()
        try:
            invoice = await self._fetch(begun.invoice_id)
        except Exception as error:  # noqa: BLE001  # every failure has its row in core/settle.py, defects included
            self._note_failure(error, begun.invoice_id)
            if not isinstance(error, WorkerError):
                log.exception("defect", stage=self.name, source=self._source)
            await self._guarded(self._settle_failure(begun, error), subscription)
        else:
            self._note_success()
            await self._guarded(self._deliver_round(begun, invoice, fetched_at), subscription)
        lane_events.labels(self._source).set(len(self._window))
        self._changed.set()

    async def _fetch(self, invoice_id: str) -> Invoice:
        """Call and decipher; tell quota, metrics and log how it went."""
        expand = self._plan.expand
        try:
            response = await self._api.fetch(request(invoice_id, expand=expand))
            invoice = decipher(response, invoice_id=invoice_id, expand=expand)
        except Exception as error:
            if isinstance(error, ApiThrottled):
                self.quota.pause(error.retry_after, now=time.monotonic())
            kind, detail = type(error).__name__, _detail(error)
            api_calls.labels(self._source, kind).inc()
            log.warning("fetch_failed", source=self._source, invoice_id=invoice_id, error=kind, detail=detail)
            raise
        api_calls.labels(self._source, "ok").inc()
        log.info("invoice_fetched", source=self._source, invoice_id=invoice_id, missing=list(invoice.missing))
        return invoice

    def _note_failure(self, error: Exception, invoice_id: str) -> None:
        """Tell the circuit; an answer that says something of this invoice alone is a success of the API."""
        was_open = self.circuit.is_open
        match error:
            case ApiRefusedUs():
                self.circuit.failed(invoice_id, now=time.monotonic(), at_once=True)
            case ApiThrottled():
                pass
            case TransientError():
                self.circuit.failed(invoice_id, now=time.monotonic())
            case PermanentError():
                self._note_success()
        if self.circuit.is_open and not was_open:
            circuit_open.labels(self._source).set(1)
            log.error("circuit_opened", source=self._source, failures=self.circuit.failures, detail=_detail(error))

    def _note_success(self) -> None:
        if self.circuit.is_open:
            log.info("circuit_closed", source=self._source)
        self.circuit.succeeded()
        circuit_open.labels(self._source).set(0)

    async def _probe(self, invoice_id: str) -> None:
        """Ask whether the API is back; charges no event."""
        self.quota.spend(time.monotonic())
        try:
            await self._fetch(invoice_id)
        except PermanentError:
            self._note_success()
        except Exception as error:  # noqa: BLE001  # a defect too is a failed probe, and must not end the stage
            if not isinstance(error, WorkerError):
                log.exception("defect", stage=self.name, source=self._source)
            self.circuit.probe_failed(now=time.monotonic())
        else:
            self._note_success()

    async def _guarded(self, settling: Awaitable[None], subscription: Subscription) -> None:
        """Run a settlement; what was not confirmed, or a defect, ends the subscription and comes again."""
        try:
            await settling
        except (PublishUnconfirmed, Unroutable) as error:
            subscription.fail(str(error))
        except Exception:  # noqa: BLE001  # a defect must not end the process, nor leave events unsettled for ever
            log.exception("defect", stage=self.name, source=self._source)
            subscription.fail("a defect")

    async def _deliver_round(self, begun: Round[_Held], invoice: Invoice, fetched_at: str) -> None:
        enrichment = Enrichment(
            status="enriched", expand=self._plan.expand, missing=invoice.missing, fetched_at=fetched_at
        )
        for waiting in begun.waiting:
            await self._deliver(waiting.item, enrichment, invoice.document)
        self._window.finish(begun)

    async def _deliver(self, held: _Held, enrichment: Enrichment, invoice: bytes | None) -> None:
        """Publish one event and ack it, unless this lane has passed it on before."""
        key = held.event.duplicate_key
        if key is not None and self._seen.has(key, now=time.monotonic()):
            duplicates.labels(self._source, self.name).inc()
            log.info("duplicate_dropped", stage=self.name, source=self._source, event_id=held.event.id)
        else:
            outgoing = outbound.outgoing(
                held.event, exchange=self._names.events, enrichment=enrichment, invoice=invoice
            )
            await self._publish(outgoing)
            enriched.labels(self._source, enrichment.status).inc()
            if key is not None:
                self._seen.remember(key, now=time.monotonic())
        await held.delivery.ack()

    async def _settle_failure(self, begun: Round[_Held], error: Exception) -> None:
        for waiting in begun.waiting:
            held = waiting.item
            verdict = settle(error, attempt=held.event.received.attempts, ladder=self._plan.ladder)
            match verdict:
                case Hold():
                    # One error holds all events of a round or none.
                    failures = self.circuit.failures
                    pause = min(2.0 ** min(failures, 8), MAX_HOLD_SECONDS) if failures else 0.0
                    self._window.hold(begun, until=time.monotonic() + pause)
                    return
                case Retry(seconds, attempt):
                    await self._retry(held, seconds, attempt)
                case DeadLetter() if self._plan.deliver_failures:
                    enrichment = Enrichment(status="failed", expand=self._plan.expand, reason=verdict.reason)
                    await self._deliver(held, enrichment, None)
                case DeadLetter():
                    await self._bury(held.delivery, held.event.received, verdict, held.event)
        self._window.finish(begun)

    async def _retry(self, held: _Held, seconds: int, attempt: int) -> None:
        again = msgspec.structs.replace(held.event.received, attempts=attempt)
        await self._publish(again.to(exchange=self._names.retry(seconds), routing_key=self.queue))
        retries.labels(self._source).inc()
        log.info(
            "retried",
            stage=self.name,
            source=self._source,
            event_id=held.event.id,
            attempt=attempt,
            delay_seconds=seconds,
        )
        await held.delivery.ack()

    async def _bury(self, delivery: Delivery, message: Received, verdict: DeadLetter, event: Event | None) -> None:
        known = {"event_type": event.type, "event_id": event.id, "invoice_id": event.invoice_id or ""} if event else {}
        await bury(self._publisher, delivery, message, verdict, names=self._names, stage=self.name, **known)

    async def _publish(self, message: Outgoing) -> None:
        await self._publisher.publish(message, within=PUBLISH_SECONDS)


def _detail(error: Exception) -> str:
    return str(error) if isinstance(error, WorkerError) else defect_detail(error)
