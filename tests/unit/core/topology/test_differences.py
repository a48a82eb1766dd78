"""A broker's own report against the declared topology: synthetic documents in the shapes of 3.10 and 4.3."""

from typing import Any

import msgspec
import pytest

from zenoti_ingest.core.topology.declared import Archive, Downstream, Exchange, Queue, Topology, whole_topology
from zenoti_ingest.core.topology.differences import (
    BrokerSnapshot,
    Difference,
    ObservedBinding,
    ObservedExchange,
    ObservedQueue,
    joined,
    missing,
    of_seen,
    refused,
)
from zenoti_ingest.core.topology.names import Names

NAMES = Names("zenoti")
THEIRS = Downstream(name="theirs", queue="theirs", declare=False)
RAW = "zenoti.raw.main"


def declared() -> Topology:
    """Everything for one source, a downstream of ours and one of theirs."""
    downstreams = (Downstream(name="crm", queue="zenoti.out.crm", events=("guest.#",)), THEIRS)
    archive = Archive(max_age="30D", max_bytes=1_000_000)
    return whole_topology(NAMES, sources=("main",), downstreams=downstreams, delays_seconds=(5,), archive=archive)


def seen_as_declared() -> BrokerSnapshot:
    """A broker that has all of it and nothing else but its own."""
    topology = declared()
    return BrokerSnapshot(
        [
            ObservedExchange("", "direct"),
            ObservedExchange("amq.topic", "topic"),
            *(ObservedExchange(e.name, e.kind, arguments=e.arguments) for e in topology.exchanges),
        ],
        [ObservedQueue(q.name, arguments=q.arguments) for q in topology.queues],
        [
            *(ObservedBinding("", q.name, "queue", q.name, q.name) for q in topology.queues),
            *(
                ObservedBinding(b.exchange, b.destination, b.kind, b.routing_key, b.routing_key)
                for b in topology.bindings
            ),
        ],
    )


def changed(seen: BrokerSnapshot, queue: str, **fields: Any) -> BrokerSnapshot:
    """The same broker with one queue changed."""
    queues = [msgspec.structs.replace(q, **fields) if q.name == queue else q for q in seen.queues]
    return msgspec.structs.replace(seen, queues=queues)


def differences(seen: BrokerSnapshot) -> list[Difference]:
    """What is found."""
    return of_seen(declared(), seen, NAMES)


def test_as_declared_is_no_difference() -> None:
    """A broker that has all as declared, its own exchanges beside it, shows none."""
    assert differences(seen_as_declared()) == []


def test_an_empty_broker_lacks_everything_once() -> None:
    """Each exchange, queue and binding is missing, once each."""
    topology = declared()
    found = differences(BrokerSnapshot([], [], []))
    assert {d.state for d in found} == {"missing"}
    assert len(found) == len(topology.exchanges) + len(topology.queues) + len(topology.bindings)
    assert len({(d.kind, d.name) for d in found}) == len(found)
    (theirs,) = [d for d in found if d.name == "theirs"]
    assert not theirs.ours
    assert "declare = false" in theirs.detail


def test_every_argument_that_differs_is_reported() -> None:
    """All differing arguments of a queue are reported, what is and what should be; None if an argument is not set."""
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 20, "x-overflow": "reject-publish", "x-expires": 5}
    (found,) = differences(changed(seen_as_declared(), RAW, arguments=arguments))
    assert (found.kind, found.name, found.state) == ("queue", RAW, "different")
    assert found.is_ == {
        "x-dead-letter-strategy": None,
        "x-dead-letter-exchange": None,
        "x-dead-letter-routing-key": None,
        "x-delivery-limit": 20,
        "x-expires": 5,
    }
    assert found.should["x-delivery-limit"] == 1000
    assert found.should["x-expires"] is None
    assert "x-delivery-limit is 20, should be 1000" in found.detail
    assert "x-expires is 5, should be not set" in found.detail


def test_an_exchange_of_another_kind() -> None:
    """An exchange's type, durability and arguments are compared."""
    seen = seen_as_declared()
    exchanges = [
        ObservedExchange(e.name, "topic", durable=False, arguments=e.arguments) if e.name == "zenoti.work" else e
        for e in seen.exchanges
    ]
    (found,) = differences(msgspec.structs.replace(seen, exchanges=exchanges))
    assert (found.kind, found.name) == ("exchange", "zenoti.work")
    assert found.is_ == {"durable": False, "type": "topic"}
    assert found.should == {"durable": True, "type": "direct"}


def test_the_downstreams_own_queue_is_theirs() -> None:
    """What a queue is like that the downstream declares itself is nobody's business here, nor are its policies."""
    seen = changed(
        seen_as_declared(), "theirs", arguments={"x-max-length": 1}, effective_policy_definition={"expires": 1}
    )
    assert differences(seen) == []


@pytest.mark.parametrize(
    ("policy", "is_"),
    [
        ({"max-length-bytes": 1000, "overflow": "drop-head"}, {"max-length-bytes": 1000, "overflow": "drop-head"}),
        ({"delivery-limit": 20, "expires": 60_000}, {"delivery-limit": 20, "expires": 60_000}),
        ({"dead-letter-strategy": "at-most-once"}, {"dead-letter-strategy": "at-most-once"}),
    ],
    ids="-".join,
)
def test_a_policy_that_changes_what_a_queue_keeps(policy: dict[str, Any], is_: dict[str, Any]) -> None:
    """A policy that lowers a bound or a limit, drops, or lets the queue expire is reported by its name."""
    seen = changed(seen_as_declared(), RAW, policy="short", operator_policy="all", effective_policy_definition=policy)
    (found,) = differences(seen)
    assert (found.kind, found.name, found.state, found.is_) == ("policy", RAW, "different", is_)
    assert "policy short and all" in found.detail


@pytest.mark.parametrize(
    "policy",
    [
        {},
        [],
        None,
        {"delivery-limit": 1_000_000},
        {"dead-letter-exchange": "elsewhere"},
        {"overflow": "reject-publish"},
        {"consumer-timeout": 7_200_000, "target-group-size": 3},
    ],
    ids=str,
)
def test_a_policy_that_changes_nothing(policy: Any) -> None:
    """A policy that the argument outdoes, or that is about something else, is no difference."""
    assert differences(changed(seen_as_declared(), RAW, policy="p", effective_policy_definition=policy)) == []


def test_a_policy_fills_what_no_argument_says() -> None:
    """If a queue has no dead letter exchange, a policy's exchange is a difference."""
    seen = changed(seen_as_declared(), "zenoti.out.crm", effective_policy_definition={"dead-letter-exchange": "x"})
    (found,) = differences(seen)
    assert found.should == {"dead-letter-exchange": None}


def test_bindings_missing_and_surplus() -> None:
    """A binding that is not there, and each that nobody declares any more: a pattern taken out, a stranger's queue."""
    seen = seen_as_declared()
    strangers = [
        ObservedBinding("zenoti.events", "zenoti.out.crm", "queue", "*.invoice.#", "%2A.invoice.%23"),
        ObservedBinding("zenoti.events", "theirs-too", "queue", "main.#", "main.%23"),
        ObservedBinding("zenoti.intake", "copy", "exchange", "main", "main"),
        ObservedBinding("amq.topic", RAW, "queue", "a", "a"),
        ObservedBinding("amq.topic", "theirs", "queue", "a", "a"),
        ObservedBinding("amq.topic", "nobody's", "queue", "a", "a"),
    ]
    kept = [b for b in seen.bindings if (b.source, b.destination) != ("zenoti.intake", RAW)]
    found = differences(msgspec.structs.replace(seen, bindings=[*kept, *strangers]))
    assert [(d.kind, d.state, d.name) for d in found] == [
        ("binding", "missing", "zenoti.intake -[main]-> zenoti.raw.main"),
        ("binding", "surplus", "zenoti.events -[*.invoice.#]-> zenoti.out.crm"),
        ("binding", "surplus", "zenoti.events -[main.#]-> theirs-too"),
        ("binding", "surplus", "zenoti.intake -[main]-> copy"),
        ("binding", "surplus", "amq.topic -[a]-> zenoti.raw.main"),
    ]
    assert found[1].is_["properties_key"] == "%2A.invoice.%23"


def test_what_the_configuration_no_longer_knows() -> None:
    """Left-over queues and exchanges of our shapes are reported with what they hold; others' are not."""
    seen = seen_as_declared()
    left = [
        ObservedQueue("zenoti.raw.spa", messages=12, consumers=1),
        ObservedQueue("zenoti.out.old"),
        ObservedQueue("zenoti.staging.raw.main"),
        ObservedQueue("other.raw.main"),
    ]
    more = [*seen.exchanges, ObservedExchange("zenoti.retry.9s", "fanout"), ObservedExchange("zenoti.theirs", "topic")]
    found = differences(msgspec.structs.replace(seen, queues=[*seen.queues, *left], exchanges=more))
    assert [(d.kind, d.state, d.name) for d in found] == [
        ("queue", "surplus", "zenoti.raw.spa"),
        ("queue", "surplus", "zenoti.out.old"),
        ("exchange", "surplus", "zenoti.retry.9s"),
    ]
    assert found[0].detail == "12 message(s), 1 consumer(s)"
    assert found[0].is_ == {"messages": 12}


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("received '1000' but current is '20'", 20),
        ("received none but current is the value 'at-least-once' of type 'longstr'", "at-least-once"),
        ("received the value '5' of type 'byte' but current is none", None),
    ],
)
def test_a_refusal_names_the_argument(text: str, is_: Any) -> None:
    """The 406's text becomes what is and what should be, in the broker's three spellings."""
    queue = Queue("q", {"x-delivery-limit": 1000})
    found = refused(
        queue, f"PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': {text}"
    )
    assert found == Difference(
        "queue",
        "q",
        "different",
        f"x-delivery-limit is {'not set' if is_ is None else is_}, should be 1000",
        should={"x-delivery-limit": 1000},
        is_={"x-delivery-limit": is_},
    )


def test_a_refusal_of_an_exchange_and_one_of_another_shape() -> None:
    """An exchange's type is compared by that name; a text that nobody foresaw is shown as it is, cut."""
    text = "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'direct' but current is 'topic'"
    assert refused(Exchange("x", "direct"), text).detail == "type is topic, should be direct"
    assert refused(Queue("q"), "something " * 100).detail == ("something " * 100)[:300]


def test_joined_has_each_once() -> None:
    """A difference in both is there once, with all arguments; a difference in either alone stays."""
    asked = [
        missing(Exchange("x", "topic")),
        Difference("queue", "q", "different", "first"),
        Difference("queue", "only-asked", "different"),
    ]
    seen = [
        missing(Exchange("x", "topic")),
        Difference("queue", "q", "different", "all of it"),
        Difference("policy", "q", "different"),
        Difference("queue", "left", "surplus"),
    ]
    assert [(d.kind, d.name, d.detail) for d in joined(asked, seen)] == [
        ("exchange", "x", ""),
        ("queue", "q", "all of it"),
        ("queue", "only-asked", ""),
        ("policy", "q", ""),
        ("queue", "left", ""),
    ]
