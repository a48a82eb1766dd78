"""Traces (OpenTelemetry). If OTEL_… names a collector, spans go there; if not, only trace contexts are passed on."""

from zenoti_ingest.adapters.traces.opening import open_traces
from zenoti_ingest.adapters.traces.untraced import NO_SPAN, UNTRACED, Untraced

__all__ = ["NO_SPAN", "UNTRACED", "Untraced", "open_traces"]
