"""What daemons and commands report: spans; for daemons also metrics, and the state of what they depend on."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from zenoti_ingest import __version__
from zenoti_ingest.adapters.admin_http import Check
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.traces import open_traces
from zenoti_ingest.settings import Settings
from zenoti_ingest.stages.ports import Traces
from zenoti_ingest.stages.topology_watch import TopologyWatch
from zenoti_ingest.telemetry.metrics import exposed


@asynccontextmanager
async def tracing(role: str) -> AsyncIterator[Traces]:
    """Yield where spans go, by OpenTelemetry's own environment variables; the rest is exported at the end."""
    traces = open_traces(os.environ, service=f"zenoti-ingest-{role}", version=__version__)
    try:
        yield traces
    finally:
        await traces.close()


def exposed_metrics(
    settings: Settings, daemon: str, *, stages: Sequence[str], connections: Sequence[str], exchanges: Sequence[str]
) -> CollectorRegistry:
    """Return a daemon's metrics, with the label values that the configuration gives."""
    values = {"source": list(settings.sources), "stage": stages, "connection": connections, "exchange": exchanges}
    return exposed(daemon, version=__version__, values=values)


def check_link(link: Link) -> Check:
    """Return the state of a connection, as a dependency of the daemon."""
    return Check(ok=link.state.ready, state="usable" if link.state.ready else "away", detail=link.state.detail)


def check_topology(watch: TopologyWatch) -> Check:
    """Return the state of the topology on the broker, as a dependency of the daemon."""
    return Check(ok=not watch.detail, state="broken" if watch.detail else "whole", detail=watch.detail)
