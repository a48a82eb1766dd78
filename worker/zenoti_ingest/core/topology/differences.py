"""Compares the declared topology with what a broker reports, and returns every difference as data.

Over AMQP a broker reports only that something is missing, or the first argument that differs. Its management API
reports everything, including bindings and policies. This module interprets both, and never contacts the broker.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from zenoti_ingest.core.topology.declared import Binding, Exchange, Queue, Topology
from zenoti_ingest.core.topology.names import Names

Kind = Literal["exchange", "queue", "binding", "policy"]
State = Literal["missing", "different", "surplus"]

# Observed on 3.10 and 4.3: of two numbers the lower counts. The policy's overflow wins over the argument, so a queue
# that should refuse instead drops its oldest message and confirms. A dead letter exchange in the arguments wins.
_POLICY_LOWERS = {
    "message-ttl": "x-message-ttl",
    "max-length": "x-max-length",
    "max-length-bytes": "x-max-length-bytes",
    "delivery-limit": "x-delivery-limit",
    "expires": "x-expires",
}
_POLICY_WINS = {"overflow": "x-overflow", "dead-letter-strategy": "x-dead-letter-strategy", "max-age": "x-max-age"}
_POLICY_FILLS = {
    "dead-letter-exchange": "x-dead-letter-exchange",
    "dead-letter-routing-key": "x-dead-letter-routing-key",
}
_REFUSAL = re.compile(r"inequivalent arg '(?P<name>[^']+)'.*: received .* but current is (?P<current>.*)", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'(?: of type '\w+')?$")


class Difference(msgspec.Struct, frozen=True):
    """A difference between declaration and broker; `should` and `is_` hold what differs; None: not set."""

    kind: Kind
    name: str
    state: State
    detail: str = ""
    ours: bool = True
    should: Mapping[str, Any] = {}
    is_: Mapping[str, Any] = msgspec.field(name="is", default_factory=dict)
    migrate: str = ""


class ObservedExchange(msgspec.Struct, frozen=True):
    """An exchange as the management API reports it."""

    name: str
    type: str
    durable: bool = True
    auto_delete: bool = False
    arguments: Mapping[str, Any] = {}


class ObservedQueue(msgspec.Struct, frozen=True):
    """A queue as the management API reports it; its counts are a few seconds old."""

    name: str
    durable: bool = True
    auto_delete: bool = False
    arguments: Mapping[str, Any] = {}
    messages: int = 0
    consumers: int = 0
    policy: str | None = None
    operator_policy: str | None = None
    effective_policy_definition: dict[str, Any] | list[Any] | None = None


class ObservedBinding(msgspec.Struct, frozen=True):
    """A binding as the management API reports it."""

    source: str
    destination: str
    destination_type: str
    routing_key: str
    properties_key: str = ""


class BrokerSnapshot(msgspec.Struct, frozen=True):
    """All exchanges, queues and bindings of a virtual host."""

    exchanges: Sequence[ObservedExchange]
    queues: Sequence[ObservedQueue]
    bindings: Sequence[ObservedBinding]


def missing(thing: Exchange | Queue) -> Difference:
    """The difference for a missing exchange or queue."""
    if isinstance(thing, Exchange):
        return Difference("exchange", thing.name, "missing")
    detail = "" if thing.ours else "it is the downstream's own (declare = false)"
    return Difference("queue", thing.name, "missing", detail, thing.ours)


def refused(thing: Exchange | Queue, text: str) -> Difference:
    """The difference that the text of a 406 names: the first argument that differs; an unknown text is kept as is."""
    kind: Kind = "exchange" if isinstance(thing, Exchange) else "queue"
    found = _REFUSAL.search(text)
    if found is None:
        return Difference(kind, thing.name, "different", text[:300])
    name = found["name"]
    quoted = _QUOTED.search(found["current"].strip())
    current = None if quoted is None else int(quoted[1]) if quoted[1].isdigit() else quoted[1]
    should = _properties(thing).get(name)
    return _different(kind, thing.name, {name: should}, {name: current})


def of_seen(topology: Topology, seen: BrokerSnapshot, names: Names) -> list[Difference]:
    """Every difference that the management API reports, in the order of the declaration, with surplus things last."""
    exchanges = {exchange.name: exchange for exchange in seen.exchanges}
    queues = {queue.name: queue for queue in seen.queues}
    found = [_of_thing(exchange, exchanges.get(exchange.name)) for exchange in topology.exchanges]
    for queue in topology.queues:
        found += [_of_thing(queue, queues.get(queue.name)), _of_policy(queue, queues.get(queue.name))]
    return [
        *(difference for difference in found if difference is not None),
        *_missing_bindings(topology, seen),
        *_surplus_bindings(topology, seen),
        *_surplus_things(topology, seen, names),
    ]


def joined(asked: Iterable[Difference], seen: Iterable[Difference]) -> list[Difference]:
    """The differences found over AMQP and by management, without repetition; management's have every argument."""
    reported: dict[tuple[Kind, str], Difference] = {
        (d.kind, d.name): d for d in seen if d.kind in ("exchange", "queue") and d.state != "surplus"
    }
    first = [reported.pop((d.kind, d.name), d) for d in asked]
    known = set(map(id, first))
    return [*first, *(d for d in seen if id(d) not in known)]


def _properties(thing: Exchange | Queue | ObservedExchange | ObservedQueue) -> dict[str, Any]:
    """The properties that must be equal, by the names that a 406 uses."""
    of_all: dict[str, Any] = {"durable": True, "auto_delete": False, **thing.arguments}
    if isinstance(thing, ObservedExchange | ObservedQueue):
        of_all |= {"durable": thing.durable, "auto_delete": thing.auto_delete}
    if isinstance(thing, Exchange):
        of_all["type"] = thing.kind
    elif isinstance(thing, ObservedExchange):
        of_all["type"] = thing.type
    return of_all


def _of_thing(thing: Exchange | Queue, there: ObservedExchange | ObservedQueue | None) -> Difference | None:
    if there is None:
        return missing(thing)
    if isinstance(thing, Queue) and not thing.ours:
        return None
    should, found = _properties(thing), _properties(there)
    names = [name for name in {**should, **found} if should.get(name) != found.get(name)]
    if not names:
        return None
    kind: Kind = "exchange" if isinstance(thing, Exchange) else "queue"
    return _different(kind, thing.name, {n: should.get(n) for n in names}, {n: found.get(n) for n in names})


def _of_policy(queue: Queue, there: ObservedQueue | None) -> Difference | None:
    """The difference for a policy that changes how a queue keeps its messages."""
    if there is None or not queue.ours or not isinstance(there.effective_policy_definition, dict):
        return None
    policy = there.effective_policy_definition
    changed = [
        (key, queue.arguments.get(argument))
        for keys, counts in ((_POLICY_LOWERS, _lowers), (_POLICY_WINS, _wins), (_POLICY_FILLS, _fills))
        for key, argument in keys.items()
        if key in policy and counts(policy[key], queue.arguments.get(argument))
    ]
    if not changed:
        return None
    by = " and ".join(filter(None, [there.policy, there.operator_policy]))
    found = _different("policy", queue.name, dict(changed), {key: policy[key] for key, _ in changed})
    return msgspec.structs.replace(found, detail=f"policy {by}: {found.detail}")


def _lowers(policy: Any, argument: Any) -> bool:
    return argument is None or policy < argument


def _wins(policy: Any, argument: Any) -> bool:
    return bool(policy != argument)


def _fills(_: Any, argument: Any) -> bool:
    return argument is None


def _missing_bindings(topology: Topology, seen: BrokerSnapshot) -> list[Difference]:
    there = {_seen_binding(b) for b in seen.bindings}
    return [Difference("binding", _arrow(b), "missing") for b in topology.bindings if b not in there]


def _seen_binding(seen: ObservedBinding) -> Binding:
    kind: Literal["queue", "exchange"] = "queue" if seen.destination_type == "queue" else "exchange"
    return Binding(seen.source, seen.destination, seen.routing_key, kind)


def _surplus_bindings(topology: Topology, seen: BrokerSnapshot) -> list[Difference]:
    """Bindings of our exchanges and queues that are not declared any more; each still carries events."""
    declared = set(topology.bindings)
    exchanges = {exchange.name for exchange in topology.exchanges}
    queues = {queue.name: queue for queue in topology.queues if queue.ours}
    found = []
    for b in seen.bindings:
        binding = _seen_binding(b)
        is_ours = b.source in exchanges or (b.destination in queues and binding.kind == "queue")
        if b.source and is_ours and binding not in declared:
            detail = f"{b.destination_type} {b.destination} still gets these"
            found.append(Difference("binding", _arrow(binding), "surplus", detail, is_=msgspec.structs.asdict(b)))
    return found


def _surplus_things(topology: Topology, seen: BrokerSnapshot, names: Names) -> list[Difference]:
    """Queues and exchanges with names like ours that are not configured: of a removed source, downstream or delay."""
    known = {queue.name for queue in topology.queues} | {exchange.name for exchange in topology.exchanges}
    queues = [
        Difference(
            "queue",
            q.name,
            "surplus",
            f"{q.messages} message(s), {q.consumers} consumer(s)",
            is_={"messages": q.messages},
        )
        for q in seen.queues
        if q.name not in known and names.role(q.name)
    ]
    exchanges = [
        Difference("exchange", e.name, "surplus") for e in seen.exchanges if e.name not in known and names.role(e.name)
    ]
    return queues + exchanges


def _different(kind: Kind, name: str, should: Mapping[str, Any], found: Mapping[str, Any]) -> Difference:
    texts = [f"{key} is {_shown(found[key])}, should be {_shown(should[key])}" for key in should]
    return Difference(kind, name, "different", "; ".join(texts), should=should, is_=found)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _arrow(binding: Binding) -> str:
    return f"{binding.exchange} -[{binding.routing_key}]-> {binding.destination}"
