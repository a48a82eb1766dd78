"""The registry of metrics: every name, label and help text. docs/metrics.md is generated from it (`make schemas`).

The configuration or a table of ours bounds the labels: never an event's type or id, a center or an address. Counters
and histograms of everything configured begin at 0, so that increase() sees the first event.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, Final, TypeVar

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

from zenoti_ingest.core.failures.errors import reasons

INTAKE: Final = ("intake",)
CONSUME: Final = ("consume",)
BOTH: Final = ("intake", "consume")
_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STAGE_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900)
_WAY_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 14400)
_CALL_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_M = TypeVar("_M", bound=MetricWrapperBase)

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and process start time shows the same


class Metric(msgspec.Struct, frozen=True):
    """A metric: the daemons that expose it, and the label values known in advance."""

    collector: Any
    name: str
    kind: str
    labels: tuple[str, ...]
    text: str
    of: tuple[str, ...]
    known: Mapping[str, tuple[str, ...]]


METRICS: Final[list[Metric]] = []


def _made(
    kind: type[_M], name: str, labels: str, text: str, *, of: tuple[str, ...], buckets: Any = None, **known: str
) -> _M:
    """Make a metric and register it; `labels` and each `known` are words separated by blanks."""
    names, more = tuple(labels.split()), {"buckets": buckets} if buckets else {}
    metric = kind(name, text, names, registry=None, **more)
    if not isinstance(metric, Gauge):  # series of gauges are removed again
        metric.labels = cache(metric.labels)  # type: ignore[method-assign]  # a tenth of the time of a look-up
    values = {label: tuple(words.split()) for label, words in known.items()}
    METRICS.append(Metric(metric, name, kind.__name__.lower(), names, text, of, values))
    return metric


# The way
way_seconds: Final = _made(
    Histogram,
    "zenoti_door_to_downstream_seconds",
    "source status",
    "From an event's receipt at the door to the confirm of the outgoing event, by enrichment status; without replayed "
    "and redriven events. Depends on the clocks of both hosts.",
    of=CONSUME,
    buckets=_WAY_SECONDS,
    status="enriched not_applicable skipped",
)
stage_seconds: Final = _made(
    Histogram,
    "zenoti_stage_seconds",
    "stage source",
    "Time from an event's arrival at a stage of this process (intake: the head of its request) until it was settled "
    "there (intake: answered).",
    of=BOTH,
    buckets=_STAGE_SECONDS,
)
queue_messages: Final = _made(
    Gauge,
    "zenoti_queue_messages",
    "queue role",
    "Messages ready in a queue; role: raw, lane, retry, dead, unrouted or out. Every consumer process asks the broker, "
    "so take max by (queue). Absent if the broker does not answer, or (from RabbitMQ 4.3 on) our user may not ask.",
    of=CONSUME,
)
queue_consumers: Final = _made(
    Gauge, "zenoti_queue_consumers", "queue role", "Consumers of a queue, asked together with its messages.", of=CONSUME
)

# The door
door_requests: Final = _made(
    Counter,
    "zenoti_door_requests",
    "source status",
    "Requests at the door, by HTTP status; source -: a request to no source.",
    of=INTAKE,
    status="200 202 400 401 408 413 431 500 503",
)
door_in_flight: Final = _made(
    Gauge, "zenoti_door_in_flight", "", "Requests in flight; above intake.max_in_flight: 503.", of=INTAKE
)
door_unsigned: Final = _made(
    Counter,
    "zenoti_door_unsigned",
    "source",
    "Requests accepted with a wrong signature (verify = observe).",
    of=INTAKE,
)
door_malformed: Final = _made(Counter, "zenoti_door_malformed", "", "Malformed HTTP requests at the door.", of=INTAKE)
door_connections: Final = _made(Gauge, "zenoti_door_connections", "", "Open connections at the door.", of=INTAKE)
door_connections_dropped: Final = _made(
    Counter,
    "zenoti_door_connections_dropped",
    "reason",
    "Connections closed without an answer: idle, slow, huge (its headers), full (dropped for another, or no room "
    "for it), memory (all connections held too much memory, and this connection had held some for longest).",
    of=INTAKE,
    reason="full huge idle memory slow",
)
source_failures_in_a_row: Final = _made(
    Gauge,
    "zenoti_source_failures_in_a_row",
    "source kind",
    "Failed answers since the last 202; kind refused: 4xx (a stranger, or a wrong secret), unserved: 5xx. At 20, "
    "Zenoti switches a webhook off.",
    of=INTAKE,
)
source_silence: Final = _made(
    Gauge,
    "zenoti_source_silence_seconds",
    "source",
    "Time since this door accepted the last event of a source, or since its start.",
    of=INTAKE,
)
source_usual_gap: Final = _made(
    Gauge,
    "zenoti_source_usual_gap_seconds",
    "source",
    "The usual time between two events of a source; 0 until there have been two.",
    of=INTAKE,
)

# The spool
spool_events: Final = _made(Gauge, "zenoti_spool_events", "", "Events that wait in this process's spool.", of=INTAKE)
spool_bytes: Final = _made(
    Gauge, "zenoti_spool_bytes", "", "Size of the spool directory on disk, for all processes together.", of=INTAKE
)
spool_max_bytes: Final = _made(
    Gauge, "zenoti_spool_max_bytes", "", "The bound of the spool directory (intake.spool_max_bytes).", of=INTAKE
)
spool_oldest: Final = _made(
    Gauge,
    "zenoti_spool_oldest_seconds",
    "",
    "How long ago the oldest event of the spool was received; 0: empty.",
    of=INTAKE,
)
spool_spooled: Final = _made(Counter, "zenoti_spool_spooled", "source", "Events written to the spool.", of=INTAKE)
spool_drained: Final = _made(Counter, "zenoti_spool_drained", "source", "Events published from the spool.", of=INTAKE)
spool_corrupt: Final = _made(
    Counter, "zenoti_spool_corrupt", "", "Records of the spool that could not be read.", of=INTAKE
)
detour_on: Final = _made(
    Gauge, "zenoti_detour", "source", "1 while events go to the spool, because the broker does not confirm.", of=INTAKE
)

# Translate and enrich
translated: Final = _made(
    Counter,
    "zenoti_translated",
    "source to",
    "Events that translate passed on: to the lane, or to receivers as not_applicable or skipped.",
    of=CONSUME,
    to="lane not_applicable skipped",
)
unrouted: Final = _made(
    Counter, "zenoti_unrouted", "source", "Translated events that no configured downstream wants.", of=CONSUME
)
enriched: Final = _made(
    Counter,
    "zenoti_enriched",
    "source status",
    "Events that enrich passed on: enriched or failed (on_enrich_failure = deliver).",
    of=CONSUME,
    status="enriched failed",
)
duplicates: Final = _made(Counter, "zenoti_duplicates", "source stage", "Events dropped as duplicates.", of=CONSUME)
retries: Final = _made(Counter, "zenoti_retries", "source", "Events sent to a delay queue for a retry.", of=CONSUME)
dead_letters: Final = _made(
    Counter,
    "zenoti_dead_letters",
    "source reason",
    "Dead letters written; those by the broker's delivery limit are only in zenoti_queue_messages.",
    of=BOTH,
    reason=" ".join(reasons()),
)
subscriptions: Final = _made(
    Counter, "zenoti_subscriptions", "stage source", "How often a stage began to consume its queue.", of=CONSUME
)
stage_stopped: Final = _made(
    Gauge,
    "zenoti_stage_stopped",
    "stage source",
    "1 if a stage has stopped after ten defects in a row.",
    of=CONSUME,
)
receiver_refusing: Final = _made(
    Gauge,
    "zenoti_receiver_refusing",
    "receiver",
    "1 while a receiver's queue takes no events; they wait in its wait queue.",
    of=CONSUME,
)
lane_events: Final = _made(
    Gauge, "zenoti_lane_events", "source", "Unacknowledged events in the lane's window; 0 at a standby.", of=CONSUME
)
backlog_events: Final = _made(
    Gauge,
    "zenoti_backlog_events",
    "source",
    "Events that wait for API calls, in queue and window; among several processes, the active process has the highest.",
    of=CONSUME,
)
backlog_invoices: Final = _made(
    Gauge, "zenoti_backlog_invoices", "source", "Distinct invoices of the events in the window.", of=CONSUME
)
backlog_minutes: Final = _made(
    Gauge,
    "zenoti_backlog_minutes",
    "source",
    "At most this many minutes to drain the backlog within the quota.",
    of=CONSUME,
)

# The invoice API
api_calls: Final = _made(
    Counter,
    "zenoti_api_calls",
    "source outcome",
    "Calls to the invoice API; outcome: ok, or the error's class.",
    of=CONSUME,
    outcome="ok AccessDenied ApiRefusedUs ApiThrottled ApiUnavailable ApiUnreachable GatewayAnswered InvoiceNotFound "
    "Refused RequestDefect RequestInvalid",
)
api_call_seconds: Final = _made(
    Histogram,
    "zenoti_api_call_seconds",
    "source",
    "Duration of a call, answered or not.",
    of=CONSUME,
    buckets=_CALL_SECONDS,
)
fetches: Final = _made(
    Counter, "zenoti_fetches", "source", "Invoices fetched, each for all events that waited for it.", of=CONSUME
)
fetched_events: Final = _made(
    Counter,
    "zenoti_fetched_events",
    "source",
    "Events served by these fetches; divided by zenoti_fetches_total: events per fetch.",
    of=CONSUME,
)
calls_per_minute: Final = _made(
    Gauge,
    "zenoti_calls_per_minute",
    "source",
    "The pace of calls: as configured, or less if the vendor says so.",
    of=CONSUME,
)
calls_saved: Final = _made(Gauge, "zenoti_calls_saved", "source", "API calls that could go at once.", of=CONSUME)
calls_remaining: Final = _made(
    Gauge,
    "zenoti_calls_remaining",
    "source",
    "API calls left, by the vendor's last answer; absent until then.",
    of=CONSUME,
)
circuit_open: Final = _made(Gauge, "zenoti_circuit_open", "source", "1 while the circuit is open.", of=CONSUME)

# Broker and process
connection_ready: Final = _made(
    Gauge,
    "zenoti_connection_ready",
    "connection",
    "1 while a connection to the broker is usable; 0 while it is lost or blocked.",
    of=BOTH,
)
connections_lost: Final = _made(
    Counter,
    "zenoti_connections_lost",
    "connection",
    "How often a connection to the broker was lost or could not be opened.",
    of=BOTH,
)
publishes_failed: Final = _made(
    Counter,
    "zenoti_publishes_failed",
    "exchange",
    "Publishes that the broker did not confirm in time, refused, or had no queue for; they are retried.",
    of=BOTH,
)
clock_difference: Final = _made(
    Gauge,
    "zenoti_clock_difference_seconds",
    "",
    "The largest difference between this process's clock and another daemon's, by its states; 0: none above 5 s.",
    of=CONSUME,
)
ready: Final = _made(Gauge, "zenoti_ready", "", "1 while /readyz answers ready.", of=BOTH)
dependency_ok: Final = _made(
    Gauge, "zenoti_dependency_ok", "dependency", "1 while a dependency in /readyz works.", of=BOTH
)
loop_lag: Final = _made(
    Gauge,
    "zenoti_event_loop_lag_seconds",
    "",
    "The longest delay of the event loop within the last 15 to 30 seconds.",
    of=BOTH,
)
lines_suppressed: Final = _made(
    Counter, "zenoti_log_lines_suppressed", "line", "Repeats of a log line that were only counted.", of=BOTH
)
lines_lost: Final = _made(
    Counter,
    "zenoti_log_lines_lost",
    "",
    "Log lines that stderr did not take: it is closed, its reader is gone, or its disk is full.",
    of=BOTH,
)
build: Final = _made(Info, "zenoti_build", "", "The version of this process, as a label.", of=BOTH)


def exposed(daemon: str, *, version: str, values: Mapping[str, Sequence[str]]) -> CollectorRegistry:
    """The registry that a daemon's /metrics exposes.

    Args:
        daemon: `intake` or `consume`.
        version: the program's version.
        values: label values from the configuration, such as the sources; their series begin at 0.
    """
    registry = CollectorRegistry()
    for metric in METRICS:
        if daemon in metric.of:
            registry.register(metric.collector)
            _begin(metric, values)
    build.info({"version": version})
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _begin(metric: Metric, values: Mapping[str, Sequence[str]]) -> None:
    """Begin counters and histograms at 0. Gauges begin when they are first set: a 0 before that would be wrong."""
    if metric.kind not in {"counter", "histogram"} or not metric.labels:
        return
    for series in product(*(metric.known.get(label) or values.get(label, ()) for label in metric.labels)):
        metric.collector.labels(*series)
