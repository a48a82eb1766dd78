"""The broker as AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

Exchanges, queues, arguments and bindings come from `core.topology`, twice: with the names of an example, and with
`{prefix}`, `{source}` and `{downstream}` in their places, for the addresses. The topology does not know which message a
queue carries, nor who sends and receives: that stands in the tables here. A queue without a line in them is an error.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from zenoti_ingest import __version__
from zenoti_ingest.app.topologies import example_topology
from zenoti_ingest.core.events.routing import routing_key
from zenoti_ingest.core.topology.declared import Exchange, Queue, Topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.documents.messages import BATON, DEAD, EVENT, STATE, WEBHOOK, messages
from zenoti_ingest.operations.documents.shapes import Components, Json, event_data, public_shapes

_SCHEMAS: Final = "#/components/schemas/"
_BINDING_VERSION: Final = "0.3.0"
_EXAMPLE: Final = {"prefix": "zenoti", "source": "main", "downstream": "accounting"}
_VARIABLE: Final = {word: f"{{{word}}}" for word in _EXAMPLE}
_N: Final = Names(_VARIABLE["prefix"])
_RAW, _LANE = _N.raw(_VARIABLE["source"]), _N.lane(_VARIABLE["source"])
_OUT: Final = "{prefix}.out.{downstream}"
_FOR, _TO = _N.receiver(_VARIABLE["downstream"]), _N.receiver_alone(_VARIABLE["downstream"])
_WAIT: Final = _N.waiting(_VARIABLE["downstream"])
_ANY_EVENT: Final = routing_key(_VARIABLE["source"], "{event_type}")
_NAMED: Final = example_topology(**_VARIABLE)
_RETRIES: Final = tuple(queue.name for queue in _NAMED.queues if _N.role(queue.name) == "retry")

_CARRIES: Final[Mapping[str, tuple[str, ...]]] = {
    _RAW: (WEBHOOK,),
    _LANE: (WEBHOOK,),
    _N.turn(_VARIABLE["source"]): (BATON,),
    _N.archive: (WEBHOOK,),
    **dict.fromkeys(_RETRIES, (WEBHOOK,)),
    _N.dead: (DEAD,),
    _N.state: (STATE,),
    _N.unrouted: (EVENT,),
    _OUT: (EVENT,),
    _WAIT: (EVENT,),
}
_ROUTING_KEYS: Final[Mapping[str, str | None]] = {
    _N.intake: _VARIABLE["source"],
    _N.work: "{queue}",
    _N.events: _ANY_EVENT,
    _N.unrouted: _ANY_EVENT,
    **dict.fromkeys((_FOR, _TO, _WAIT), _ANY_EVENT),
    _N.state: None,  # a fanout that every message enters without a key
    **dict.fromkeys(_RETRIES, "{queue}"),
}
_SENDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("intake", _N.intake, WEBHOOK),
    ("intake", _N.state, STATE),
    ("translate", _N.work, WEBHOOK),
    ("translate", _N.work, DEAD),
    ("translate", _N.events, EVENT),
    *(("enrich", retry, WEBHOOK) for retry in _RETRIES),
    ("enrich", _N.work, BATON),
    ("enrich", _N.work, DEAD),
    ("enrich", _N.events, EVENT),
    *(("consume", exchange, EVENT) for exchange in (_TO, _WAIT, _N.unrouted)),
    ("consume", _N.state, STATE),
    ("dead", _N.work, WEBHOOK),
)
_RECEIVES: Final[tuple[tuple[str, str, str], ...]] = (
    ("translate", _RAW, WEBHOOK),
    ("enrich", _LANE, WEBHOOK),
    ("enrich", _N.turn(_VARIABLE["source"]), BATON),
    ("consume", _WAIT, EVENT),
    ("dead", _N.dead, DEAD),
    ("status", _N.state, STATE),
    ("downstream", _OUT, EVENT),
)
_WHO: Final = {
    "intake": "the HTTP door",
    "translate": "decodes, classifies, routes; any number of processes",
    "enrich": "one active consumer for each source; fetches invoices",
    "consume": "the process in which translate and enrich run",
    "dead": "the operator's commands dead list, show, redrive, discard",
    "status": "the operator's command status",
    "downstream": "a service that receives the events; not part of zenoti-ingest",
}


def document() -> Json:
    """Return the whole document."""
    components = Components(_SCHEMAS, public_shapes())
    made = messages(components, event_data())
    kinds = {kind: [name for name, message in made.items() if message["x-kind"] == kind] for kind in _kinds()}
    shown, named = example_topology(**_EXAMPLE), _NAMED
    carried = _carried(named)
    channels = {
        **{
            f"exchange.{real.name}": _exchange(real, name.name, _pick(kinds, carried["exchange", name.name]), shown)
            for real, name in zip(shown.exchanges, named.exchanges, strict=True)
        },
        **{
            f"queue.{real.name}": _queue(real, name.name, _pick(kinds, carried["queue", name.name]), shown)
            for real, name in zip(shown.queues, named.queues, strict=True)
        },
    }
    return {
        "asyncapi": "3.0.0",
        "id": "urn:zenoti-ingest",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": channels,
        "operations": dict(_operations(kinds)),
        "components": {
            "messages": made,
            "schemas": components.schemas,
            "securitySchemes": {"password": {"type": "userPassword"}, "certificate": {"type": "X509"}},
        },
    }


def _kinds() -> tuple[str, ...]:
    return (WEBHOOK, DEAD, STATE, BATON, EVENT)


def _pick(kinds: Mapping[str, list[str]], wanted: Iterable[str]) -> list[str]:
    return [name for kind in _kinds() if kind in wanted for name in kinds[kind]]


def _carried(topology: Topology) -> dict[tuple[str, str], set[str]]:
    """Return what each queue carries, by the table; an exchange carries what the queues bound to it carry."""
    carried = {("queue", queue.name): set(_CARRIES[queue.name]) for queue in topology.queues}
    for binding in topology.bindings:
        carried.setdefault(("exchange", binding.exchange), set()).update(carried[binding.kind, binding.destination])
    return carried


def _info() -> Json:
    return {
        "title": "zenoti-ingest on RabbitMQ",
        "version": __version__,
        "description": "Every exchange and queue, with an example's names: prefix `zenoti`, one source `main`, one "
        "downstream `accounting`, the default delays and archive. Each hop is publish, confirm, ack; delivery is at "
        "least once. `x-arguments` are those of the declaration; `x-bindings` say what leads into it.",
        "license": {"name": "MIT"},
        "tags": [{"name": name, "description": text} for name, text in sorted(_WHO.items())],
    }


def _server() -> Json:
    return {
        "host": "127.0.0.1:5672",
        "protocol": "amqp",
        "protocolVersion": "0-9-1",
        "description": "RabbitMQ; `broker.url`, also amqps.",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("password", "certificate")],
    }


def _exchange(exchange: Exchange, name: str, carried: list[str], topology: Topology) -> Json:
    bound = {"name": exchange.name, "type": exchange.kind, "durable": True, "autoDelete": False, "vhost": "/"}
    return {
        **_channel(_ROUTING_KEYS[name], carried),
        "title": f"exchange {name}",
        "summary": f"A {exchange.kind} exchange; the address is the routing key.",
        "bindings": {"amqp": {"is": "routingKey", "exchange": bound, "bindingVersion": _BINDING_VERSION}},
        "x-arguments": dict(exchange.arguments),
        "x-bindings": _ways(topology, exchange.name, "exchange"),
    }


def _queue(queue: Queue, name: str, carried: list[str], topology: Topology) -> Json:
    made = {"name": queue.name, "durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"}
    return {
        **_channel(name, carried),
        "title": f"queue {name}",
        "summary": f"A {queue.arguments['x-queue-type']} queue." if not _is_stream(queue) else "A stream.",
        "bindings": {"amqp": {"is": "queue", "queue": made, "bindingVersion": _BINDING_VERSION}},
        "x-arguments": dict(queue.arguments),
        "x-bindings": _ways(topology, queue.name, "queue"),
    }


def _ways(topology: Topology, name: str, kind: str) -> list[Json]:
    """Return the bindings that lead into a queue or an exchange."""
    found = sorted((b.exchange, b.routing_key) for b in topology.bindings if (b.destination, b.kind) == (name, kind))
    return [{"exchange": exchange, "routingKey": key} for exchange, key in found]


def _is_stream(queue: Queue) -> bool:
    return bool(queue.arguments["x-queue-type"] == "stream")


def _channel(address: str | None, carried: list[str]) -> Json:
    parameters = {word: _parameter(word) for word in re.findall(r"\{(\w+)\}", address or "")}
    return {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in carried},
        **({"parameters": parameters} if parameters else {}),
    }


def _parameter(word: str) -> Json:
    known: dict[str, Any] = {
        "prefix": {"description": "`broker.prefix`"},
        "source": {"description": "a source's name; `sources.<name>`"},
        "downstream": {"description": "a receiver's name; `downstream.<name>`, unless `.queue` names the queue"},
        "event_type": {
            "description": "lower case; characters outside `[a-z0-9._-]` are `-`",
            "examples": list(event_data()) or ["invoice.closed"],
        },
        "queue": {"description": "the queue of ours that it is for", "examples": [Names("zenoti").raw("main")]},
    }
    return {**known[word], **({"default": _EXAMPLE[word]} if word in _EXAMPLE else {})}


def _operations(kinds: Mapping[str, list[str]]) -> Iterable[tuple[str, Json]]:
    sends = [(who, "send", f"exchange.{name}", kind) for who, name, kind in _SENDS]
    receives = [(who, "receive", f"queue.{name}", kind) for who, name, kind in _RECEIVES]
    for who, action, name, kind in sends + receives:
        channel = name.format(**_EXAMPLE)
        amqp = {"deliveryMode": 2, "mandatory": True} if action == "send" else {"ack": True}
        yield (
            f"{who}.{action}.{kind}.{channel}",
            {
                "action": action,
                "title": f"{who}: {action} {kind}",
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in kinds[kind]],
                "tags": [{"name": who}],
                "bindings": {"amqp": {**amqp, "bindingVersion": _BINDING_VERSION}},
            },
        )
