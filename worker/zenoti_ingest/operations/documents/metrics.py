"""Makes docs/metrics.md: the table of the metrics, from their registry."""

from typing import Final

from zenoti_ingest.telemetry.metrics import METRICS, Metric

_HEAD: Final = """\
# Metrics

Written by `make schemas` from `zenoti_ingest.telemetry.metrics`. Each daemon exposes its own at `/metrics` of its admin
port, in Prometheus' format. Labels are bounded by the configuration or by the values named here: none is an event's
type, id or center. Counters and histograms of everything configured stand at 0 from the start. Beside these there are
`process_…` and `python_info` of the client library.

- `source`, `exchange`, `queue`: as configured. `stage`: `intake`, `translate`, `enrich`.
- `connection`: `intake`; `publish`, `consume`. `dependency`: as in `/readyz`. `line`: the log line's `event`.

| metric | type | labels | of | |
|---|---|---|---|---|
"""
_SUFFIX: Final = {"counter": "_total", "info": "_info"}


def page() -> bytes:
    """Return the page."""
    return (_HEAD + "".join(map(_row, METRICS))).encode()


def _row(metric: Metric) -> str:
    name = metric.name + _SUFFIX.get(metric.kind, "")
    labels = ", ".join(_label(metric, label) for label in metric.labels) or ("version" if metric.kind == "info" else "")
    return f"| `{name}` | {metric.kind} | {labels} | {', '.join(metric.of)} | {metric.text} |\n"


def _label(metric: Metric, label: str) -> str:
    values = " ".join(metric.known.get(label, ()))
    return f"{label} ({values})" if values else label
