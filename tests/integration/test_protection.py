"""What protects good events from bad events, and the broker from us: poison, suspects, defects, holds, silence."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import msgspec
import pytest
from pamqp.header import ContentHeader

from tests.conftest import Hand
from tests.eventually import eventually
from tests.fakes import FakeLink, FakePublisher, FakeRuntime
from tests.way import Way, answer, body, event, event_ids, fan_out, knows, lane, path
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.core.delivery import subscription_history
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events import cloud_event
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.defects import DEFECTS_IN_A_ROW
from zenoti_ingest.core.failures.errors import ApiUnreachable
from zenoti_ingest.core.failures.policy import RETURNS_OF_A_SUSPECT
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages import consuming, enrich
from zenoti_ingest.stages import translate as stage
from zenoti_ingest.stages.consuming import Stage, consume
from zenoti_ingest.stages.translate import Translate

NAMES = Names("zi-fake")


async def test_a_message_that_breaks_the_client_library(way: Way) -> None:
    """A timestamp out of range ends no connection: its body is handled as any other, and so are its neighbours."""
    connected = way.consumer.state
    async with way.running(way.translate()):
        await way.put(way.raw, event(body("before"), number=1))
        await put_poison(way.hand, way.raw, body("poison"))
        await way.put(way.raw, event(body("behind"), number=2))
        assert sorted(await way.ids(3)) == ["before", "behind", "poison"]
    assert way.consumer.state == connected


async def test_a_message_that_breaks_what_nobody_thought_of(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends the connection as it is read is delivered alone in the end: no neighbour dies with it."""
    monkeypatch.setattr(ContentHeader, "unmarshal", vars(ContentHeader.unmarshal)["__wrapped__"])
    monkeypatch.setattr(subscription_history, "MAX_PAUSE_SECONDS", 0.2)
    queue = await _limited(way.hand, f"{way.names.prefix}.limited", limit=8, dead=way.names)
    stage_of_it = way.translate()
    stage_of_it.queue = queue
    try:
        for n in range(10):
            await put_to(way.hand, queue, event(body(f"before-{n}"), number=n))
        await put_poison(way.hand, queue, body("poison"))
        for n in range(10):
            await put_to(way.hand, queue, event(body(f"behind-{n}"), number=n))
        ids: set[str] = set()

        async def all_of_them() -> bool:
            ids.update(event_ids(await way.came(0)))
            return len(ids) == 20 and await way.hand.ready(way.names.dead) == 1

        async with way.running(stage_of_it):
            await eventually(all_of_them, within=60)
    finally:
        await (await way.hand.channel()).queue_delete(queue)
    assert "poison" not in ids


async def test_what_has_come_back_often_is_handled_last_and_alone() -> None:
    """While such an event is being published no other is, and it comes after those that have not come back."""
    publisher, link = GatedPublisher(), FakeLink(suspect("s-1"), suspect("s-2"), good("g-1"), good("g-2"))
    async with _running(translate(publisher), link):
        await eventually(lambda: len(publisher.waiting) == 2)
        assert set(publisher.waiting) == {"g-1", "g-2"}
        await publisher.confirm("g-1", "g-2")
        await eventually(lambda: len(publisher.waiting) == 1)
        [first] = publisher.waiting
        await publisher.confirm(first)
        await eventually(lambda: publisher.waiting and publisher.waiting != [first])
        [second] = publisher.waiting
        await publisher.confirm(second)
        await eventually(lambda: not link.unacked)
    assert {first, second} == {"s-1", "s-2"}


async def test_duplicates_in_flight_together() -> None:
    """The second of two equal events waits for the first's confirm, and then goes no further."""
    publisher, link = GatedPublisher(), FakeLink(good("e-1"), good("e-1"))
    async with _running(translate(publisher), link):
        await eventually(lambda: publisher.waiting == ["e-1"])
        await publisher.confirm("e-1")
        await eventually(lambda: not link.unacked)
    assert event_ids(publisher.published) == ["e-1"]


async def test_a_duplicate_takes_over_where_the_first_came_to_nothing() -> None:
    """Where the first of two equal events could not be published, neither is acked: both come again."""
    publisher, link = GatedPublisher(), FakeLink(good("e-1"), good("e-1"))
    publisher.away = True
    async with _running(translate(publisher), link):
        await eventually(lambda: publisher.refused)
    assert len(link.unacked) == 2
    publisher.away = False
    async with _running(translate(publisher), link):
        await eventually(lambda: publisher.waiting == ["e-1"])
        await publisher.confirm("e-1")
        await eventually(lambda: not link.unacked)
    assert event_ids(publisher.published) == ["e-1"]


async def test_defects_in_a_row_stop_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many dead letters by defects nothing more is taken: what is left stays in the queue."""
    monkeypatch.setattr(stage, "read", defective)
    count = DEFECTS_IN_A_ROW + 5
    publisher, link = FakePublisher(), FakeLink(*(good(f"e-{n}") for n in range(count)))
    sick = translate(publisher)
    async with _running(sick, link):
        await eventually(lambda: sick.defects.are_too_many)
        await eventually(link.subscriptions[0].ended.is_set)
    assert len(publisher.published) == DEFECTS_IN_A_ROW
    assert {m.headers["reason"] for m in publisher.published} == {"defect"}
    assert {m.headers["detail"] for m in publisher.published} == {
        f"ZeroDivisionError at {__name__}:{defective.__code__.co_firstlineno + 2}"
    }
    assert len(link.unacked) == 5
    assert len(link.subscriptions) == 1


@pytest.mark.parametrize("where", ["outgoing", "read"])
async def test_a_defect_with_one_event_of_a_lane_is_its_own(
    way: Way, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The others of its invoice go out, it becomes a letter `defect`, and no call is made again."""
    whole = getattr(cloud_event if where == "outgoing" else enrich, where)

    def defective_for_one(message: Any, **more: Any) -> Any:
        body_of_it = message.body if where == "read" else message.received.body
        if b"sick" in body_of_it:
            raise ZeroDivisionError
        return whole(message, **more)

    monkeypatch.setattr(cloud_event if where == "outgoing" else enrich, where, defective_for_one)
    api = knows("i-1")
    for number, name in enumerate(("e-1", "sick", "e-2")):
        await way.put(way.lane_queue, event(body(name, invoice="i-1"), number=number))
    async with way.running(way.lane(api)):
        assert sorted(await way.ids(2)) == ["e-1", "e-2"]
        [letter] = await way.came(queue=way.names.dead)
    assert letter.headers["reason"] == "defect"
    assert letter.headers["detail"].startswith("ZeroDivisionError at tests.")
    assert len(api.requests) == 1
    assert await way.left() == {}


@pytest.mark.parametrize("which", ["translate", "lane"])
async def test_defects_as_letters_are_written_stop_the_stage(
    way: Way, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Where not even a letter can be written the stage stops as well, and the events stay where they are."""

    def no_letter(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(subscription_history, "MAX_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(dead_letter, "write", no_letter)
    sick: Stage = way.translate() if which == "translate" else way.lane(knows())
    queue = way.raw if which == "translate" else way.lane_queue
    await way.put(queue, event(b"no event at all" if which == "translate" else body("e-1"), number=1))
    async with way.running(sick):
        await eventually(lambda: sick.doing == "stopped", within=30)
        assert sick.defects.in_a_row == DEFECTS_IN_A_ROW
    assert await way.left() == {queue.removeprefix(f"{way.names.prefix}."): 1}


async def test_an_event_held_too_long_is_handed_back(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the broker's consumer time-out can strike, the lane hands back what it holds, and takes it again."""
    api = knows("i-1")
    api.will(path("i-1"), ApiUnreachable("nobody listens"))
    holding, returned, stop = lane(way.publisher, api, way.names), list[int](), asyncio.Event()
    take = holding.on_delivery

    async def noted(delivery: Delivery) -> None:
        returned.append(delivery.returned)
        await take(delivery)

    monkeypatch.setattr(holding, "on_delivery", noted)
    running = asyncio.create_task(
        consume(holding, link=way.consumer, publisher=way.publisher, stop=stop, clock=HOST.clock, hold_seconds=0.4)
    )
    try:
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await eventually(lambda: returned == [0, 1, 2], within=10)
        api.will(path("i-1"), answer("i-1"))
        assert await way.ids(1, within=15) == ["e-1"]
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)
    assert await way.left() == {}


async def test_the_window_follows_what_can_be_settled(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an event was held too long less is taken at a time; after a good while more again."""
    monkeypatch.setattr(subscription_history, "WIDEN_AFTER", 1)
    api, stop, taken = knows("i-1"), asyncio.Event(), list[int]()
    api.will(path("i-1"), ApiUnreachable("nobody listens"))
    holding = lane(way.publisher, api, way.names, prefetch=1000)
    subscribe = way.consumer.subscribe

    def noted(queue: str, **more: Any) -> Any:
        taken.append(more["prefetch"])
        return subscribe(queue, **more)

    monkeypatch.setattr(way.consumer, "subscribe", noted)
    running = asyncio.create_task(
        consume(holding, link=way.consumer, publisher=way.publisher, stop=stop, clock=HOST.clock, hold_seconds=0.4)
    )
    try:
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await eventually(lambda: taken[:2] == [1000, subscription_history.LEAST_WINDOW], within=10)
        api.will(path("i-1"), answer("i-1"))
        await eventually(lambda: max(taken[2:], default=0) > subscription_history.LEAST_WINDOW, within=15)
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)
    assert await way.ids(1) == ["e-1"]


async def test_a_consumer_that_the_broker_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are ready and none is delivered: the subscription is taken for dead, and made anew."""
    monkeypatch.setattr(consuming, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(consuming, "CHECK_INTERVAL_SECONDS", 0.05)
    link = DeafLink(good("e-1"))
    publisher = FakePublisher()
    async with _running(translate(publisher), link):
        await eventually(lambda: publisher.published)
    assert len(link.subscriptions) == 2


async def test_a_quiet_queue_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence on an empty queue is no fault: the subscription stays."""
    monkeypatch.setattr(consuming, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(consuming, "CHECK_INTERVAL_SECONDS", 0.02)
    link = FakeLink()
    async with _running(translate(FakePublisher()), link):
        await eventually(lambda: link.asked > 3)
    assert len(link.subscriptions) == 1


class GatedPublisher(FakePublisher):
    """Confirms a message when the test says so; `waiting` are the ids of those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """Wait for the test's word, then keep it."""
        if not self.away:
            [event_id] = event_ids([message])
            self.waiting.append(event_id)
            await self._gates.setdefault(event_id, asyncio.Event()).wait()
            self.waiting.remove(event_id)
        await super().publish(message, within=within)

    async def confirm(self, *ids: str) -> None:
        """Let these through."""
        for key in ids:
            self._gates.setdefault(key, asyncio.Event()).set()
        await eventually(lambda: not set(ids) & set(self.waiting))


class DeafLink(FakeLink):
    """A connection whose first subscription never delivers, though a message is ready."""

    async def ready(self, queue: str) -> int:
        """An event is."""
        del queue
        return 1

    @property
    def unacked(self) -> dict[int, Outgoing]:
        """Nothing, to the first who asks."""
        return super().unacked if self.subscriptions else {}


def defective(_: Received, **__: object) -> None:
    """Our own fault."""
    raise ZeroDivisionError


def good(event_id: str) -> Outgoing:
    """An event without an invoice, in the raw queue."""
    return event(body(event_id)).to(exchange=NAMES.work, routing_key=NAMES.raw("main"))


def suspect(event_id: str) -> Outgoing:
    """The same, come back as often as makes it suspect."""
    made = good(event_id)
    return msgspec.structs.replace(made, headers={**made.headers, "x-delivery-count": RETURNS_OF_A_SUSPECT})


def translate(publisher: FakePublisher) -> Translate:
    """The stage."""
    seen = DuplicateFilter(window_seconds=60, max_keys=100)
    to = fan_out(publisher, NAMES)
    return Translate(
        publisher, to, names=NAMES, source="main", prefetch=100, enrich=("#",), seen=seen, runtime=FakeRuntime()
    )


async def put_to(hand: Hand, queue: str, message: Received) -> None:
    """By the default exchange."""
    await hand.put(message.to(exchange="", routing_key=queue))


async def put_poison(hand: Hand, queue: str, content: bytes) -> None:
    """A message whose timestamp Python cannot hold: as it comes, it ends the library's reader."""
    channel = await hand.channel()
    await channel.basic_publish(
        content, routing_key=queue, properties=FarFuture(delivery_mode=2), mandatory=True, timeout=5
    )


class FarFuture(aiormq.spec.Basic.Properties):
    """Properties with a timestamp in the year 584 554 051 223: flags 0x1040, delivery mode, timestamp."""

    def marshal(self) -> bytes:
        """As AMQP wants it (0-9-1, 4.2.6.1)."""
        return struct.pack(">HBQ", 0x1040, 2, 2**64 - 1)


async def _limited(hand: Hand, queue: str, *, limit: int, dead: Names) -> str:
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": dead.work,
        "x-dead-letter-routing-key": dead.dead,
        "x-delivery-limit": limit,
    }
    await (await hand.channel()).queue_declare(queue, durable=True, arguments=arguments)
    return queue


@asynccontextmanager
async def _running(stage: Stage, link: FakeLink) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(consume(stage, link=link, publisher=FakeLink(), stop=stop, clock=HOST.clock))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 5)
