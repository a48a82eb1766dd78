"""The names and the topology that follow from the settings."""

from zenoti_ingest.core.topology.declared import Archive, Downstream, Topology, intake_topology, whole_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.settings import BrokerSettings, DownstreamSettings, Settings, SourceSettings


def names_of(settings: Settings) -> Names:
    """Return the names beneath the configured prefix."""
    return Names(settings.broker.prefix)


def door_topology(settings: Settings) -> Topology:
    """Return what the intake needs on the broker."""
    return intake_topology(names_of(settings), sources=tuple(settings.sources), archive=_archive(settings))


def full_topology(settings: Settings) -> Topology:
    """Return everything that the installation needs on the broker."""
    return whole_topology(
        names_of(settings),
        sources=tuple(settings.sources),
        downstreams=downstreams_of(settings),
        delays_seconds=settings.retry.delays_seconds,
        archive=_archive(settings),
    )


def example_topology(*, prefix: str, source: str, downstream: str) -> Topology:
    """Return the full topology of one source and one receiver, with the defaults of all other settings."""
    return full_topology(
        Settings(
            broker=BrokerSettings(prefix=prefix),
            sources={source: SourceSettings()},
            downstream={downstream: DownstreamSettings()},
        )
    )


def downstreams_of(settings: Settings) -> tuple[Downstream, ...]:
    """Return the receivers."""
    return tuple(
        Downstream(
            name=name,
            queue=d.queue or names_of(settings).out(name),
            declare=d.declare,
            events=d.events,
            sources=d.sources,
            max_bytes=d.max_bytes,
        )
        for name, d in settings.downstream.items()
    )


def _archive(settings: Settings) -> Archive | None:
    kept = settings.archive
    return Archive(max_age=kept.max_age, max_bytes=kept.max_bytes) if kept.enabled else None
