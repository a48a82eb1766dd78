"""Logs: structlog's set-up, and the registry of log events. An unregistered event is an error.

Logs go to stderr: a JSON object per line, or readable lines on a terminal. A body or a header's value is never a field.
A defect's traceback has neither local variables nor the exception's text.

Two lines are *canonical*: `door_request`, for each request, and `delivery`, for each delivery that a stage has settled.
Lines that can repeat without bound (warnings, errors, refused requests) are logged REPEATS_LOGGED times in
REPEATS_SECONDS, then only counted. Writing a line never fails, so that neither a full disk below the log nor a closed
stderr can make us refuse an event. Lost lines are counted, and the count is logged once stderr takes lines again.
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
# The fields that distinguish two faults; each has few values. With ids and details, every line would be its own kind.
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
_NEVER_SUPPRESSED: Final = frozenset({"delivery", "repeated", "lines_lost"})
_STDERR: Final = 2

log: Final[FilteringBoundLogger] = structlog.get_logger()
_repeats: Repeats[tuple[tuple[str, Any], ...]] = Repeats(first=REPEATS_LOGGED, seconds=REPEATS_SECONDS)
_as_text: Callable[[EventDict], bytes] | None = None  # None: lines of level info are not logged
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

    global _as_text  # noqa: PLW0603  # as in structlog itself
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
    """Write a canonical line of a success: like `log.info` in half its time, with the same registry and renderer.

    In structlog, looking up the logger, its levels and processors takes longer than writing the line.
    """
    if _as_text is None:
        log.info(event, **fields)
    else:
        _STREAM.msg(_as_text(_stamped("info", _registered(event), **fields)))


def log_repeats(*, at_the_end: bool = False) -> None:
    """Log a line per kind whose repeats were dropped, once its interval has ended; `at_the_end`: for all kinds."""
    for kind, times in _repeats.dropped(now=inf if at_the_end else time.monotonic()).items():
        fields = dict(kind)
        log.warning("repeated", line=fields.pop("event"), times=times, **fields)
    _STREAM.log_lost()


class _LogStream:
    """Writes each line with a single system call, so that lines of several processes do not mix."""

    def __init__(self) -> None:
        self._lost = 0  # lost lines that are not logged yet
        self._takes = True
        self._before = b""  # a line end after a partly written line: a full disk takes what still fits

    def msg(self, line: bytes) -> None:
        try:  # takes half the time of contextlib.suppress
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
        """Log how many lines were lost, once stderr takes lines again."""
        if self._lost and self._takes:
            lost, self._lost = self._lost, 0
            log.warning("lines_lost", times=lost)
            self._lost += lost if self._lost else 0  # this line was lost too


_STREAM: Final = _LogStream()


def _checked(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The event to log. Raises ValueError if it is not registered, DropEvent if it repeats too often."""
    name = _registered(event["event"])
    never_suppressed = method in _HARMLESS or name in _NEVER_SUPPRESSED
    if not never_suppressed or (name == "door_request" and event.get("status") != 202):  # noqa: PLR2004  # a refused request
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
    if not _repeats.may_log(kind, now=time.monotonic()):
        lines_suppressed.labels(name).inc()
        raise structlog.DropEvent


def _add_traceback(event: EventDict) -> None:
    """Add place and type of the current exception, without its text, which may quote a customer's value."""
    error = sys.exception()
    if error is not None:
        frames = traceback.format_tb(error.__traceback__)
        event["exception"] = "".join(frames) + type(error).__name__


def _stamped(level: str, event: str, /, **fields: Any) -> EventDict:
    return {"timestamp": datetime.now(UTC), "level": level, "event": event, **fields}


def _as_json(stamped: EventDict) -> bytes:
    """A JSON object; all non-ASCII characters are escaped, since some are line separators or control characters."""
    try:
        line = _encode(stamped)
    except ValueError:  # an unpaired surrogate
        line = b""
    whole = line if line and line.isascii() else json.dumps(stamped, default=_plain).encode()
    return whole.replace(b"\x7f", b"\\u007f")


def _plain(value: Any) -> str:
    """The text of a value that JSON cannot hold: a time, or only the type of any other value."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else type(value).__name__


class _Forward(logging.Handler):
    """Logs libraries' warnings as our own lines, with place and level but without text, which can hold foreign data."""

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


def _forward_warning(  # noqa: PLR0917  # the signature that the module requires
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log Python's warnings as our own lines: aiormq leaves a coroutine unawaited when a connection breaks."""
    del message, file, line
    log.warning("library", logger="warnings", place=f"{Path(filename).name}:{lineno}", error=category.__name__)
