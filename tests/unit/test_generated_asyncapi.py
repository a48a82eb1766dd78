import re
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator

from tests.builders import enrichment, event, received
from zenoti_ingest.core.events import cloud_event
from zenoti_ingest.core.events.identity import UNKNOWN
from zenoti_ingest.core.events.trace_context import context
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.policy import DeadLetter
from zenoti_ingest.core.topology.declared import Archive, Downstream, Topology, whole_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.documents.messages import messages
from zenoti_ingest.operations.documents.shapes import Components, public_shapes
from zenoti_ingest.operations.schemas import HERE
from zenoti_ingest.settings import Settings
from zenoti_schemas.enriched import CONTENT_TYPE

NAMES = Names("zenoti")
DOCUMENT = msgspec.json.decode((HERE / "asyncapi.json").read_bytes())
CHANNELS: dict[str, Any] = DOCUMENT["channels"]


class Guest(msgspec.Struct, frozen=True):
    """The data of an event, for these tests."""

    id: str
    age: int | None = None


def topology() -> Topology:
    """The example that the document shows."""
    kept = Settings().archive
    return whole_topology(
        NAMES,
        sources=["main"],
        downstreams=[Downstream(name="accounting", queue="zenoti.out.accounting")],
        delays_seconds=Settings().retry.delays_seconds,
        archive=Archive(max_age=kept.max_age, max_bytes=kept.max_bytes),
    )


def found(pointer: str) -> Any:
    """What a reference of the document leads to."""
    node = DOCUMENT
    for word in pointer.removeprefix("#/").split("/"):
        node = node[word]
    return node


def judge(schema: Any) -> Draft7Validator:
    """What judges by a schema of the document, in AsyncAPI's dialect."""
    return Draft7Validator({"allOf": [schema], "components": DOCUMENT["components"]})


def message(name: str) -> Any:
    """A message of the document."""
    return DOCUMENT["components"]["messages"][name]


def test_every_exchange_and_queue_is_a_channel() -> None:
    """Exchanges and queues are those of core.topology, no more and no fewer, each with its arguments and bindings."""
    wanted = topology()
    assert CHANNELS.keys() == {f"exchange.{e.name}" for e in wanted.exchanges} | {
        f"queue.{q.name}" for q in wanted.queues
    }
    for exchange in wanted.exchanges:
        channel = CHANNELS[f"exchange.{exchange.name}"]
        assert channel["x-arguments"] == exchange.arguments
        assert channel["bindings"]["amqp"]["exchange"]["type"] == exchange.kind
    for queue in wanted.queues:
        channel = CHANNELS[f"queue.{queue.name}"]
        assert channel["x-arguments"] == queue.arguments
        assert {(b["exchange"], b["routingKey"]) for b in channel["x-bindings"]} == {
            (b.exchange, b.routing_key) for b in wanted.bindings if b.destination == queue.name
        }


@pytest.mark.parametrize("name", CHANNELS)
def test_channels(name: str) -> None:
    """A channel says what it carries; each word of its address is a parameter; its binding is AMQP's 0.3.0."""
    channel = CHANNELS[name]
    assert channel["messages"]
    assert set(re.findall(r"\{(\w+)\}", channel["address"] or "")) == channel.get("parameters", {}).keys()
    amqp = channel["bindings"]["amqp"]
    kind = {"queue": "queue", "routingKey": "exchange"}[amqp["is"]]
    assert amqp.keys() == {"is", kind, "bindingVersion"}
    assert amqp["bindingVersion"] == "0.3.0"
    assert name == f"{kind}.{amqp[kind]['name']}"


def test_references() -> None:
    """Every reference leads somewhere, and an operation's messages are among its channel's."""

    def walk(node: Any) -> None:
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            assert found(node["$ref"])
        for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(inner)

    walk(DOCUMENT)
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert all(ref["$ref"].startswith(f"{operation['channel']['$ref']}/") for ref in operation["messages"])


def test_addresses_come_from_the_names() -> None:
    """An address with the example's words in it is the queue's name; the words vary, the rest is fixed."""
    lane = CHANNELS[f"queue.{NAMES.lane('main')}"]
    assert lane["address"] == "{prefix}.enrich.{source}.0"
    assert {word: parameter["default"] for word, parameter in lane["parameters"].items()} == {
        "prefix": "zenoti",
        "source": "main",
    }
    assert CHANNELS["queue.zenoti.out.accounting"]["address"] == "{prefix}.out.{downstream}"


def test_a_webhooks_headers() -> None:
    """Whatever core.events.messages writes is described, and what it always writes is required."""
    schema = message("webhook.other")["headers"]
    trace = context("a" * 32, "b" * 16, state="vendor=1")
    known = received(path_type="Guest.Created", attempts=2, replay="r1", redriven=True, trace=trace)
    everything = known.to(exchange="", routing_key="")
    assert everything.headers.keys() == schema["properties"].keys()
    judge(schema).validate(everything.headers)
    judge(schema).validate(received().to(exchange="", routing_key="").headers)
    assert not judge(schema).is_valid({"source": "main"})


def test_an_events_headers() -> None:
    """The CloudEvent's attributes stand in the headers as the document says."""
    sent = cloud_event.outgoing(event(type="nobody.knows"), exchange="", enrichment=enrichment(), fetched=b"{}")
    shown = message("event.other")
    judge(shown["headers"]).validate(sent.headers)
    judge(shown["payload"]).validate(msgspec.json.decode(sent.body))
    assert sent.headers.keys() <= shown["headers"]["properties"].keys()
    assert shown["contentType"] == sent.content_type == CONTENT_TYPE
    assert not judge(shown["headers"]).is_valid(sent.headers | {"ce-id": 1})


def test_a_dead_letters_headers() -> None:
    """A letter bears what the document says; a letter from the broker has x-death."""
    sent = dead_letter.write(
        received(redriven=True),
        DeadLetter("refused", "code 400"),
        names=NAMES,
        stage="enrich",
        dead_at="2031",
        identity=UNKNOWN,
    )
    judge(message("dead-letter")["headers"]).validate(sent.headers)
    judge(message("dead-letter")["headers"]).validate(dead_letter.without_body(sent, body_at="archive").headers)
    assert not judge(message("dead-letter")["headers"]).is_valid({"reason": "refused"})
    judge(message("dead-letter.by-broker")["headers"]).validate({"x-death": [{"queue": "q", "reason": "rejected"}]})


def test_documented_types_have_messages_of_their_own() -> None:
    """A type whose data is known is distinguished on the way in and out: enveloped or bare, with the right data."""
    components = Components("#/components/schemas/", [*public_shapes(), Guest])
    made = messages(components, {"guest.created": Guest})

    def valid(name: str, content: Any) -> bool:
        schema = {"allOf": [made[name]["payload"]], "components": {"schemas": components.schemas}}
        return Draft7Validator(schema).is_valid(content)

    def published(body: bytes, kind: str = "guest.created") -> Any:
        sent = cloud_event.outgoing(event(type=kind, body=body), exchange="", enrichment=enrichment())
        return msgspec.json.decode(sent.body)

    assert valid("webhook.Guest", {"event_type": "Guest.Created", "data": {"id": "g1", "new": 1}})
    assert valid("webhook.Guest", {"id": "g1"})
    assert not valid("webhook.Guest", {"event_type": "Guest.Created", "data": {"id": "g1", "age": "old"}})
    assert valid("event.Guest", published(b'{"data": {"id": "g1"}}'))
    assert not valid("event.Guest", published(b'{"data": {"id": 1}}'))
    assert not valid("event.Guest", published(b'{"data": {"id": "g1"}}', "guest.deleted"))
    assert valid("event.other", published(b"{}", "guest.deleted"))
    assert not valid("event.other", published(b'{"data": {"id": "g1"}}'))
