"""What a consuming stage tells of each delivery that it has settled: one line in the log, and its times as metrics."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from zenoti_ingest.adapters.broker import Delivery
from zenoti_ingest.adapters.clock import seconds_since
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.reading import Event
from zenoti_ingest.telemetry import log, tell
from zenoti_ingest.telemetry.metrics import stage_seconds, way_seconds
from zenoti_schemas.webhook import EVENTS


class Journal:
    """Of one stage and source.

    Args:
        stage: `translate` or `enrich`.
        source: whose events.
    """

    def __init__(self, *, stage: str, source: str) -> None:
        self.stage = stage
        self._source = source
        self._seconds = stage_seconds.labels(stage, source)

    def settled(
        self, delivery: Delivery, event: Event, outcome: str, *, came_out: bool = False, **more: str | int
    ) -> None:
        """An event that was understood has been acknowledged as `passed_on`, `duplicate_dropped` or `retried`.

        Args:
            delivery: as it came.
            event: as it was read.
            outcome: one of the three words.
            came_out: it has gone to the downstreams, with the status in `more["to"]`.
            more: fields of the line; what is empty is left out.
        """
        ids = {"event_id": event.event_id or "", "cloudevent_id": event.id, "invoice_id": event.invoice_id or ""}
        known = {**ids, "event_type": event.type, **more}
        message = event.received
        age = self._tell(tell, delivery, message, outcome, known)
        if came_out and age is not None and not message.replay and not message.redriven:
            way_seconds.labels(self._source, known["to"]).observe(age)

    def buried(self, delivery: Delivery, message: Received, **more: str) -> None:
        """A delivery has been acknowledged as a dead letter."""
        self._tell(log.warning, delivery, message, "dead_lettered", more)

    def _tell(
        self, how: Callable[..., Any], delivery: Delivery, message: Received, outcome: str, more: Mapping[str, Any]
    ) -> float | None:
        """Write the line, and return the event's age in seconds where that is known."""
        seconds = asyncio.get_running_loop().time() - delivery.came_at
        self._seconds.observe(seconds)
        age = seconds_since(message.received_at)
        told = {name: value for name, value in more.items() if value}
        if more["event_type"] not in EVENTS:
            told.pop("event_type", None)  # a stranger's text
        if message.receipt_id:
            told["receipt_id"] = message.receipt_id
        if message.trace is not None:
            told["trace_id"] = message.trace.trace_id
        if age is not None:
            told["age_seconds"] = round(age, 3)
        how(
            "delivery",
            stage=self.stage,
            source=self._source,
            outcome=outcome,
            attempt=message.attempts,
            seconds=round(seconds, 4),
            **told,
        )
        return age
