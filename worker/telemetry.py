"""Logs and metrics: structlog's set-up, and the registry of both. An event or metric that is not registered fails.

Logs go to stderr, one JSON object a line, or readable lines on a terminal. No body and no header's value is ever a
field; a defect's traceback comes without local variables and without the exception's text.
"""

import logging
import sys
import traceback
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

EVENTS: Final = frozenset(
    {
        # every process
        "started", "stopping", "stopped", "admin_listening", "defect", "library",
        # broker
        "broker_connected", "broker_away", "broker_blocked", "broker_unblocked", "broker_close_failed",
        "properties_undecodable", "topology_declared", "topology_broken",
        "topology_restored", "topology_unseen", "arguments_unverified", "bindings_unverified", "state_unpublished",
        # door
        "door_listening", "door_refused", "door_accepted", "door_spooled", "door_unavailable", "source_insecure",
        "detour_begun", "detour_ended", "raw_queue_lost", "switch_off_near", "connections_lowered",
        # spool
        "spool_adopted", "spool_damaged", "spool_failed", "spool_record_lost",
        # consumers
        "subscribed", "subscription_ended", "handed_back", "stage_stopped", "publish_failed", "queue_unseen",
        "dead_lettered", "retried", "duplicate_dropped", "unroutable",
        # enrich
        "invoice_fetched", "source_splits_expands", "fetch_failed", "circuit_opened", "circuit_closed",
        # simulator
        "simulator_listening", "simulator_sent", "simulator_unanswered", "simulator_webhook_off", "simulator_ended",
    }
)  # fmt: skip

registry: Final = CollectorRegistry()


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=registry)


def _gauge(name: str, text: str) -> Gauge:
    return Gauge(name, text, ["source"], registry=registry)


door_requests: Final = _counter(
    "zenoti_door_requests", "Requests at the door, by source and HTTP status.", "source", "status"
)
door_unsigned: Final = _counter(
    "zenoti_door_unsigned", "Requests let in with a wrong signature (verify = observe).", "source"
)
door_malformed: Final = _counter("zenoti_door_malformed", "What came to the door and was no HTTP request.")
door_connections: Final = Gauge("zenoti_door_connections", "Open connections at the door.", registry=registry)
door_connections_dropped: Final = _counter(
    "zenoti_door_connections_dropped",
    "Connections ended without an answer: idle, slow, huge (its headers), full (made room, or found none).",
    "reason",
)
source_failures_in_a_row: Final = Gauge(
    "zenoti_source_failures_in_a_row",
    "Answers since the last 202, by source; kind refused: 4xx (a stranger, or a wrong secret), unserved: 5xx.",
    ["source", "kind"],
    registry=registry,
)
source_silence: Final = Gauge(
    "zenoti_source_silence_seconds",
    "Time since this door took the last event of a source, or since its start.",
    ["source"],
    registry=registry,
)
source_usual_gap: Final = Gauge(
    "zenoti_source_usual_gap_seconds",
    "The usual time between two events of a source; 0 until there have been two.",
    ["source"],
    registry=registry,
)
translated: Final = _counter(
    "zenoti_translated", "Events that translate passed on, by source and where to.", "source", "to"
)
enriched: Final = _counter("zenoti_enriched", "Events that enrich passed on, by source and status.", "source", "status")
api_calls: Final = _counter("zenoti_api_calls", "Calls to the invoice API, by source and outcome.", "source", "outcome")
dead_letters: Final = _counter("zenoti_dead_letters", "Dead letters, by source and reason.", "source", "reason")
retries: Final = _counter("zenoti_retries", "Events sent down the retry ladder, by source.", "source")
duplicates: Final = _counter(
    "zenoti_duplicates", "Events dropped as duplicates, by source and stage.", "source", "stage"
)
connection_ready: Final = Gauge(
    "zenoti_connection_ready",
    "1 where a connection to the broker can be used; 0 while it is away or blocked.",
    ["connection"],
    registry=registry,
)
spool_spooled: Final = _counter("zenoti_spool_spooled", "Events written to the spool, by source.", "source")
spool_drained: Final = _counter("zenoti_spool_drained", "Events published from the spool, by source.", "source")
spool_corrupt: Final = _counter("zenoti_spool_corrupt", "Records of the spool that could not be read.")
spool_events: Final = Gauge("zenoti_spool_events", "Events that wait in the spool.", registry=registry)
spool_bytes: Final = Gauge("zenoti_spool_bytes", "What the spool directory takes on disk.", registry=registry)
spool_oldest: Final = Gauge(
    "zenoti_spool_oldest_seconds", "How long ago the oldest event of the spool was received.", registry=registry
)
detour_on: Final = Gauge(
    "zenoti_detour", "1 where events go to the spool since the broker confirms none.", ["source"], registry=registry
)
lane_events: Final = Gauge("zenoti_lane_events", "Events that the lane holds.", ["source"], registry=registry)
backlog_events: Final = _gauge("zenoti_backlog_events", "Events that wait for API calls, in queue and window.")
backlog_invoices: Final = _gauge("zenoti_backlog_invoices", "Distinct invoices among those in the window.")
backlog_minutes: Final = _gauge("zenoti_backlog_minutes", "Minutes to drain the backlog under the quota, at most.")
calls_saved: Final = _gauge("zenoti_calls_saved", "API calls that could go at once.")
calls_remaining: Final = _gauge("zenoti_calls_remaining", "API calls left, as the vendor last said.")
circuit_open: Final = Gauge("zenoti_circuit_open", "1 where the circuit is open.", ["source"], registry=registry)

log: Final[FilteringBoundLogger] = structlog.get_logger()


def configure(*, level: str, fmt: str) -> None:
    """Set up logging for the process; `fmt` is `json` or `console`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    render: Any = structlog.processors.JSONRenderer()
    if fmt == "console":
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            _registered,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _traceback,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _tame_libraries(number)


def _registered(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if event["event"] not in EVENTS:
        raise ValueError(f"log event {event['event']!r} is not registered in worker/telemetry.py")
    return event


def _traceback(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Where it happened and of what type; the exception's text is left out, since it may quote a customer's value."""
    if event.pop("exc_info", None):
        error = sys.exception()
        if error is not None:
            frames = traceback.format_tb(error.__traceback__)
            event["exception"] = "".join(frames) + type(error).__name__
    return event


class _Forward(logging.Handler):
    """Libraries' warnings as our own lines: where and how grave; their text can hold what a stranger sent."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, "library", logger=record.name, place=f"{record.module}:{record.lineno}", error=kind)


def _tame_libraries(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(max(level, logging.WARNING))
    for noisy in ("aio_pika", "aiormq"):  # each reconnect is told by our own line
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
