"""Decides by OpenTelemetry's own environment variables whether spans are wanted, and whether they can be recorded.

The extra `otel` is imported only if the variables ask for it, so nothing needs it and a start takes no longer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from zenoti_ingest.adapters.traces.untraced import UNTRACED, Untraced
from zenoti_ingest.telemetry import log

if TYPE_CHECKING:  # only for the type checker: the import needs the extra
    from zenoti_ingest.adapters.traces.otel import OtelTraces

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OURS: Final = "http/protobuf"


class CannotTrace(Exception):
    """Spans are wanted but cannot be recorded; the text says what to do."""


def open_traces(environ: Mapping[str, str], *, service: str, version: str) -> "OtelTraces | Untraced":
    """Record spans if the environment names a collector; a failure is logged and stops nothing.

    Args:
        environ: holds OTEL_EXPORTER_OTLP_ENDPOINT and the like.
        service: the service's name, unless OTEL_SERVICE_NAME gives another.
        version: our version.
    """
    if not _wanted(environ):
        return UNTRACED
    try:
        return _opened(environ, service=service, version=version)
    except CannotTrace as error:
        log.error("traces_off", detail=str(error))
    except Exception as error:  # noqa: BLE001  # the SDK rejects a variable: no reason to lose events
        log.error("traces_off", detail=f"OTEL_… is not as OpenTelemetry's SDK wants it: {type(error).__name__}")
    return UNTRACED


def _wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter == "otlp" or (not exporter and any(environ.get(name) for name in _ENDPOINTS))


def _opened(environ: Mapping[str, str], *, service: str, version: str) -> "OtelTraces":
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _OURS)
    if protocol != _OURS:
        raise CannotTrace(f"the OTLP protocol is to be {_OURS} (mostly at port 4318), not what the environment says")
    try:
        from zenoti_ingest.adapters.traces import otel  # noqa: PLC0415  # the extra, imported only where it is wanted
    except ImportError as error:
        raise CannotTrace(
            "OTEL_… names a collector, but OpenTelemetry is missing: install zenoti-ingest[otel]"
        ) from error
    traces = otel.OtelTraces(otel.exporting(service=service, version=version))
    log.info("traces_on", service=service)
    return traces
