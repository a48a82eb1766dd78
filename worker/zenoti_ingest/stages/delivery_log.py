"""Records each settled delivery: a log line, its span's outcome, and metrics. Only this module records them."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.identity import Identity
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.reading import Event
from zenoti_ingest.core.events.spans import DEAD_LETTER, DUPLICATE, RETRIED
from zenoti_ingest.core.failures.dead_letter import TRANSLATE
from zenoti_ingest.core.failures.policy import DeadLetter
from zenoti_ingest.core.operating.times import seconds_since
from zenoti_ingest.stages.ports import Clock, Span
from zenoti_ingest.telemetry import log, log_canonical
from zenoti_ingest.telemetry.metrics import (
    dead_letters,
    duplicates,
    enriched,
    retries,
    stage_seconds,
    translated,
    way_seconds,
)
from zenoti_schemas.webhook import EVENTS

LANE = "lane"  # where translate publishes an event that needs a call


class Outcome(StrEnum):
    """What a settled delivery became."""

    PASSED_ON = "passed_on"
    DUPLICATE_DROPPED = "duplicate_dropped"
    RETRIED = "retried"
    DEAD_LETTERED = "dead_lettered"


class DeliveryLog:
    """Records the deliveries of a stage and source. Each method is called after the ack.

    Args:
        stage: `translate` or `enrich`.
        source: whose events.
        clock: the port.
    """

    def __init__(self, *, stage: str, source: str, clock: Clock) -> None:
        self.stage = stage
        self._source = source
        self._clock = clock
        self._seconds = stage_seconds.labels(stage, source)
        self._passed_on = translated if stage == TRANSLATE else enriched

    def passed_on(self, delivery: Delivery, event: Event, *, span: Span, to: str, reason: str = "") -> None:
        """The next queue has confirmed the event.

        Args:
            delivery: as it came.
            event: as it was read.
            span: of the delivery.
            to: LANE, or the status with which it came out.
            reason: why it came out without its invoice.
        """
        span.outcome(to, error=reason)
        self._passed_on.labels(self._source, to).inc()
        age = self._write(
            log_canonical, Outcome.PASSED_ON, delivery, event.received, event.identity, to=to, reason=reason
        )
        if to != LANE and age is not None and not event.received.replay and not event.received.redriven:
            way_seconds.labels(self._source, to).observe(age)

    def duplicate_dropped(self, delivery: Delivery, event: Event, *, span: Span) -> None:
        """The event had been passed on before."""
        span.outcome(DUPLICATE)
        duplicates.labels(self._source, self.stage).inc()
        self._write(log_canonical, Outcome.DUPLICATE_DROPPED, delivery, event.received, event.identity)

    def retried(self, delivery: Delivery, event: Event, *, span: Span, delay_seconds: int, reason: str) -> None:
        """The event is in a retry queue, and comes again after the delay."""
        span.outcome(RETRIED, error=reason)
        retries.labels(self._source).inc()
        at = {"delay_seconds": delay_seconds}
        self._write(log_canonical, Outcome.RETRIED, delivery, event.received, event.identity, **at, reason=reason)

    def dead_lettered(
        self, delivery: Delivery, message: Received, verdict: DeadLetter, *, span: Span, identity: Identity
    ) -> None:
        """The broker has confirmed the dead letter."""
        span.outcome(DEAD_LETTER, error=verdict.reason)
        dead_letters.labels(message.source, verdict.reason).inc()
        reason, detail = verdict.reason, verdict.detail
        self._write(log.warning, Outcome.DEAD_LETTERED, delivery, message, identity, reason=reason, detail=detail)

    def _write(
        self,
        how: Callable[..., Any],
        outcome: Outcome,
        delivery: Delivery,
        message: Received,
        identity: Identity,
        **more: str | int,
    ) -> float | None:
        """Write the log line; returns the event's age in seconds, or None if it has no time of receipt."""
        seconds = self._clock.monotonic() - delivery.came_at
        self._seconds.observe(seconds)
        age = seconds_since(message.received_at, now=self._clock.unix_microseconds())
        line = {name: value for name, value in (msgspec.structs.asdict(identity) | more).items() if value}
        if identity.event_type not in EVENTS:
            line.pop("event_type", None)  # text of unknown origin
        if message.receipt_id:
            line["receipt_id"] = message.receipt_id
        if message.trace is not None:
            line["trace_id"] = message.trace.trace_id
        how(
            "delivery",
            stage=self.stage,
            source=self._source,
            outcome=outcome.value,
            attempt=message.attempts,
            seconds=round(seconds, 4),
            **line,
            **({} if age is None else {"age_seconds": round(age, 3)}),
        )
        return age
