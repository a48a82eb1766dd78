"""Traces (OpenTelemetry): where OTEL_… names a collector, spans go there; else contexts are passed on alone."""

from zenoti_ingest.adapters.traces.opening import open_traces
from zenoti_ingest.adapters.traces.untraced import NO_SPAN, UNTRACED, Untraced

__all__ = ["NO_SPAN", "UNTRACED", "Untraced", "open_traces"]
