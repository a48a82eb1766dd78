"""Logs: structlog's set-up, and the registry of events. One that is not registered fails.

Logs go to stderr, one JSON object a line, or readable lines on a terminal. No body and no header's value is ever a
field; a defect's traceback comes without local variables and without the exception's text.

Two lines are *canonical*: `door_request`, one for each request, and `delivery`, one for each delivery that a stage has
settled. What can repeat itself without bound (warnings, errors, requests that were not let in) is logged
REPEATS_LOGGED times in REPEATS_SECONDS and then counted. Writing a line never fails: a full disk below the log, or a
stderr that is closed, must refuse no event. Lines that could not be written are counted, and the count is logged once
stderr takes lines again.
"""

import json
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from zenoti_ingest.core.operating.printable import printable
from zenoti_ingest.core.operating.repeats import Repeats
from zenoti_ingest.telemetry.metrics import lines_lost, lines_suppressed

EVENTS: Final = frozenset(
    {
        # every process
        "started", "stopping", "stopped", "admin_listening", "defect", "library", "repeated", "lines_lost",
        "secret_unusable", "setting_ignored",
        "traces_on", "traces_off", "traces_unexported", "traces_exported_again",
        # broker
        "broker_connected", "broker_away", "broker_blocked", "broker_unblocked", "broker_close_failed",
        "properties_undecodable", "size_budget_lowered", "topology_declared", "topology_broken",
        "topology_restored", "topology_unseen", "arguments_unverified", "bindings_unverified", "state_unpublished",
        # door
        "door_listening", "door_request", "source_insecure",
        "detour_begun", "detour_ended", "raw_queue_lost", "switch_off_near", "connections_lowered",
        # spool
        "spool_adopted", "spool_damaged", "spool_failed", "spool_folder_failed", "spool_folder_gone",
        "spool_record_lost", "spool_rescued",
        # consumers
        "subscribed", "subscription_ended", "handed_back", "drain_cut_short", "stage_stopped", "publish_failed",
        "queue_unseen", "delivery", "state_unheard", "clocks_differ", "clocks_agree",
        # receivers
        "receiver_refuses", "receiver_takes_events_again", "receiver_cannot_be_bound", "receiver_queue_gone",
        "stranger_refuses",
        # enrich
        "invoice_fetched", "source_splits_expands", "fetch_failed", "circuit_opened", "circuit_closed",
        "lane_times_unheard", "turn_awaited", "baton_untaken", "baton_unpublished",
        # simulator
        "simulator_listening", "simulator_sent", "simulator_unanswered", "simulator_webhook_off", "simulator_ended",
    }
)  # fmt: skip
REPEATS_LOGGED: Final = 10
REPEATS_SECONDS: Final = 60.0
# The fields that separate two faults; each has few values. Ids and details would make every line one of its kind.
_KIND: Final = (
    "source",
    "stage",
    "status",
    "reason",
    "error",
    "exchange",
    "queue",
    "connection",
    "logger",
    "place",
    "instance",
)
_HARMLESS: Final = frozenset({"info", "debug"})
_TOLD_EACH_TIME: Final = frozenset({"delivery", "repeated", "lines_lost"})
_STDERR: Final = 2

log: Final[FilteringBoundLogger] = structlog.get_logger()
_repeats: Repeats[tuple[tuple[str, Any], ...]] = Repeats(first=REPEATS_LOGGED, seconds=REPEATS_SECONDS)
_as_text: Callable[[EventDict], bytes] | None = None  # where lines of level info are logged
_encode: Final = msgspec.json.Encoder(enc_hook=lambda value: type(value).__name__).encode


def configure(*, level: str, fmt: str) -> None:
    """Set up logging for the process; `fmt` is `json` or `console`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())

    def for_people(stamped: EventDict) -> bytes:
        stamped["timestamp"] = _plain(stamped["timestamp"])
        shown = {
            name: printable(value, lines=name == "exception") if isinstance(value, str) else value
            for name, value in stamped.items()
        }
        return str(console(_STREAM, stamped["level"], shown)).encode("utf-8", "replace")

    def rendered(_: WrappedLogger, method: str, event: EventDict) -> bytes:
        return as_text(_stamped(method, event.pop("event"), **event))

    global _as_text  # noqa: PLW0603  # as structlog's own
    as_text = for_people if fmt == "console" else _as_json
    _as_text = as_text if number <= logging.INFO else None
    structlog.configure(
        processors=[_checked, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _STREAM,
        cache_logger_on_first_use=True,
    )
    _tame_libraries(number)


def log_canonical(event: str, /, **fields: Any) -> None:
    """A canonical line of what went well: `log.info` in half of its time, by the same registry and renderer.

    structlog's lookup of the logger, its levels and processors take longer than the writing, at each line.
    """
    if _as_text is None:
        log.info(event, **fields)
    else:
        _STREAM.msg(_as_text(_stamped("info", _registered(event), **fields)))


def log_repeats(*, at_the_end: bool = False) -> None:
    """Log a line for each kind whose repeats were dropped, once its interval has ended; at the end for all kinds."""
    for kind, times in _repeats.dropped(now=inf if at_the_end else time.monotonic()).items():
        fields = dict(kind)
        log.warning("repeated", line=fields.pop("event"), times=times, **fields)
    _STREAM.log_lost()


class _LogStream:
    """A line is one write of the system's, so that lines of several processes do not mix."""

    def __init__(self) -> None:
        self._lost = 0  # and not logged yet
        self._takes = True
        self._before = b""  # ends a line of which only a part was taken: a full disk takes what still fits

    def msg(self, line: bytes) -> None:
        try:  # half the time of contextlib.suppress, at each line
            left = len(line) + 1 - os.write(_STDERR, self._before + line + b"\n") + len(self._before)
        except OSError:
            left, self._takes = 1, False
        else:
            self._takes, self._before = True, b"\n" if left else b""
        if left:
            self._lost += 1
            lines_lost.inc()

    debug = info = warning = error = critical = msg

    def log_lost(self) -> None:
        """A line for those that were lost, once others have been taken again."""
        if self._lost and self._takes:
            lost, self._lost = self._lost, 0
            log.warning("lines_lost", times=lost)
            self._lost += lost if self._lost else 0  # this one was lost, too


_STREAM: Final = _LogStream()


def _checked(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The event as it is logged. Raises ValueError where it is not registered, DropEvent where it repeats itself."""
    name = _registered(event["event"])
    told_each_time = method in _HARMLESS or name in _TOLD_EACH_TIME
    if not told_each_time or (name == "door_request" and event.get("status") != 202):  # noqa: PLR2004  # no stranger's
        _not_too_often(name, event)
    if event.pop("exc_info", None):
        _add_traceback(event)
    return event


def _registered(event: str) -> str:
    if event not in EVENTS:
        raise ValueError(f"log event {event!r} is not registered in worker/zenoti_ingest/telemetry/logs.py")
    return event


def _not_too_often(name: str, event: EventDict) -> None:
    kind = ("event", name), *((field, event[field]) for field in _KIND if field in event)
    if not _repeats.may_tell(kind, now=time.monotonic()):
        lines_suppressed.labels(name).inc()
        raise structlog.DropEvent


def _add_traceback(event: EventDict) -> None:
    """Where it happened and of what type; the exception's text is left out, since it may quote a customer's value."""
    error = sys.exception()
    if error is not None:
        frames = traceback.format_tb(error.__traceback__)
        event["exception"] = "".join(frames) + type(error).__name__


def _stamped(level: str, event: str, /, **fields: Any) -> EventDict:
    return {"timestamp": datetime.now(UTC), "level": level, "event": event, **fields}


def _as_json(stamped: EventDict) -> bytes:
    """One object; beyond ASCII everything is escaped, as line separators and control characters are among it."""
    try:
        line = _encode(stamped)
    except ValueError:  # an unpaired surrogate
        line = b""
    whole = line if line and line.isascii() else json.dumps(stamped, default=_plain).encode()
    return whole.replace(b"\x7f", b"\\u007f")


def _plain(value: Any) -> str:
    """What JSON has no form for: a time, or the type of something that should not be in a line."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else type(value).__name__


class _Forward(logging.Handler):
    """Libraries' warnings as our own lines: where and how grave; their text can hold what a stranger sent."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, "library", logger=record.name, place=f"{record.module}:{record.lineno}", error=kind)


def _tame_libraries(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(max(level, logging.WARNING))
    for noisy in ("aio_pika", "aiormq", "opentelemetry"):  # our own line reports each reconnect
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    warnings.showwarning = _forward_warning


def _forward_warning(  # noqa: PLR0917  # as the module has it
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Python's warnings as lines like all others: aiormq leaves a coroutine unawaited where a connection breaks."""
    del message, file, line
    log.warning("library", logger="warnings", place=f"{Path(filename).name}:{lineno}", error=category.__name__)
