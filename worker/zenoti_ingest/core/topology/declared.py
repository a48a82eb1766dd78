"""Every exchange, queue and binding on the broker, as data.

The names are part of the public interface; the arguments are chosen so that nothing is lost
(https://www.rabbitmq.com/docs/quorum-queues).

- Queues are quorum queues that dead-letter at least once. This needs `overflow=reject-publish`: with drop-head the
  broker falls back to at most once, and reports that only in its log.
- Each step of the retry ladder has a delay queue with its own TTL, since a message waits behind those before it. A
  message enters through a fanout exchange; its routing key is the queue to return to.
- Each receiver has three exchanges and a wait queue of ours, so that a receiver that takes no events delays no other.
  The events exchange leads to `for.<name>`, and that to the receiver's queue; if this is gone, the alternate exchange
  leads to `wait.<name>`. `to.<name>` reaches only the receiver's queue, and returns a message if that is gone.
- The baton's queue keeps only the newest baton.
- The delivery limit of our own queues is 1000, since every hand-back counts, as in a rolling restart. It is a million
  where reading a message, or a receiver's nack, must never make the broker drop it (on 3.10, -1 means zero).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from zenoti_ingest.core.events.routing import binding_keys
from zenoti_ingest.core.invoices import baton
from zenoti_ingest.core.topology.names import Names

MAX_INTEGER = 2**63 - 1  # AMQP carries no larger number
DELIVERY_LIMIT = 1_000
NEVER_FORGET = 1_000_000
UNROUTED_MAX_BYTES = 100_000_000
STATE_MAX_BYTES = 1_000_000
_MAX_SEGMENT_BYTES = 4_000_000


class Exchange(msgspec.Struct, frozen=True):
    """A durable exchange."""

    name: str
    kind: str
    arguments: Mapping[str, Any] = {}


class Queue(msgspec.Struct, frozen=True):
    """A durable queue or stream.

    Attributes:
        ours: False if the queue is the receiver's own: we only bind it.
        receiver: the name of the receiver that reads it; empty: we read it ourselves.
    """

    name: str
    arguments: Mapping[str, Any] = {}
    ours: bool = True
    receiver: str = ""


class Binding(msgspec.Struct, frozen=True):
    """A binding from an exchange to a queue, or to another exchange."""

    exchange: str
    destination: str
    routing_key: str
    kind: Literal["queue", "exchange"] = "queue"


class Beginning(msgspec.Struct, frozen=True):
    """A first message, published once by the process that has just created all of `queues`."""

    queues: tuple[str, ...]
    exchange: str
    routing_key: str
    body: bytes
    content_type: str


class Topology(msgspec.Struct, frozen=True):
    """What the broker must have, in an order in which it can be declared.

    Attributes:
        beginnings: the first messages of new queues.
        superseded: bindings of earlier releases, to be removed once the other bindings exist.
    """

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]
    superseded: tuple[Binding, ...] = ()
    beginnings: tuple[Beginning, ...] = ()


class Downstream(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver: its name, its queue, and the events and sources it wants."""

    name: str
    queue: str
    declare: bool = True
    events: tuple[str, ...] = ("#",)
    sources: tuple[str, ...] = ("*",)
    max_bytes: int | None = None

    @property
    def binding_keys(self) -> tuple[str, ...]:
        """The binding keys from the events exchange to the receiver."""
        return binding_keys(sources=self.sources, events=self.events)


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """How long the archive keeps bodies: an age in the broker's notation (`30D`), and a size."""

    max_age: str
    max_bytes: int


def intake_topology(names: Names, *, sources: Sequence[str], archive: Archive | None) -> Topology:
    """What the door needs: raw queues and their dead-letter queue, the archive, the state stream."""
    exchanges = [Exchange(names.intake, "topic"), Exchange(names.work, "direct"), Exchange(names.state, "fanout")]
    queues = [
        Queue(names.dead, {"x-queue-type": "quorum", "x-delivery-limit": NEVER_FORGET}),
        Queue(names.state, _stream(max_bytes=STATE_MAX_BYTES)),
        *(Queue(names.raw(source), _ours(names)) for source in sources),
    ]
    bindings = [
        Binding(names.work, names.dead, names.dead),
        Binding(names.state, names.state, ""),
        *(Binding(names.work, names.raw(source), names.raw(source)) for source in sources),
        *(Binding(names.intake, names.raw(source), source) for source in sources),
    ]
    if archive is not None:
        kept = {**_stream(max_bytes=archive.max_bytes), "x-max-age": archive.max_age}
        queues.append(Queue(names.archive, kept))
        bindings.append(Binding(names.intake, names.archive, "#"))
    return Topology(tuple(exchanges), tuple(queues), tuple(bindings))


def whole_topology(
    names: Names,
    *,
    sources: Sequence[str],
    downstreams: Sequence[Downstream],
    delays_seconds: Sequence[int],
    archive: Archive | None,
) -> Topology:
    """Everything: the door's part, lanes, the retry ladder, receivers."""
    door = intake_topology(names, sources=sources, archive=archive)
    delays = sorted(set(delays_seconds))
    exchanges = [
        *door.exchanges,
        Exchange(names.unrouted, "fanout"),
        Exchange(names.events, "topic", {"alternate-exchange": names.unrouted}),
        *(Exchange(names.retry(n), "fanout") for n in delays),
        *(exchange for d in downstreams for exchange in _receiver_exchanges(names, d)),
    ]
    never_forgets = {"x-queue-type": "quorum", "x-delivery-limit": NEVER_FORGET}
    forgets_oldest = {**never_forgets, "x-overflow": "drop-head"}
    queues = [
        *door.queues,
        Queue(names.unrouted, {**forgets_oldest, "x-max-length-bytes": UNROUTED_MAX_BYTES}),
        *(Queue(names.lane(source), {**_ours(names), "x-single-active-consumer": True}) for source in sources),
        *(Queue(names.turn(source), {**forgets_oldest, "x-max-length": 1}) for source in sources),
        *(Queue(names.retry(n), _delay(names, n)) for n in delays),
        *(Queue(d.queue, _downstream(d), ours=d.declare, receiver=d.name) for d in downstreams),
        *(Queue(names.waiting(d.name), {**never_forgets, "x-single-active-consumer": True}) for d in downstreams),
    ]
    bindings = [
        *door.bindings,
        Binding(names.unrouted, names.unrouted, ""),
        *(Binding(names.work, names.lane(source), names.lane(source)) for source in sources),
        *(Binding(names.work, names.turn(source), names.turn(source)) for source in sources),
        *(Binding(names.retry(n), names.retry(n), "") for n in delays),
        *(binding for d in downstreams for binding in _receiver_bindings(names, d)),
    ]
    superseded = [Binding(names.events, d.queue, key) for d in downstreams for key in d.binding_keys]
    beginnings = (_first_baton(names, source) for source in sources)
    return Topology(tuple(exchanges), tuple(queues), tuple(bindings), tuple(superseded), tuple(beginnings))


def definitions(topology: Topology, *, vhost: str) -> dict[str, Any]:
    """The topology as RabbitMQ definitions (https://www.rabbitmq.com/docs/definitions)."""
    return {
        "exchanges": [
            {"name": e.name, "vhost": vhost, "type": e.kind, "durable": True, "auto_delete": False, "internal": False}
            | {"arguments": dict(e.arguments)}
            for e in topology.exchanges
        ],
        "queues": [
            {"name": q.name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": dict(q.arguments)}
            for q in topology.queues
            if q.ours
        ],
        "bindings": [
            {"source": b.exchange, "vhost": vhost, "destination": b.destination, "destination_type": b.kind}
            | {"routing_key": b.routing_key, "arguments": {}}
            for b in topology.bindings
        ],
    }


def _first_baton(names: Names, source: str) -> Beginning:
    """The baton of a new lane: nobody can have called yet. In an existing lane, an earlier release may be calling."""
    lane, turn = names.lane(source), names.turn(source)
    return Beginning((lane, turn), names.work, turn, baton.encode(baton.Baton()), baton.CONTENT_TYPE)


def _receiver_exchanges(names: Names, downstream: Downstream) -> tuple[Exchange, ...]:
    waiting = names.waiting(downstream.name)
    return (
        Exchange(waiting, "fanout"),
        Exchange(names.receiver(downstream.name), "fanout", {"alternate-exchange": waiting}),
        Exchange(names.receiver_alone(downstream.name), "fanout"),
    )


def _receiver_bindings(names: Names, downstream: Downstream) -> tuple[Binding, ...]:
    """Bindings from the end of the path to its beginning, so that no event enters before it can go on."""
    waiting, receiver = names.waiting(downstream.name), names.receiver(downstream.name)
    return (
        Binding(waiting, waiting, ""),
        Binding(names.receiver_alone(downstream.name), downstream.queue, ""),
        Binding(receiver, downstream.queue, ""),
        *(Binding(names.events, receiver, key, "exchange") for key in downstream.binding_keys),
    )


def _ours(names: Names) -> dict[str, Any]:
    """The arguments of a queue of ours, which must lose nothing."""
    return {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": names.work,
        "x-dead-letter-routing-key": names.dead,
        "x-delivery-limit": DELIVERY_LIMIT,
    }


def _delay(names: Names, seconds: int) -> dict[str, Any]:
    """The arguments of a delay queue: after the delay, the message's own routing key leads it back."""
    return {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": names.work,
        "x-message-ttl": 1000 * seconds,
    }


def _downstream(downstream: Downstream) -> dict[str, Any]:
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": NEVER_FORGET}
    if downstream.max_bytes is not None:
        arguments |= {"x-overflow": "drop-head", "x-max-length-bytes": downstream.max_bytes}
    return arguments


def _stream(*, max_bytes: int) -> dict[str, Any]:
    """The arguments of a stream with small segments.

    The broker drops only whole segments, and only when a new segment begins. So an event stays at least for the maximum
    age, and at most until two more segments have come. With 2,500 segments (10 GiB) a reader attaches in 0.1 s.
    """
    segment_bytes = min(_MAX_SEGMENT_BYTES, max_bytes // 4)
    return {
        "x-queue-type": "stream",
        "x-max-length-bytes": max_bytes,
        "x-stream-max-segment-size-bytes": segment_bytes,
    }
