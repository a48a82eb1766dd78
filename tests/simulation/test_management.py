"""The watches of simulated processes notice what somebody does to the topology, as the real ones do."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from tests.fakes import FakeRuntime, FakeSpool
from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from tests.simulation.settings import settings_of
from tests.simulation.virtual_time import SimulatedProcess, run_in_virtual_time
from tests.simulation.watches import (
    SimulatedOwners,
    consumer_watch,
    declare_anew,
    delete_queue,
    door_connection,
    prepared_publisher,
    queue_watch,
    unbind,
)
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.http_door import Arrival
from zenoti_ingest.app.broker import downstreams_of, full_topology, names_of
from zenoti_ingest.app.intake import DoorConnection
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable, TopologyMismatch
from zenoti_ingest.core.intake.admission import Rule
from zenoti_ingest.core.topology.permissions import rights
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.intake import DoorSource, Intake
from zenoti_ingest.telemetry.metrics import queue_messages

SETTINGS = settings_of()
NAMES, TOPOLOGY = names_of(SETTINGS), full_topology(SETTINGS)
RAW, RECEIVER = NAMES.raw("main"), NAMES.out("all")
NOTICED_SECONDS = 10.0  # a look every 5 s, and the time that it takes
DECLARED_SECONDS = 5.0


def in_world(act: Callable[[SimulatedBroker], Awaitable[None]], **more: Any) -> None:
    """Run it in virtual time, on a broker that has nothing yet."""

    async def main() -> None:
        await act(SimulatedBroker(seeded(1), **more))

    run_in_virtual_time(main())


class Door:
    """A process with a door's stage, its connection and its watch."""

    def __init__(self, broker: SimulatedBroker, on_disk: dict[str, SimulatedProcess], name: str) -> None:
        self.process = SimulatedProcess(name)
        owners = SimulatedOwners(on_disk, self.process, own=name)
        self.connection: DoorConnection = door_connection(SETTINGS, broker, start=self.process.start, owners=owners)
        self.spool = FakeSpool()
        self.stage = Intake(
            self.connection.link,
            self.spool,
            names=NAMES,
            sources={"main": DoorSource(signature_header="x", rule=Rule)},
            confirm_seconds=1.5,
            unavailable_reason=self.connection.unavailable_reason,
            runtime=FakeRuntime(),
        )
        self.connection.concerns(self.stage)
        self.process.start(self.connection.watch.run())

    async def post(self, body: bytes) -> int:
        """The status that a webhook gets."""
        headers = CIMultiDictProxy(CIMultiDict[str]())
        arrival = Arrival(source="main", path_type="", headers=headers, tokens=(), body=body, method="POST")
        return (await self.stage.receive(arrival)).status


async def opened(broker: SimulatedBroker, name: str = "door-1", on_disk: Any = None) -> Door:
    """A door that is ready."""
    door = Door(broker, {} if on_disk is None else on_disk, name)
    await door.connection.link.wait_ready()
    return door


def bodies_of(door: Door) -> list[bytes]:
    """What its spool has."""
    return [kept.spooled.event.body for kept in door.spool.kept]


def test_a_door_declares_what_it_needs_and_has_its_witness() -> None:
    """Once its connection is ready all is there."""

    async def act(broker: SimulatedBroker) -> None:
        door = await opened(broker)
        assert RAW in broker.queues
        assert f"{RAW}.witness.door-1" in broker.exchanges
        assert await door.post(b"1") == 202
        assert len(broker.queues[RAW].ready) == len(broker.queues[NAMES.archive].stored) == 1

    in_world(act)


@pytest.mark.parametrize("is_back", [False, True], ids=["gone", "declared anew at once"])
def test_a_deleted_raw_queue_costs_no_event(*, is_back: bool) -> None:
    """The door notices that the queue was deleted, even if it is back; what it confirmed lately goes out once more."""

    async def act(broker: SimulatedBroker) -> None:
        door = await opened(broker)
        await asyncio.sleep(NOTICED_SECONDS)
        assert await door.post(b"in the queue") == 202
        assert len(delete_queue(broker, RAW).lost) == 1
        assert await door.post(b"in the archive alone") == 202
        assert not bodies_of(door)
        if is_back:
            broker.declare(TOPOLOGY)
        await asyncio.sleep(NOTICED_SECONDS)
        assert bodies_of(door) == [b"in the queue", b"in the archive alone"]
        assert await door.post(b"afterwards") == 202
        assert [stored.message.body for stored in broker.queues[RAW].ready] == [b"afterwards"]

    in_world(act)


def test_a_queue_deleted_while_the_door_is_away_is_noticed() -> None:
    """The next connection is prepared before it is used: that finds the deletion."""

    async def act(broker: SimulatedBroker) -> None:
        door = await opened(broker)
        assert await door.post(b"1") == 202
        door.connection.link.cut()  # type: ignore[attr-defined]  # a simulated one
        delete_queue(broker, RAW)
        broker.declare(TOPOLOGY)
        await asyncio.sleep(NOTICED_SECONDS)
        assert bodies_of(door) == [b"1"]

    in_world(act)


def test_the_witness_of_a_killed_door_goes() -> None:
    """The next process of the host deletes it; a living process keeps its own, until it closes."""

    async def act(broker: SimulatedBroker) -> None:
        on_disk: dict[str, SimulatedProcess] = {}
        first, other = await opened(broker, "first", on_disk), await opened(broker, "other", on_disk)
        first.process.kill()
        await opened(broker, "next", on_disk)
        witnesses = [name.rpartition(".")[2] for name in broker.exchanges if ".witness." in name]
        assert witnesses == ["other", "next"]
        await other.connection.close()
        assert f"{RAW}.witness.other" not in broker.exchanges

    in_world(act)


async def consumer(broker: SimulatedBroker) -> tuple[FanOut, SimulatedLink]:
    """A consumer's fan-out with its watch, and its connection; all is declared."""
    link = prepared_publisher(SETTINGS, broker, start=asyncio.ensure_future)
    patterns = {each.name: each.binding_keys for each in downstreams_of(SETTINGS)}
    fan_out = FanOut(link, names=NAMES, patterns=patterns, clock=FakeRuntime().clock)
    await link.wait_ready()
    asyncio.get_running_loop().create_task(consumer_watch(SETTINGS, link, fan_out).run())
    return fan_out, link


def event(body: bytes) -> Outgoing:
    """An event on its way to the receivers."""
    return Outgoing(exchange=NAMES.events, routing_key="main.guest.created", body=body, message_id="1", headers={})


def test_a_receivers_queue_goes_and_comes_back() -> None:
    """Its events wait meanwhile; that it was gone is known; once it is bound again it gets events."""

    async def act(broker: SimulatedBroker) -> None:
        theirs = {queue.name: queue for queue in TOPOLOGY.queues}[RECEIVER]
        fan_out, _ = await consumer(broker)
        await asyncio.sleep(NOTICED_SECONDS)
        delete_queue(broker, RECEIVER)
        await fan_out.publication(event(b"waits")).attempt()
        assert [each.message.body for each in broker.queues[NAMES.waiting("all")].ready] == [b"waits"]
        await asyncio.sleep(NOTICED_SECONDS)
        assert "all" in fan_out.receivers.gone
        declare_anew(broker, theirs)
        await asyncio.sleep(NOTICED_SECONDS)
        await fan_out.publication(event(b"comes")).attempt()
        assert fan_out.receivers.gone["all"].back_at
        assert [each.message.body for each in broker.queues[RECEIVER].ready] == [b"comes"]

    in_world(act)


def test_a_removed_binding_is_back_after_a_look() -> None:
    """Nobody can see it over AMQP, but each look binds again."""

    async def act(broker: SimulatedBroker) -> None:
        await consumer(broker)
        for binding in TOPOLOGY.bindings:
            unbind(broker, binding)
        assert broker.bindings == []
        await asyncio.sleep(NOTICED_SECONDS)
        assert len(broker.bindings) == len(TOPOLOGY.bindings)

    in_world(act)


def test_daemons_that_may_not_declare_see_what_is_missing() -> None:
    """With rights of their own alone they verify; what they may not declare stays missing, and is named."""
    settings = settings_of({"BROKER__DECLARE": "false"})
    theirs = rights(NAMES, queues=[RECEIVER, NAMES.out("invoices")])

    async def act(broker: SimulatedBroker) -> None:
        link = SimulatedLink(broker, rights=theirs["consumers"])
        broker.declare(TOPOLOGY)
        watch = consumer_watch(settings, link, (await consumer(broker))[0])
        await link.use(lambda connection: broker_topology.verify(connection, TOPOLOGY), within=30)
        with pytest.raises(TopologyMismatch, match="configure access to exchange"):
            await link.use(lambda connection: broker_topology.declare(connection, TOPOLOGY), within=30)
        watching = asyncio.get_running_loop().create_task(watch.run())
        await asyncio.sleep(NOTICED_SECONDS)
        assert watch.detail == ""
        watching.cancel()
        delete_queue(broker, NAMES.lane("main"))
        with pytest.raises(TopologyMismatch, match=f"missing: {NAMES.lane('main')}"):
            await link.use(lambda connection: broker_topology.still_there(connection, TOPOLOGY), within=30)

    in_world(act)


def shown() -> dict[str, float]:
    """The depths that the metric has, by queue."""
    return {sample.labels["queue"]: sample.value for metric in queue_messages.collect() for sample in metric.samples}


def test_queues_are_watched() -> None:
    """Depths come as metrics; while the broker is away there are none."""

    async def act(broker: SimulatedBroker) -> None:
        _, link = await consumer(broker)
        broker.route(event(b"1"))
        asyncio.get_running_loop().create_task(queue_watch(SETTINGS, link, [], FakeRuntime().clock).run())
        await asyncio.sleep(DECLARED_SECONDS)
        assert shown()[RECEIVER] == 1
        link.cut(back_after=60.0)
        await asyncio.sleep(20)
        assert RECEIVER not in shown()

    in_world(act)


def test_a_consumer_whose_queue_is_deleted_ends() -> None:
    """The broker cancels it; what it has in hand can be handled, and its ack goes nowhere."""

    async def act(broker: SimulatedBroker) -> None:
        broker.declare(TOPOLOGY)
        link = SimulatedLink(broker)
        for number in range(3):
            broker.route(Outgoing(exchange="", routing_key=RAW, body=b"", message_id=str(number), headers={}))
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        async with link.subscribe(RAW, prefetch=2, on_delivery=inbox.put) as subscription:
            deliveries = [await inbox.get(), await inbox.get()]
            assert [lost.message_id for lost in delete_queue(broker, RAW).lost] == ["2"]
            await subscription.ended.wait()
            assert (subscription.detail, subscription.lost) == ("the broker cancelled the consumer", False)
            assert deliveries[0].ack()
        broker.declare(TOPOLOGY)
        await asyncio.sleep(1)
        assert not broker.queues[RAW].ready

    in_world(act)


@pytest.mark.parametrize("fault", ["frozen", "cut", "away"])
def test_no_answer_without_a_broker(fault: str) -> None:
    """A broker that is frozen, a connection that is cut unheard or gone: an error in time, and no hang."""

    async def act(broker: SimulatedBroker) -> None:
        broker.declare(TOPOLOGY)
        link = SimulatedLink(broker)
        if fault == "frozen":
            broker.freeze(0)
        else:
            link.cut(heard_after=10.0 if fault == "cut" else 0.0, back_after=60.0)
            await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        with pytest.raises((BrokerUnavailable, TimeoutError)):
            await link.use(lambda connection: broker_topology.depths(connection, [RAW]), within=20.0)
        assert asyncio.get_running_loop().time() - began <= 20.0

    in_world(act)


@pytest.mark.parametrize(("release", "is_refused"), [((3, 10), False), ((4, 3), True)])
def test_who_may_ask_for_a_queue(release: tuple[int, int], *, is_refused: bool) -> None:
    """From 4.3 on nobody learns of a queue that he may not read."""

    async def act(broker: SimulatedBroker) -> None:
        broker.declare(TOPOLOGY)
        refused: set[str] = set()
        link = SimulatedLink(broker, rights=rights(NAMES, queues=[])["intake"])

        def look(connection: Any) -> Coroutine[Any, Any, Any]:
            return broker_topology.depths(connection, [NAMES.dead], refused=refused)

        await link.use(look, within=10)
        assert refused == ({NAMES.dead} if is_refused else set())

    in_world(act, release=release)
