"""Enrich (EIP: content enricher): one API call serves all events of a lane that wait for the same invoice.

A lane has a single active consumer, so quota, coalescing and the order within an invoice need no coordinator. While
the circuit is open, the active consumer probes. It keeps one event, because only a consumer with an unsettled delivery
knows that it holds the lane. Publish -> confirm -> ack. A publish that fails ends the subscription, and the broker
delivers again what was not settled.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from math import inf

import msgspec

from zenoti_ingest.adapters.traces import NO_SPAN, UNTRACED
from zenoti_ingest.core.delivery.byte_shares import DEFAULT_ENRICH_MAX_BYTES, ByteShares
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.events import cloud_event
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.events.identity import UNKNOWN, Identity
from zenoti_ingest.core.events.messages import Outgoing, Received, carried, message_of
from zenoti_ingest.core.events.reading import Event, read
from zenoti_ingest.core.events.spans import HELD
from zenoti_ingest.core.failures.errors import (
    Malformed,
    PermanentError,
    PublishUnconfirmed,
    TooLarge,
    Unroutable,
    WorkerError,
)
from zenoti_ingest.core.failures.policy import (
    DEFECT,
    RETURNS_OF_A_SUSPECT,
    DeadLetter,
    Hold,
    Ladder,
    Retry,
    defect_detail,
    settle,
)
from zenoti_ingest.core.invoices.circuit import REMEMBERED, Blame, Circuit
from zenoti_ingest.core.invoices.filling import QUIET_SECONDS, Filling
from zenoti_ingest.core.invoices.lane_clock import LaneClock
from zenoti_ingest.core.invoices.protocol import Invoice
from zenoti_ingest.core.invoices.quota import Quota
from zenoti_ingest.core.invoices.window import Round, Window
from zenoti_ingest.core.operating.times import as_text
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.delivery_log import DeliveryLog
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.invoice_calls import InvoiceCalls
from zenoti_ingest.stages.ports import Batons, Publishes, Runtime, Span, States, Subscription, Traces
from zenoti_ingest.stages.room import Room
from zenoti_ingest.stages.settling import Settler, place_of, until_confirmed
from zenoti_ingest.stages.turn import Turn
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import fetched_events, fetches, lane_events
from zenoti_schemas.enriched import Enrichment
from zenoti_schemas.state import SourceState

MANY_CALLS_PER_MINUTE = 6000.0
KEY_POLL_SECONDS = 1.0  # nothing reports that a file has changed


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a source wants its invoices: how many calls at a time, what a failure becomes, and the retry ladder."""

    max_in_flight: int
    deliver_failures: bool
    ladder: Ladder


class _Held(msgspec.Struct):
    """An event in the window, packed, and what settles it; `since_ns` (Unix) and `span` are for its trace."""

    event: Event
    delivery: Delivery
    subscription: Subscription
    since_ns: int
    span: Span = NO_SPAN


class Lane:
    """The lane of one source.

    Args:
        publisher: the port to the broker.
        fan_out: the way to the receivers.
        calls: the way to the invoice API.
        names: of exchanges and queues.
        source: whose lane it is.
        prefetch: how many unacknowledged events it holds at most.
        max_bytes: bound on the inflated bodies in hand and the invoices that go out with them; a single event may be
            larger.
        plan: how the source wants its invoices.
        seen: keys of the events that this lane has passed on.
        states: how processes announce their state; None: there is no other process.
        batons: where a lane's holder leaves its quota for the next holder; None: there is no other process.
        runtime: clock and chance.
        budget: how large a body may be.
        archived: whether the archive has every event.
        traces: the port to where spans go.

    Attributes:
        clock: gives the invoices their `fetched_at`.
    """

    name = "enrich"

    def __init__(
        self,
        publisher: Publishes,
        fan_out: FanOut,
        calls: InvoiceCalls,
        *,
        names: Names,
        source: str,
        prefetch: int,
        plan: Plan,
        seen: DuplicateFilter,
        runtime: Runtime,
        max_bytes: int = DEFAULT_ENRICH_MAX_BYTES,
        states: States | None = None,
        batons: Batons | None = None,
        budget: SizeBudget | None = None,
        archived: bool = True,
        traces: Traces = UNTRACED,
    ) -> None:
        self._fan_out = fan_out
        self._states = states
        self.clock = LaneClock()
        self._host_clock = runtime.clock
        self._traces = traces
        self._names = names
        self._source = source
        self._plan = plan
        self._seen = seen
        self._budget = budget or SizeBudget()
        self._shuffle = runtime.chance.below(2**32)
        self._window: Window[_Held] = Window(shuffle=self._shuffle)
        self._subscription: Subscription | None = None
        self._changed = asyncio.Event()
        self._filling: Filling | None = None
        self._probes_only = False
        self._turn = Turn(calls, source=source, clock=runtime.clock, batons=batons, states=states)
        self._calling = 0
        self._is_held_up = False
        self.calls = calls
        self.source = source
        self.doing = "waiting"
        self._log = DeliveryLog(stage=self.name, source=source, clock=runtime.clock)
        self._settler = Settler(publisher, names=names, delivery_log=self._log, archived=archived, clock=runtime.clock)
        self.defects = self._settler.defects
        self._lane_events = lane_events.labels(source)
        self.queue = names.lane(source)
        self._prefetch = prefetch
        shares = ByteShares.of(max_bytes)
        self.max_bytes = shares.kept
        self._room = Room(shares.at_work)
        self._max_answer_bytes = shares.answers
        self._answer_bytes = 0  # of invoices whose events are not all out

    @property
    def prefetch(self) -> int:
        """How many deliveries it can hold now."""
        return 1 if self.circuit.is_open else self._prefetch

    @property
    def window(self) -> Window[_Held]:
        """The events in hand."""
        return self._window

    @property
    def quota(self) -> Quota:
        """When the next call may go."""
        return self.calls.quota

    @property
    def circuit(self) -> Circuit:
        """Whether calls may go at all."""
        return self.calls.circuit

    def heard(self, said: SourceState) -> None:
        """Take note of what another process announces about the lane."""
        if not self._turn.is_ours and said.events_held and said.circuit == "closed":
            self.calls.answered_elsewhere()
            self._changed.set()

    def open(self, subscription: Subscription) -> None:
        """Be ready for deliveries."""
        self._window = Window(shuffle=self._shuffle)
        self._subscription = subscription
        self._filling = None
        self._probes_only = self.circuit.is_open
        self._turn.open()

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Begin calls as quota and window allow, until the end; then finish those in flight, and hand the lane over."""
        async with asyncio.TaskGroup() as beside:
            keeping = beside.create_task(self._turn.keep(subscription, wake=self.wake))
            await self._serve(subscription, stop)
            keeping.cancel()
        await self._turn.hand_over(subscription)

    async def _serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        probing: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as rounds:
            while not (stop.is_set() or subscription.ended.is_set() or self.circuit.is_open != self._probes_only):
                self._changed.clear()
                # A single reading for all steps: a change between two readings would wake nobody.
                now = self._host_clock.monotonic()
                if self._probe_in(now) == 0:
                    if probed := self.calls.begin_probe(now):
                        probing = rounds.create_task(self._probe(probed))
                    continue
                begun = self._begin(now)
                if begun is not None:
                    rounds.create_task(self._serve_round(begun, subscription))
                    continue
                await self._wait_for_change(now)
            self._subscription = None
            subscription.leaving.set()
            self.calls.leave()
            if probing is not None:
                probing.cancel()  # no event waits for its answer
            if self.circuit.is_open and not self._probes_only:
                self.circuit.note_waiting(self._window.some_waiting(2 * REMEMBERED))
            await subscription.handled()
        self._window = Window(shuffle=self._shuffle)
        self._lane_events.set(0)

    def wake(self) -> None:
        """Check again what may begin."""
        self._changed.set()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Put one event into the window."""
        subscription = self._subscription
        if subscription is None:
            return  # the channel is about to close, which hands it back
        message = message_of(delivery, source=self._source)
        try:
            event = self._understood(message)
        except Exception as error:  # noqa: BLE001  # a defect is logged, and the event becomes a dead letter, as in translate
            verdict = self._verdict(error)
            await self._guarded(self._dead_letter(delivery, message, verdict, subscription=subscription), subscription)
            return
        now = self._host_clock.monotonic()
        taken_over = self._note_delivery(now)
        order = (bool(message.replay), message.received_at, message.receipt_id)
        suspect = delivery.returned >= RETURNS_OF_A_SUSPECT
        held = _Held(event, delivery, subscription, 1000 * self._host_clock.unix_microseconds())
        key = (event.fetch_key or "").lower()  # spellings of an id name one invoice; two calls at a time could cross
        self._window.add(key, order=order, item=held, now=now, suspect=suspect)
        self._lane_events.set(len(self._window))
        self._changed.set()
        if taken_over is not None:
            await self._take_over(taken_over, subscription)

    def _note_delivery(self, now: float) -> Filling | None:
        """With its first delivery this consumer has become the active consumer, and the lane's backlog follows.

        Returns:
            the filling that begins with this delivery; None: it was not the first.
        """
        first = self._filling is None
        if self._filling is None:
            self._filling = Filling.begun(now)
        self._filling.latest = now
        return self._filling if first else None

    async def _take_over(self, filling: Filling, subscription: Subscription) -> None:
        """Wait until the predecessor makes no more calls, and read what it announced about the lane's times."""
        await self._turn.take_over(subscription)
        if self._states is not None and not await self._states.catch_up():
            log.warning("lane_times_unheard", source=self._source)
        filling.is_taken_over = True
        self._changed.set()

    def _is_filling(self, now: float) -> bool:
        """Whether more of the backlog is expected at once: events of the same invoice should share a call."""
        is_full = len(self._window) >= self.prefetch
        return self._filling is None or self._filling.is_under_way(now, is_full=is_full)

    def _holds_up(self, now: float) -> bool:
        """Whether calls wait for something other than the quota: calls under way, their answers, the lease."""
        is_full = self._calling >= self._plan.max_in_flight or self._answer_bytes > self._max_answer_bytes
        return self._probes_only or is_full or self._is_filling(now) or not self.calls.lease.holds(now)

    @property
    def _has_calls_to_spare(self) -> bool:
        """Whether the quota is so large that our own work is the scarcer thing."""
        return self.quota.calls_per_minute >= MANY_CALLS_PER_MINUTE

    def _understood(self, message: Received) -> Event:
        event = read(message, max_bytes=self._budget.max_message_bytes)
        if event.fetch_key is None:
            raise Malformed("nothing to fetch, on a lane")  # translate sends no such event: another publisher did
        return event.packed()

    def _begin(self, now: float) -> Round[_Held] | None:
        was_held_up, self._is_held_up = self._is_held_up, self._holds_up(now)
        if (was_held_up or self._is_held_up) and self._window.key_count:
            self.quota.save_nothing(now)
        if self._is_held_up or self.calls.wait(now) > 0:
            return None
        if self._filling is not None:
            self._filling.until = now
        begun = self._window.next_round(now, may_linger=self._has_calls_to_spare)
        if begun is not None:
            self._calling += 1
            self.quota.spend(now)
        return begun

    async def _wait_for_change(self, now: float) -> None:
        waits = [self._window.next_change(now, may_linger=self._has_calls_to_spare)]
        waits += [self._probe_in(now), KEY_POLL_SECONDS if self._probes_only else None]
        if self._window.key_count:
            waits += [self.calls.wait(now) or None, QUIET_SECONDS if self._is_filling(now) else None]
        timeout = min((wait for wait in waits if wait not in (None, inf)), default=None)
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _serve_round(self, begun: Round[_Held], subscription: Subscription) -> None:
        """Make a call, and settle every event that waited for it."""
        received_at = (waiting.item.event.received.received_at for waiting in begun.waiting)
        fetched_at = self.clock.next(self._host_clock.unix_microseconds(), received_at)
        self._claim(fetched_at)
        spans = [self._trace(waiting.item) for waiting in begun.waiting]
        try:
            invoice = await self._fetch(begun.waiting[0].item.event.fetch_key or "", spans)
        except Exception as error:  # noqa: BLE001  # every failure, a defect too, has its row in core/failures/policy.py
            if not isinstance(error, WorkerError):
                log.exception("defect", stage=self.name, source=self._source)
            self._changed.set()  # a probe may be due
            blame = await self.calls.blame(begun.key, leaving=subscription.leaving)
            await self._guarded(self._settle_failure(begun, error, blame), subscription)
        else:
            self._answer_bytes += len(invoice.document)
            try:
                await self._guarded(self._deliver_round(begun, invoice, fetched_at), subscription)
            finally:
                self._answer_bytes -= len(invoice.document)
        for span in spans:
            span.end()
        self._lane_events.set(len(self._window))
        self._changed.set()

    def _probe_in(self, now: float) -> float:
        """Seconds until a probe is due. A standby consumer holds no event, and never probes."""
        return self.calls.probe_in(now) if len(self._window) else inf

    async def _probe(self, invoice_id: str) -> None:
        await self.calls.probe(invoice_id)
        self._changed.set()

    def _claim(self, fetched_at: int) -> None:
        """Announce to other processes, while the call is under way, how far the lane's times have come."""
        if self._states is not None and not self.clock.covers(fetched_at):
            self._states.say_soon()

    async def _claimed(self, fetched_at: int) -> None:
        """Return once a successor would know the time; after a failed announcement too, so that no event waits long."""
        for _ in range(2):  # a state under way when the call began may lack the time; the next state has it
            if self._states is None or self.clock.covers(fetched_at) or not await self._states.said():
                return
            self._claim(fetched_at)

    def _trace(self, held: _Held) -> Span:
        """Begin the span of an event in hand, from when it came; what the event becomes belongs to the span."""
        message = held.event.received
        place = place_of(held.delivery, stage=self.name, queue=self.queue)
        held.span = self._traces.processing(message, place, since_ns=held.since_ns)
        return held.span

    async def _fetch(self, invoice_id: str, spans: Sequence[Span]) -> Invoice:
        """Make one of `max_in_flight` calls. The next may begin once this ends, before its events are confirmed."""
        try:
            return await self.calls.fetch(invoice_id, serving=spans)
        finally:
            self._calling -= 1
            self._changed.set()

    async def _guarded(self, settling: Awaitable[None], subscription: Subscription) -> None:
        """Run a settlement. An unconfirmed publish or a defect ends the subscription, and the events come again."""
        try:
            await settling
        except (PublishUnconfirmed, Unroutable) as error:
            subscription.fail(str(error))
        except Exception:  # noqa: BLE001  # a defect must neither end the process nor leave events unsettled
            log.exception("defect", stage=self.name, source=self._source)
            subscription.fail("a defect", defect=True)

    async def _deliver_round(self, begun: Round[_Held], invoice: Invoice, fetched_at: int) -> None:
        await self._claimed(fetched_at)
        enrichment = Enrichment(
            status="enriched",
            expand=self.calls.parts_of(begun.key),
            missing=invoice.missing,
            fetched_at=as_text(fetched_at),
        )
        fetches.labels(self._source).inc()
        fetched_events.labels(self._source).inc(len(begun.waiting))
        for waiting in begun.waiting:
            held = waiting.item
            try:
                await self._deliver(held, enrichment, invoice.document)
            except TooLarge as error:
                await self._give_up(held, DeadLetter(error.reason, str(error)))
            except (PublishUnconfirmed, Unroutable):
                raise
            except Exception as error:  # noqa: BLE001  # a defect with an event: the other events of its invoice go out
                await self._dead(held, self._verdict(error))
        self._window.finish(begun)

    def _verdict(self, error: Exception) -> DeadLetter:
        """The dead letter of an event that cannot be read or published."""
        if isinstance(error, PermanentError):
            return DeadLetter(error.reason, str(error))
        log.exception("defect", stage=self.name, source=self._source)
        return DeadLetter(DEFECT, defect_detail(error))

    async def _deliver(self, held: _Held, enrichment: Enrichment, invoice: bytes | None) -> None:
        """Publish an event and ack it; a duplicate of what this lane has passed on is only acked."""
        key = held.event.duplicate_key
        if key is not None and self._seen.has(key, now=self._host_clock.monotonic()):
            held.delivery.ack()
            self._log.duplicate_dropped(held.delivery, held.event, span=held.span)
        else:
            await self._send(held, enrichment, invoice)
            if key is not None:
                self._seen.remember(key, now=self._host_clock.monotonic())
            held.delivery.ack()
            to, reason = enrichment.status, enrichment.reason or ""
            self._log.passed_on(held.delivery, held.event, span=held.span, to=to, reason=reason)
        self.defects.went_well()

    async def _send(self, held: _Held, enrichment: Enrichment, invoice: bytes | None) -> None:
        """Publish an event with its invoice, once there is room in memory for both.

        Raises:
            PublishUnconfirmed: the broker may not have it; or the subscription has failed meanwhile.
            Unroutable, TooLarge: as `until_confirmed` says.
        """
        subscription = held.subscription
        with await self._room.enter(len(held.event.received.body) + len(invoice or b"")) as at_work:
            if at_work.has_waited and subscription.ended.is_set() and not subscription.orderly:
                raise PublishUnconfirmed(subscription.detail)
            event = held.event.unpacked(max_bytes=self._budget.max_message_bytes)
            if event is not held.event:
                at_work.grow(len(event.body))
            await self._pass_on(
                held, cloud_event.outgoing(event, exchange=self._names.events, enrichment=enrichment, fetched=invoice)
            )

    async def _settle_failure(self, begun: Round[_Held], error: Exception, blame: Blame) -> None:
        for waiting in begun.waiting:
            held = waiting.item
            verdict = settle(error, attempt=held.event.received.attempts, ladder=self._plan.ladder, blame=blame)
            match verdict:
                case Hold():  # an error holds all events of a round or none; quota and circuit say when to call again
                    for each in begun.waiting:
                        each.item.span.outcome(HELD, error=type(error).__name__)
                    self._window.hold(begun, until=self._host_clock.monotonic())
                    return
                case Retry(seconds, attempt):
                    await self._retry(held, seconds, attempt, reason=type(error).__name__)
                case DeadLetter():
                    await self._give_up(held, verdict)
        self._window.finish(begun)

    async def _give_up(self, held: _Held, verdict: DeadLetter) -> None:
        """Publish the event without its invoice if the source is configured so; else write its dead letter."""
        if self._plan.deliver_failures:
            enrichment = Enrichment(
                status="failed", expand=self.calls.parts_of(held.event.fetch_key or ""), reason=verdict.reason
            )
            try:
                await self._deliver(held, enrichment, None)
            except TooLarge as error:
                verdict = DeadLetter(error.reason, str(error))
            else:
                return
        await self._dead(held, verdict)

    async def _retry(self, held: _Held, seconds: int, attempt: int, *, reason: str) -> None:
        again = msgspec.structs.replace(held.event.received, attempts=attempt)
        outgoing = again.to(exchange=self._names.retry(seconds), routing_key=self.queue)
        try:
            await self._publish(held, outgoing)
        except TooLarge as error:
            await self._dead(held, DeadLetter(error.reason, str(error)))
            return
        held.delivery.ack()
        self._log.retried(held.delivery, held.event, span=held.span, delay_seconds=seconds, reason=reason)

    async def _pass_on(self, held: _Held, outgoing: Outgoing) -> None:
        carried_on = carried(outgoing, held.span.context)
        publication = self._fan_out.publication(carried_on, only=held.event.received.only_to)
        await until_confirmed(publication.attempt, exchange=outgoing.exchange, subscription=held.subscription)

    async def _publish(self, held: _Held, outgoing: Outgoing) -> None:
        with await self._room.enter(len(outgoing.body)):
            await self._settler.publish(carried(outgoing, held.span.context), subscription=held.subscription)

    async def _dead(self, held: _Held, verdict: DeadLetter) -> None:
        event = held.event
        await self._dead_letter(
            held.delivery,
            msgspec.structs.replace(event.received, trace=held.span.context or event.received.trace),
            verdict,
            subscription=held.subscription,
            span=held.span,
            identity=event.identity,
        )

    async def _dead_letter(
        self,
        delivery: Delivery,
        message: Received,
        verdict: DeadLetter,
        *,
        subscription: Subscription,
        span: Span = NO_SPAN,
        identity: Identity = UNKNOWN,  # of a message that could not be read
    ) -> None:
        with await self._room.enter(len(message.body)):
            await self._settler.dead_letter(
                delivery, message, verdict, subscription=subscription, span=span, identity=identity
            )
