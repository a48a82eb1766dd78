"""Logs and metrics: the registry of both. An event or metric that is not registered fails."""

from zenoti_ingest.telemetry.logs import EVENTS, configure, log, log_canonical, log_repeats

__all__ = ["EVENTS", "configure", "log", "log_canonical", "log_repeats"]
