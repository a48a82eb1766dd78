"""Logs and metrics, each with a registry. An unregistered log event is an error."""

from zenoti_ingest.telemetry.logs import EVENTS, configure, log, log_canonical, log_repeats

__all__ = ["EVENTS", "configure", "log", "log_canonical", "log_repeats"]
