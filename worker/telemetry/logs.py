"""Logs: structlog's set-up, and the registry of events. One that is not registered fails.

Logs go to stderr, one JSON object a line, or readable lines on a terminal. No body and no header's value is ever a
field; a defect's traceback comes without local variables and without the exception's text.
"""

import logging
import sys
import traceback
from typing import Any, Final

import structlog
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
        raise ValueError(f"log event {event['event']!r} is not registered in worker/telemetry/logs.py")
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
