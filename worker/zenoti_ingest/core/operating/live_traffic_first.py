"""Live traffic goes first: decides by the queues' depths whether a redrive or a replay may publish more events."""

from collections.abc import Mapping

from zenoti_ingest.core.topology.names import Names

RAW_READY = 100

Depths = Mapping[str, tuple[int, int] | None]


def obstacle(depths: Depths, *, names: Names, source: str) -> str:
    """Why more events of a source must wait; empty: they need not.

    Args:
        depths: by queue, messages ready and consumers, for its raw queue and its lane; None if the queue is missing.
        names: the names of queues.
        source: the source's name.
    """
    for queue, bound in ((names.raw(source), RAW_READY), (names.lane(source), 0)):
        ready, consumers = depths.get(queue) or (0, 0)
        if ready > bound:
            return f"{ready} events ready in {queue}" + ("" if consumers else ", nobody consumes")
    return ""
