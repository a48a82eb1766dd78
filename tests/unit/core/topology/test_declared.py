from typing import Any

import pytest

from zenoti_ingest.core.topology.declared import (
    DELIVERY_LIMIT,
    NEVER_FORGET,
    Archive,
    Binding,
    Downstream,
    Queue,
    Topology,
    definitions,
    intake_topology,
    whole_topology,
)
from zenoti_ingest.core.topology.names import Names

NAMES = Names("zenoti")
ARCHIVE = Archive(max_age="30D", max_bytes=10 * 1024**3)
THEIRS = Downstream(name="theirs", queue="theirs", declare=False, events=("Invoice.*",), sources=("main",))
OURS = Downstream(name="crm", queue="zenoti.out.crm", max_bytes=5_000_000)


def whole(
    *, archive: Archive | None = ARCHIVE, downstreams: tuple[Downstream, ...] = (OURS, THEIRS), prefix: str = "zenoti"
) -> Topology:
    """Everything, for two sources."""
    return whole_topology(
        Names(prefix), sources=("main", "spa"), downstreams=downstreams, delays_seconds=(30, 5, 30), archive=archive
    )


def queues(topology: Topology) -> dict[str, Queue]:
    """The queues by name."""
    return {queue.name: queue for queue in topology.queues}


def is_stream(queue: Queue) -> bool:
    """Whether a queue is a stream."""
    return bool(queue.arguments["x-queue-type"] == "stream")


def test_names_are_the_public_face() -> None:
    """Every exchange and queue has the name that operators and downstreams hold on to."""
    assert list(queues(whole())) == [
        "zenoti.dead",
        "zenoti.state",
        "zenoti.raw.main",
        "zenoti.raw.spa",
        "zenoti.archive",
        "zenoti.unrouted",
        "zenoti.enrich.main.0",
        "zenoti.enrich.spa.0",
        "zenoti.enrich.main.0.turn",
        "zenoti.enrich.spa.0.turn",
        "zenoti.retry.5s",
        "zenoti.retry.30s",
        "zenoti.out.crm",
        "theirs",
        "zenoti.wait.crm",
        "zenoti.wait.theirs",
    ]
    assert {(e.name, e.kind) for e in whole().exchanges} == {
        ("zenoti.intake", "topic"),
        ("zenoti.work", "direct"),
        ("zenoti.state", "fanout"),
        ("zenoti.unrouted", "fanout"),
        ("zenoti.events", "topic"),
        ("zenoti.retry.5s", "fanout"),
        ("zenoti.retry.30s", "fanout"),
        *((f"zenoti.{word}.{name}", "fanout") for word in ("for", "to", "wait") for name in ("crm", "theirs")),
    }


def test_prefix_is_the_first_word_of_every_name() -> None:
    """Under another prefix nothing of ours keeps the default's name."""
    made = whole(prefix="test-7", downstreams=())
    assert all(name.startswith("test-7.") for name in queues(made))
    assert all(exchange.name.startswith("test-7.") for exchange in made.exchanges)


def test_every_queue_is_quorum_or_stream() -> None:
    """Archive and state are streams, all else is a quorum queue."""
    streams = {name for name, queue in queues(whole()).items() if is_stream(queue)}
    assert streams == {"zenoti.archive", "zenoti.state"}
    assert {queue.arguments["x-queue-type"] for queue in whole().queues} == {"quorum", "stream"}


@pytest.mark.parametrize(
    "name", ["zenoti.raw.main", "zenoti.enrich.main.0", "zenoti.retry.5s", "zenoti.retry.30s"], ids=str
)
def test_our_queues_dead_letter_at_least_once(name: str) -> None:
    """What leaves a queue of ours by the broker's hand arrives elsewhere, or stays: nothing is dropped."""
    arguments = queues(whole())[name].arguments
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"
    assert arguments["x-dead-letter-exchange"] == "zenoti.work"


@pytest.mark.parametrize("name", ["zenoti.raw.main", "zenoti.enrich.main.0"], ids=str)
def test_delivery_limit_leads_to_the_dead_letters(name: str) -> None:
    """A message that is handed back too often goes to the dead letters, after more hand-backs than deploys."""
    arguments = queues(whole())[name].arguments
    assert arguments["x-dead-letter-routing-key"] == "zenoti.dead"
    assert arguments["x-delivery-limit"] == DELIVERY_LIMIT == 1000


@pytest.mark.parametrize("name", ["zenoti.dead", "zenoti.unrouted", "zenoti.out.crm", "theirs"], ids=str)
def test_what_is_looked_at_is_never_forgotten(name: str) -> None:
    """Dead letters, unrouted and downstream queues carry a delivery limit of a million and lead nowhere."""
    arguments = queues(whole())[name].arguments
    assert arguments["x-delivery-limit"] == NEVER_FORGET == 1_000_000
    assert "x-dead-letter-exchange" not in arguments


@pytest.mark.parametrize(("seconds", "milliseconds"), [(5, 5000), (30, 30_000)], ids=str)
def test_delay_queue_leads_back(seconds: int, milliseconds: int) -> None:
    """A delay queue keeps for its seconds, then the message's own routing key leads it to where it came from."""
    arguments = queues(whole())[f"zenoti.retry.{seconds}s"].arguments
    assert arguments["x-message-ttl"] == milliseconds
    assert "x-dead-letter-routing-key" not in arguments
    assert Binding(f"zenoti.retry.{seconds}s", f"zenoti.retry.{seconds}s", "") in whole().bindings


def test_one_active_consumer_where_order_counts() -> None:
    """Lanes and wait queues have a single active consumer; raw queues have competing consumers."""
    single = {name for name, queue in queues(whole()).items() if queue.arguments.get("x-single-active-consumer")}
    assert single == {f"zenoti.{name}" for name in ("enrich.main.0", "enrich.spa.0", "wait.crm", "wait.theirs")}


def test_oldest_dropped_only_where_promised() -> None:
    """Only unrouted, a downstream with a bound, and a lane's queue for its single baton drop their oldest."""
    dropping = {
        name: queue.arguments.get("x-max-length-bytes", queue.arguments.get("x-max-length"))
        for name, queue in queues(whole()).items()
        if queue.arguments.get("x-overflow") == "drop-head"
    }
    batons = {"zenoti.enrich.main.0.turn": 1, "zenoti.enrich.spa.0.turn": 1}
    assert dropping == {"zenoti.unrouted": 100_000_000, "zenoti.out.crm": 5_000_000} | batons


def test_streams_keep_their_bounds() -> None:
    """Archive and state have the sizes promised, in segments small enough for the age to be kept."""
    made = queues(whole(archive=Archive(max_age="12h", max_bytes=1_000_000)))
    assert made["zenoti.archive"].arguments == {
        "x-queue-type": "stream",
        "x-max-length-bytes": 1_000_000,
        "x-stream-max-segment-size-bytes": 250_000,
        "x-max-age": "12h",
    }
    assert made["zenoti.state"].arguments["x-max-length-bytes"] == 1_000_000
    large = queues(whole())["zenoti.archive"].arguments
    assert large["x-stream-max-segment-size-bytes"] < large["x-max-length-bytes"] / 100


def test_archive_can_be_switched_off() -> None:
    """Without an archive there is neither its stream nor a binding to it."""
    made = whole(archive=None)
    assert "zenoti.archive" not in queues(made)
    assert not [binding for binding in made.bindings if binding.destination == "zenoti.archive"]


def test_the_door_publishes_to_raw_queue_and_archive() -> None:
    """One publish by source reaches the source's raw queue and the archive."""
    reached = {(b.destination, b.routing_key) for b in whole().bindings if b.exchange == "zenoti.intake"}
    assert reached == {("zenoti.raw.main", "main"), ("zenoti.raw.spa", "spa"), ("zenoti.archive", "#")}


def test_every_queue_of_ours_is_reached_by_its_name() -> None:
    """The work exchange leads to dead letters, raw queues, lanes and their batons by their own names."""
    by_work = [binding for binding in whole().bindings if binding.exchange == "zenoti.work"]
    reached = {binding.destination for binding in by_work if binding.destination == binding.routing_key}
    lanes = {f"zenoti.enrich.{source}.0{what}" for source in ("main", "spa") for what in ("", ".turn")}
    assert reached == {f"zenoti.{n}" for n in ("dead", "raw.main", "raw.spa")} | lanes


def test_downstreams_are_bound_to_what_they_want() -> None:
    """A downstream is bound by its patterns; what nobody matches goes to unrouted by the alternate exchange."""
    bound = {(b.destination, b.routing_key) for b in whole().bindings if b.exchange == "zenoti.events"}
    assert bound == {("zenoti.for.crm", "*.#"), ("zenoti.for.theirs", "main.invoice.*")}
    (events,) = [exchange for exchange in whole().exchanges if exchange.name == "zenoti.events"]
    assert events.arguments == {"alternate-exchange": "zenoti.unrouted"}
    assert Binding("zenoti.unrouted", "zenoti.unrouted", "") in whole().bindings


def test_a_receivers_events_find_another_way_where_its_queue_is_gone() -> None:
    """Its queue hangs on two exchanges: one leads to its wait queue without it, the other returns the message."""
    arguments = {exchange.name: exchange.arguments for exchange in whole().exchanges}
    to_crm = {b.exchange for b in whole().bindings if b.destination == "zenoti.out.crm"}
    assert to_crm == {"zenoti.for.crm", "zenoti.to.crm"}
    assert arguments["zenoti.for.crm"] == {"alternate-exchange": "zenoti.wait.crm"}
    assert arguments["zenoti.to.crm"] == {}
    assert Binding("zenoti.wait.crm", "zenoti.wait.crm", "") in whole().bindings
    waiting = queues(whole())["zenoti.wait.crm"].arguments
    assert not {"x-max-length", "x-max-length-bytes", "x-message-ttl"} & waiting.keys()
    assert waiting["x-delivery-limit"] == 1_000_000


def test_the_direct_binding_of_earlier_releases_is_superseded() -> None:
    """What bound a receiver's queue to the events exchange itself is named, to be removed; nothing else is."""
    assert set(whole().superseded) == {
        Binding("zenoti.events", "zenoti.out.crm", "*.#"),
        Binding("zenoti.events", "theirs", "main.invoice.*"),
    }
    assert not set(whole().superseded) & set(whole().bindings)


def test_the_whole_includes_the_doors_part() -> None:
    """Intake and consumers declare the same: the door's topology is part of the whole."""
    door = intake_topology(NAMES, sources=("main", "spa"), archive=ARCHIVE)
    assert set(door.bindings) < set(whole().bindings)
    assert all(queue in whole().queues for queue in door.queues)
    assert all(exchange in whole().exchanges for exchange in door.exchanges)


def test_it_can_be_declared_in_order() -> None:
    """Every binding joins what is in the topology, and no name stands twice."""
    made = whole()
    exchanges = [exchange.name for exchange in made.exchanges]
    assert len(set(exchanges)) == len(exchanges)
    assert len(queues(made)) == len(made.queues)
    assert {b.exchange for b in made.bindings} == set(exchanges)
    assert {b.destination for b in made.bindings if b.kind == "queue"} == set(queues(made))
    assert {b.destination for b in made.bindings if b.kind == "exchange"} == {"zenoti.for.crm", "zenoti.for.theirs"}


def test_definitions() -> None:
    """The export has RabbitMQ's own shape, all durable, and leaves out the queues that are not ours."""
    made: dict[str, Any] = definitions(whole(), vhost="/v")
    assert {queue["name"] for queue in made["queues"]} == set(queues(whole())) - {"theirs"}
    parts = [*made["exchanges"], *made["queues"]]
    assert all(part["durable"] and not part["auto_delete"] and part["vhost"] == "/v" for part in parts)
    assert made["exchanges"][0] == {
        "name": "zenoti.intake",
        "vhost": "/v",
        "type": "topic",
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }
    assert made["bindings"][0] == {
        "source": "zenoti.work",
        "vhost": "/v",
        "destination": "zenoti.dead",
        "destination_type": "queue",
        "routing_key": "zenoti.dead",
        "arguments": {},
    }
    assert len(made["bindings"]) == len(whole().bindings)
