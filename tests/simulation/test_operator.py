"""A simulated operator uses the real commands: what he did is what became of letters and archived events."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.builders import received
from tests.simulation.broker import SimulatedBroker, seeded
from tests.simulation.operator import Act, Operator
from tests.simulation.processes import HostClock
from tests.simulation.settings import WRONG, SecretFile, refusal_of, settings_of
from tests.simulation.virtual_time import run_in_virtual_time
from tests.simulation.watches import declare_otherwise, leave_over
from zenoti_ingest.app.broker import full_topology, names_of
from zenoti_ingest.core.events.identity import Identity
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.policy import DeadLetter
from zenoti_schemas.state import DaemonState, ReceiverState, SourceState

SETTINGS = settings_of()
NAMES, TOPOLOGY = names_of(SETTINGS), full_topology(SETTINGS)
BODY = b'{"event_id": "e-%d", "event_type": "Invoice.Closed", "data": {"invoice": {"id": "i-%d"}}}'
COUNT = 6
MINUTE = 60.0

Story = Callable[[SimulatedBroker, Operator], Awaitable[None]]


def in_world(story: Story) -> None:
    """Tell it in virtual time: a broker that has all, an hour old, and an operator."""

    async def main() -> None:
        broker = SimulatedBroker(seeded(1))
        broker.declare(TOPOLOGY)
        await asyncio.sleep(60 * MINUTE)
        await story(broker, Operator(SETTINGS, broker, clock=HostClock(0.0)))

    run_in_virtual_time(main())


def webhook(number: int) -> Received:
    """As the door took it."""
    at = HostClock(0.0).utc_now()
    return received(body=BODY % (number, number), receipt_id=f"r-{number}", received_at=at)


def put_letters(broker: SimulatedBroker, *, stage: str = dead_letter.ENRICH) -> None:
    """COUNT letters, one by one of two faults."""
    for number in range(COUNT):
        known = Identity(event_id=f"e-{number}", event_type="invoice.closed", invoice_id=f"i-{number}")
        verdict = DeadLetter(("refused", "invoice-not-found")[number % 2], f"of letter {number}")
        letter = dead_letter.write(
            webhook(number), verdict, names=NAMES, stage=stage, dead_at=HostClock(0.0).utc_now(), identity=known
        )
        assert broker.route(letter) == "ack"


async def archive_events(broker: SimulatedBroker) -> None:
    """COUNT events in the archive, one a minute; they are out of the raw queue already."""
    for number in range(COUNT):
        assert broker.route(webhook(number).to(exchange=NAMES.intake, routing_key="main")) == "ack"
        await asyncio.sleep(MINUTE)
    broker.queues[NAMES.raw("main")].ready.clear()


def receipts(broker: SimulatedBroker, queue: str) -> list[str]:
    """Of all that is ready in a queue, as they lie there."""
    return [stored.message.message_id for stored in broker.queues[queue].ready]


def say(broker: SimulatedBroker, daemon: str, **more: object) -> None:
    """A daemon says its state."""
    at = HostClock(0.0).utc_now()
    given = {"daemon": daemon, "instance": f"{daemon}-1", "version": "0", "started_at": at, "at": at, "ready": True}
    state = DaemonState(**(given | more))  # type: ignore[arg-type]  # a dict of several
    message = webhook(0).to(exchange=NAMES.state, routing_key="")
    assert broker.route(msgspec.structs.replace(message, body=msgspec.json.encode(state))) == "ack"


def test_a_redriven_letter_goes_back_to_its_lane() -> None:
    """Those that were chosen are in the lane, in order; the others are letters still."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        put_letters(broker)
        act = await operator.act("redrive", reason="refused")
        assert act.done == act.tried == ("r-0", "r-2", "r-4")
        assert not act.was_cut_short
        lane = broker.queues[NAMES.lane("main")].ready
        assert [stored.message.headers["redriven"] for stored in lane] == ["1"] * 3
        assert receipts(broker, NAMES.lane("main")) == list(act.done)
        await asyncio.sleep(1)
        assert receipts(broker, NAMES.dead) == ["r-1", "r-3", "r-5"]

    in_world(story)


def test_a_letter_without_a_way_back_stays() -> None:
    """Its queue is gone: it is named, with the reason."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        put_letters(broker)
        broker.delete_queue(NAMES.lane("main"))
        act = await operator.act("redrive", id="e-3")
        assert (act.tried, act.done, act.exit_status) == (("r-3",), (), 1)
        assert "no queue is bound" in act.stayed["r-3"]
        await asyncio.sleep(1)
        assert len(receipts(broker, NAMES.dead)) == COUNT

    in_world(story)


def test_a_discarded_letter_is_gone() -> None:
    """It is nowhere any more."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        put_letters(broker)
        listed = await operator.act("list", type="invoice.*")
        assert len(listed.tried) == COUNT
        assert listed.document["by_reason"] == {"invoice-not-found": 3, "refused": 3}
        act = await operator.act("discard", fingerprint=listed.document["groups"][0]["fingerprint"])
        assert len(act.done) == listed.document["groups"][0]["count"]
        await asyncio.sleep(1)
        assert set(receipts(broker, NAMES.dead)) == set(listed.tried) - set(act.done)
        assert (await operator.act("show", id=act.done[0])).exit_status == 1

    in_world(story)


def test_live_traffic_goes_first() -> None:
    """A redrive waits for as long as live events wait, and its operator loses patience."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        put_letters(broker, stage=dead_letter.TRANSLATE)
        live = webhook(99).to(exchange=NAMES.work, routing_key=NAMES.lane("main"))
        broker.route(live)
        act = await operator.act("redrive", source="main")
        assert (act.done, act.document["cut_short"]) == ((), "stopped")
        broker.queues[NAMES.lane("main")].ready.clear()
        act = await operator.act("redrive", source="main")
        assert len(act.done) == COUNT
        assert receipts(broker, NAMES.raw("main")) == list(act.done)

    in_world(story)


def test_the_connection_is_lost_in_the_middle() -> None:
    """What was tried is at one place at least, and what is certain is out of the letters."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        put_letters(broker)
        acting = asyncio.ensure_future(operator.act("redrive", source="main"))
        await asyncio.sleep(0.1)
        operator.installation.links[0].cut()
        act = await acting
        assert act.was_cut_short
        await asyncio.sleep(10)
        back, left = receipts(broker, NAMES.lane("main")), receipts(broker, NAMES.dead)
        assert {*back, *left} == {f"r-{number}" for number in range(COUNT)}
        assert set(act.done) <= set(back)

    in_world(story)


def test_a_replay_puts_in_what_the_archive_has() -> None:
    """From its time on, of its type, and only for the receiver that it names."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        await archive_events(broker)
        listed = await operator.act("archive", since="1h")
        assert listed.tried == tuple(f"r-{number}" for number in range(COUNT))
        act = await operator.act("replay", since="210s", to="invoices", type="invoice.#")
        assert act.done == act.tried == ("r-3", "r-4", "r-5")
        assert receipts(broker, NAMES.raw("main")) == list(act.done)
        assert broker.queues[NAMES.raw("main")].ready[0].message.headers["only_to"] == "invoices"
        assert len(broker.queues[NAMES.archive].stored) == COUNT
        one = await operator.act("replay", invoice="i-2")
        assert one.done == ("r-2",)
        steps = (await operator.act("trace", id="i-2")).document["steps"]
        assert [step["where"] for step in steps] == ["archive"]

    in_world(story)


def test_a_look_names_what_is_wrong() -> None:
    """Each alarm that there is, and none where all is well."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        now = HostClock(0.0).utc_now()
        assert any("no intake has said anything" in text for text in (await operator.act("look")).alarms)
        say(broker, "intake", sources={"main": SourceState(last_event_at=now, streak=7, refused=1)})
        gone = {"all": ReceiverState(gone_since=now), "invoices": ReceiverState(refusing_since=now, detail="full")}
        say(broker, "consume", receivers=gone, sources={"main": SourceState(circuit="open", failures=3)})
        put_letters(broker)
        broker.delete_queue(NAMES.out("all"))
        broker.route(webhook(1).to(exchange=NAMES.unrouted, routing_key=""))
        alarms = (await operator.act("look")).alarms
        for text in ("6 answers in a row", "circuit of main is open", "6 dead letter(s)", "1 event(s) that no"):
            assert any(text in alarm for alarm in alarms), alarms
        assert any(alarm.startswith("all: its queue zi.out.all is gone") for alarm in alarms)
        assert any(alarm.startswith("invoices takes no events") for alarm in alarms)

    in_world(story)


def test_a_plan_shows_each_difference() -> None:
    """What is missing, different and left over, each with what to do."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        assert (await operator.act("plan")).document["same"]
        broker.delete_queue(NAMES.lane("main"))
        declare_otherwise(broker, {queue.name: queue for queue in TOPOLOGY.queues}[NAMES.raw("main")])
        leave_over(broker, NAMES)
        broker.queues[NAMES.out("all")].refuses = True
        found = (await operator.act("plan")).document["differences"]
        seen = {(each["kind"], each["name"], each["state"]) for each in found}
        assert ("queue", NAMES.lane("main"), "missing") in seen
        assert ("queue", NAMES.raw("main"), "different") in seen
        assert ("queue", NAMES.raw("old"), "surplus") in seen
        assert ("exchange", NAMES.retry(7), "surplus") in seen
        assert ("policy", NAMES.out("all"), "different") in seen
        assert ("binding", f"{NAMES.intake} -[old]-> {NAMES.raw('old')}", "surplus") in seen
        assert all(each["migrate"] for each in found)

    in_world(story)


@pytest.mark.parametrize("kind", ["look", "list", "redrive", "discard", "archive", "replay", "plan"])
def test_nothing_hangs_at_a_frozen_broker(kind: str) -> None:
    """Each act ends, with the reason; the next is not disturbed by it."""

    async def story(broker: SimulatedBroker, operator: Operator) -> None:
        put_letters(broker)
        broker.freeze(0)
        act = await operator.act(kind)
        assert act.failure
        assert act.was_cut_short
        broker.thaw(0)
        assert (await operator.act(kind)).failure == ""

    in_world(story)


def test_an_operator_does_the_same_again() -> None:
    """The same world gives the same documents, to the byte."""

    def told() -> list[Act]:
        acts: list[Act] = []

        async def story(broker: SimulatedBroker, operator: Operator) -> None:
            put_letters(broker)
            await archive_events(broker)
            for kind in ("look", "list", "redrive", "replay", "plan"):
                await operator.act(kind)
            acts.extend(operator.acts)

        in_world(story)
        return acts

    assert told() == told()


def test_the_users_have_rights() -> None:
    """Each role's user is in the definitions, with rights that cover its queues."""

    async def story(_: SimulatedBroker, operator: Operator) -> None:
        made = (await operator.act("export")).document
        assert [user["name"] for user in made["users"]] == ["zi-intake", "zi-consumers", "zi-operator"]
        assert {queue["name"] for queue in made["queues"]} == {queue.name for queue in TOPOLOGY.queues}

    in_world(story)


def test_wrong_settings_are_refused() -> None:
    """Each by an error that names its key, and shows no secret."""
    assert len({refusal_of(number) for number in range(len(WRONG))}) >= len(WRONG) - 2


def test_a_file_of_secrets_may_change() -> None:
    """New secrets count at once; while the file cannot be used, the last ones do."""
    file = SecretFile(b"one\r\n\ntwo\n")
    assert file.values() == (b"one", b"two")
    for broken in (b"", b"\xff\xfe", b"a\x00b"):
        file.content = broken
        assert file.values() == (b"one", b"two")
    file.content = b"three"
    assert file.values() == (b"three",)
