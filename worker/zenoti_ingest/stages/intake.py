"""Intake: admit -> publish to raw queue and archive -> confirmed -> 202; or else spool -> on disk -> 202.

The broker routes a publish to both queues, and confirms when both have it. If the raw queue is missing, it confirms for
the archive alone. So the topology is watched: while something is missing, all events go to the spool, and so do, once
more, the events that were confirmed since the topology was last seen whole.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from multidict import CIMultiDictProxy

from zenoti_ingest.adapters.http_door import Answer, Arrival
from zenoti_ingest.adapters.traces import UNTRACED
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.trace_context import PARENT, STATE, TraceContext, of_request
from zenoti_ingest.core.failures.errors import PublishUnconfirmed, SpoolUnavailable, TooLarge, Unroutable, WorkerError
from zenoti_ingest.core.intake.admission import Accept, Ping, Rule, judge
from zenoti_ingest.core.intake.detour import Detour
from zenoti_ingest.core.intake.recent import Recent
from zenoti_ingest.core.intake.spool_record import Spooled
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.ports import Publishes, Runtime, Spools, Traces
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import detour_on, door_unsigned, publishes_failed

_MAX_TYPE_CHARS = 200
_MAX_PROPERTY_BYTES = 255  # AMQP's short string


class DoorSource:
    """A source at the door: the header of its signature, and its present rule (secret files can change)."""

    def __init__(self, *, signature_header: str, rule: Callable[[], Rule]) -> None:
        self.signature_header = signature_header
        self.rule = rule


class Intake:
    """The stage behind the door.

    Args:
        publisher: the port to the broker.
        spool: the port to the disk.
        names: of exchanges and queues.
        sources: by name.
        confirm_seconds: how long a confirm may take; then the event goes to the spool.
        unavailable_reason: why nothing can be published now; empty: it can.
        runtime: clock and ids.
        traces: the port to where spans go.

    Attributes:
        recent: events confirmed since the topology was last seen whole.
        detours: by source.
    """

    def __init__(
        self,
        publisher: Publishes,
        spool: Spools,
        *,
        names: Names,
        sources: Mapping[str, DoorSource],
        confirm_seconds: float,
        unavailable_reason: Callable[[], str],
        runtime: Runtime,
        traces: Traces = UNTRACED,
    ) -> None:
        self._publisher = publisher
        self._traces = traces
        self._clock, self._ids = runtime.clock, runtime.ids
        self._spool = spool
        self._names = names
        self._sources = sources
        self._confirm_seconds = confirm_seconds
        self._unavailable_reason = unavailable_reason
        self.recent = Recent()
        self._owed = Recent()  # they are to go to the raw queue once more, and the spool did not take them
        self._losses = 0
        self.detours = {source: Detour(quick_seconds=confirm_seconds / 2) for source in sources}
        self.last_event_at: dict[str, str] = {}
        for source in sources:
            detour_on.labels(source).set(0)

    async def receive(self, arrival: Arrival) -> Answer:
        """Decide on a request; if it is admitted, store its event. Returns the answer."""
        source = self._sources[arrival.source]
        signatures = arrival.headers.getall(source.signature_header, [])
        rule = source.rule()
        tokens = (*arrival.tokens, *_bearer(arrival.headers)) if rule.tokens else ()
        verdict = judge(arrival.body, signatures=signatures, tokens=tokens, rule=rule)
        parent = (
            _caller(arrival.headers) if isinstance(verdict, Accept) else None
        )  # a stranger must not decide what is traced
        with self._traces.request(source=arrival.source, method=arrival.method, parent=parent) as span:
            if isinstance(verdict, Accept):
                if not verdict.signed:
                    door_unsigned.labels(arrival.source).inc()
                event = self._event(arrival, span.context)
                answer = self._answer(event, kept=await self._see_safe(event))
            else:
                answer = Answer(200) if isinstance(verdict, Ping) else Answer(verdict.status, detail=verdict.detail)
            span.answered(answer.status)
        return answer

    async def publish(self, event: Received, *, within: float, is_archived: bool = False) -> bool:
        """Publish an event as the door does, fresh or from the spool; whether the broker has confirmed it.

        Args:
            event: as the door took it.
            within: how long to wait for the confirm, in seconds.
            is_archived: the archive has it already: publish to the raw queue alone.

        Raises:
            TooLarge: the broker takes no body of this size; it counts as no failure of the broker.
        """
        detour = self.detours[event.source]
        if is_archived:
            outgoing = event.to(exchange=self._names.work, routing_key=self._names.raw(event.source))
        else:
            outgoing = event.to(exchange=self._names.intake, routing_key=event.source)
        losses, began = self._losses, self._clock.monotonic()
        try:
            await self._publisher.publish(outgoing, within=within)
        except TooLarge:
            raise
        except Exception as error:  # noqa: BLE001  # whatever the error, there was no confirm
            if not isinstance(error, PublishUnconfirmed | Unroutable):
                log.exception("defect", stage="intake", source=event.source)
            publishes_failed.labels(outgoing.exchange).inc()
            if not detour.is_on:
                log.warning("detour_begun", source=event.source, detail=_reason(error))
                detour_on.labels(event.source).set(1)
            detour.unconfirmed()
            return False
        if detour.confirmed(seconds=self._clock.monotonic() - began):
            log.info("detour_ended", source=event.source)
            detour_on.labels(event.source).set(0)
        if losses != self._losses:
            return False
        self.recent.add(event)
        return True

    def look_begins(self) -> None:
        """As TopologyObserver says."""
        self.recent.look_begins()

    async def look_was_good(self) -> None:
        """As TopologyObserver says."""
        self.recent.look_was_good()
        await self._send_again(self._owed.take())

    async def was_missing(self) -> None:
        """Send the events that were confirmed since the topology was last seen whole to the raw queues once more.

        They go by way of the spool, and not into the archive again. A publish under way counts as unconfirmed.
        """
        self._losses += 1
        forgotten_at, events = self.recent.forgotten_at, self.recent.take()
        if events:
            log.error("raw_queue_lost", again=len(events), archive_alone_until=forgotten_at or None)
        await self._send_again([*self._owed.take(), *events])

    async def _send_again(self, events: Sequence[Received]) -> None:
        await asyncio.gather(*map(self._again, events))

    async def _again(self, event: Received) -> None:
        try:
            await self._spool.put(Spooled(event=event, archived=True))
        except SpoolUnavailable:
            self._owed.add(event)  # the next look tries again, whatever it finds: the queue may be back by then

    def _event(self, arrival: Arrival, trace: TraceContext | None) -> Received:
        return Received(
            body=arrival.body,
            source=arrival.source,
            receipt_id=self._ids.sortable(),
            received_at=self._clock.utc_now(),
            path_type=_clean(arrival.path_type)[:_MAX_TYPE_CHARS],
            content_type=_property(arrival.headers.get("Content-Type")),
            content_encoding=_property(arrival.headers.get("Content-Encoding")),
            trace=trace,
        )

    def _answer(self, event: Received, *, kept: str) -> Answer:
        if not kept:
            return Answer(503, trace_id=event.trace_id, detail="neither the broker nor the spool can take the event")
        self.last_event_at[event.source] = event.received_at
        return Answer(202, receipt_id=event.receipt_id, trace_id=event.trace_id, kept=kept)

    async def _see_safe(self, event: Received) -> str:
        """Store the event; returns where (`broker` or `spool`), or an empty text if neither takes it."""
        detour = self.detours[event.source]
        straight = not self._unavailable_reason() and not detour.is_on
        if straight and await self._taken(event):
            return "broker"
        try:
            await self._spool.put(Spooled(event=event))
        except SpoolUnavailable:
            # The spool takes nothing, so a request must try the broker: one at a time, or they pile up unconfirmed.
            trial = not straight and not self._unavailable_reason() and detour.may_try(now=self._clock.monotonic())
            return "broker" if trial and await self._taken(event) else ""
        return "spool"

    async def _taken(self, event: Received) -> bool:
        """Whether the broker has confirmed it; an oversized event goes to the spool, which sets it aside."""
        try:
            return await self.publish(event, within=self._confirm_seconds)
        except TooLarge:
            return False


def _reason(error: Exception) -> str:
    """Why the broker did not take it; of an unforeseen error the class alone: its text may have customers' data."""
    return str(error) if isinstance(error, WorkerError) else type(error).__name__


def _caller(headers: CIMultiDictProxy[str]) -> TraceContext | None:
    """The trace context that a request brings."""
    return of_request(headers.getall(PARENT), headers.getall(STATE, [])) if PARENT in headers else None


def _bearer(headers: CIMultiDictProxy[str]) -> tuple[str, ...]:
    found = (value.partition(" ") for value in headers.getall("Authorization", []))
    return tuple(token.strip() for scheme, _, token in found if scheme.lower() == "bearer")


def _clean(text: str) -> str:
    """Text that AMQP can carry: undecodable bytes of the URL become question marks."""
    return text.encode("utf-8", "replace").decode()


def _property(value: str | None) -> str | None:
    """A header's value as an AMQP property; what a short string cannot carry is left out."""
    return value if value and value.isascii() and value.isprintable() and len(value) <= _MAX_PROPERTY_BYTES else None
