"""The topology that the settings ask for."""

from zenoti_ingest.core.topology.declared import Archive, Downstream, Topology, intake_topology, whole_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.settings import Settings


def names_of(settings: Settings) -> Names:
    """The names beneath the configured prefix."""
    return Names(settings.broker.prefix)


def door_topology(settings: Settings) -> Topology:
    """What the intake needs on the broker."""
    return intake_topology(names_of(settings), sources=tuple(settings.sources), archive=_archive(settings))


def full_topology(settings: Settings) -> Topology:
    """Everything on the broker."""
    return whole_topology(
        names_of(settings),
        sources=tuple(settings.sources),
        downstreams=downstreams_of(settings),
        delays_seconds=settings.retry.delays_seconds,
        archive=_archive(settings),
    )


def downstreams_of(settings: Settings) -> tuple[Downstream, ...]:
    """The receivers."""
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
