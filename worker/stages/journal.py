"""What a consuming stage tells of each delivery that it has settled: one line in the log, and its times as metrics."""

import asyncio
from typing import Any

from schemas.webhook import EVENTS
from worker.adapters.broker import Delivery
from worker.adapters.clock import seconds_since
from worker.core.messages import Received
from worker.core.translate import Event
from worker.telemetry import log
from worker.telemetry.metrics import stage_seconds, way_seconds


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

    def came_out(self, message: Received, status: str) -> None:
        """The broker has confirmed what goes to the downstreams."""
        seconds = seconds_since(message.received_at)
        if seconds is not None and not message.replay and not message.redriven:
            way_seconds.labels(self._source, status).observe(seconds)

    def settled(self, delivery: Delivery, event: Event, outcome: str, **more: Any) -> None:
        """An event that was understood has been acknowledged as `passed_on`, `duplicate_dropped` or `retried`."""
        known = {"event_id": event.id, "event_type": event.type, "invoice_id": event.invoice_id}
        self._tell(delivery, event.received, outcome, **known, **more)

    def buried(self, delivery: Delivery, message: Received, **more: Any) -> None:
        """A delivery has been acknowledged as a dead letter."""
        self._tell(delivery, message, "dead_lettered", **more)

    def _tell(self, delivery: Delivery, message: Received, outcome: str, **more: Any) -> None:
        seconds = asyncio.get_running_loop().time() - delivery.came_at
        self._seconds.observe(seconds)
        age = seconds_since(message.received_at)
        if more["event_type"] not in EVENTS:
            more["event_type"] = ""  # a stranger's text
        fields = {
            **more,
            "receipt_id": message.receipt_id,
            "trace_id": message.trace_id,
            "attempt": message.attempts,
            "seconds": round(seconds, 4),
            "age_seconds": None if age is None else round(age, 3),
        }
        told = {name: value for name, value in fields.items() if value not in ("", None)}
        tell = log.warning if outcome == "dead_lettered" else log.info
        tell("delivery", stage=self.stage, source=self._source, outcome=outcome, **told)
