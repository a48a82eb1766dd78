"""Enrich: a lane on a real RabbitMQ with an API in memory; between fakes where a fault must come at one moment."""

import asyncio
import json
import time
from collections.abc import Callable

import msgspec
import pytest

from tests.conftest import Hand, OpenLink
from tests.eventually import eventually
from tests.fakes import FakeInvoiceApi, FakeLink, FakePublisher, FakeRuntime, FakeStates
from tests.proxy import Proxy
from tests.way import Way, answer, between_fakes, body, event, event_ids, invoice, knows, lane, path
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.app.consume import queue_depths
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.policy import Ladder
from zenoti_ingest.core.invoices.protocol import Request, Response
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages import queue_watch
from zenoti_ingest.stages.consuming import consume
from zenoti_ingest.stages.ports import Clock
from zenoti_ingest.stages.queue_watch import QueueWatch
from zenoti_ingest.telemetry.metrics import exposed

OWN = b'{"Message": "m"}'
NOT_FOUND, REFUSED, AWAY = Response(418, {}, OWN), Response(401, {}, OWN), Response(503, {}, b"")
THROTTLED = Response(429, {"retry-after": "1"}, b"")
DENIED = Response(200, {}, b'{"error": {"code": 602, "message": "x"}}')
ONE_ATTEMPT = Ladder((1, 2), 1)


class Refusing(FakeInvoiceApi):
    """An API that answers 401 for every invoice that no test has set, until it is well."""

    is_well = False

    async def fetch(self, request: Request, *, last_look: Callable[[], None] = lambda: None) -> Response:
        """Answer so."""
        response = await super().fetch(request, last_look=last_look)
        return REFUSED if response.status == NOT_FOUND.status and not self.is_well else response


async def test_events_of_one_invoice_share_a_call(way: Way) -> None:
    """Five events of an invoice that wait in any order need one call, and go out in the order of their receipt."""
    numbers = [3, 1, 4, 0, 2]
    await way.put(way.lane_queue, *(event(body(f"e-{n}", invoice="i-1"), number=n) for n in numbers))
    api = knows("i-1")
    async with way.running(way.lane(api)):
        assert await way.ids(5) == [f"e-{n}" for n in range(5)]
    assert len(api.requests) == 1
    assert await way.left() == {}


async def test_spellings_of_an_id_share_a_call(way: Way) -> None:
    """The letter case of ids varies between events; it is asked as the oldest event spells it."""
    ids = ["i-Aa", "I-AA", "i-aa"]
    await way.put(way.lane_queue, *(event(body(f"e-{n}", invoice=i), number=n) for n, i in enumerate(ids)))
    api = knows("i-Aa")
    async with way.running(way.lane(api)):
        assert await way.ids(3) == ["e-0", "e-1", "e-2"]
    assert [request.path.rpartition("/")[2] for request in api.requests] == ["i-Aa"]
    assert await way.left() == {}


async def test_events_that_came_while_the_lane_was_busy_share_a_call(way: Way) -> None:
    """Events of one invoice that came while no call could go need one call, in the order of their receipt."""
    api = knows("i-1", "i-2")
    api.gate.clear()
    async with way.running(way.lane(api, max_in_flight=1)):
        await way.put(way.lane_queue, event(body("busy", invoice="i-2")))
        await eventually(lambda: api.waiting)
        await way.put(way.lane_queue, *(event(body(f"e-{n}", invoice="i-1"), number=n) for n in (3, 1, 4, 5, 2)))
        await eventually(lambda: _nothing_ready(way))
        api.gate.set()
        assert await way.ids(6) == ["busy", "e-1", "e-2", "e-3", "e-4", "e-5"]
    assert len(api.requests) == 2
    assert await way.left() == {}


async def test_an_event_that_comes_during_the_call_gets_a_call_of_its_own(way: Way) -> None:
    """An answer may be older than an event that came after the question: it is not used for that event."""
    api = knows("i-1")
    api.gate.clear()
    async with way.running(way.lane(api)):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1"), number=1))
        await eventually(lambda: api.waiting)
        await way.put(way.lane_queue, event(body("e-2", invoice="i-1"), number=2))
        await eventually(lambda: _nothing_ready(way))
        assert len(api.requests) == 1
        api.gate.set()
        first, second = await way.came(2)
    assert len(api.requests) == 2
    assert event_ids((first, second)) == ["e-1", "e-2"]
    fetched = [json.loads(m.body)["data"]["enrichment"]["fetched_at"] for m in (first, second)]
    assert fetched[0] < fetched[1]


async def test_calls_at_a_time_are_bounded(way: Way) -> None:
    """No more than `max_in_flight` calls are under way, and as soon as they end the next calls begin."""
    invoices = [f"i-{n}" for n in range(6)]
    api = knows(*invoices)
    api.gate.clear()
    async with way.running(way.lane(api, max_in_flight=2)):
        await way.put(way.lane_queue, *(event(body(f"e-{invoice_id}", invoice=invoice_id)) for invoice_id in invoices))
        await eventually(lambda: api.waiting == 2)
        await eventually(lambda: _nothing_ready(way))
        assert api.waiting == 2
        api.gate.set()
        assert len(await way.came(6)) == 6


async def test_nothing_is_saved_up_while_events_wait(way: Way) -> None:
    """Calls that came due while all places were taken do not go at once when a place is free: the pace goes on."""
    invoices = [f"i-{n}" for n in range(3)]
    api = knows(*invoices)
    api.gate.clear()
    async with way.running(way.lane(api, max_in_flight=1, calls_per_minute=60)):
        await way.put(way.lane_queue, *(event(body(f"e-{invoice_id}", invoice=invoice_id)) for invoice_id in invoices))
        await eventually(lambda: api.waiting == 1)
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 2.5)
        api.gate.set()
        await eventually(lambda: len(api.requests) >= 2)
        second = time.monotonic()
        await eventually(lambda: len(api.requests) >= 3)
        assert time.monotonic() - second > 0.8


async def test_a_time_that_comes_between_two_looks(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may begin and what is waited for are decided by one reading of the clock, or nothing would wake the lane."""
    api = knows("i-1")
    stage = way.lane(api)
    first: list[float] = []

    def wait(now: float) -> float:
        first[:] = first or [now]
        return 0.1 if now == first[0] else 0.0

    async with way.running(stage):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        assert await way.ids(1) == ["e-1"]
        await eventually(lambda: not len(stage.window))
        monkeypatch.setattr(stage.quota, "wait", wait)
        await way.put(way.lane_queue, event(body("e-2", invoice="i-1")))
        assert await way.ids(1) == ["e-2"]


async def test_an_invoice_not_found_at_first(way: Way) -> None:
    """418 sends an event down the ladder with its attempt charged; found on the next attempt it goes out."""
    api = knows("i-1")
    api.will(path("i-1"), NOT_FOUND, answer("i-1"))
    async with way.running(way.lane(api)):
        begun = time.monotonic()
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1"), path_type="x"))
        [waiting] = [await eventually(lambda: way.hand.ready(way.names.retry(1)))]
        assert waiting == 1
        [came] = await way.came()
        assert time.monotonic() - begun > 0.9
    assert invoice("i-1") in came.body
    assert len(api.requests) == 2
    assert await way.left() == {}


async def test_an_invoice_never_found(way: Way) -> None:
    """418 until the attempts are used up: a dead letter `invoice-not-found` that says how many there were."""
    api, content = FakeInvoiceApi(), body("e-1", invoice="i-1")
    async with way.running(way.lane(api, ladder=Ladder((1, 2), 2))):
        await way.put(way.lane_queue, event(content, number=5))
        [letter] = await way.came(queue=way.names.dead)
    assert letter.body == content
    found = {k: letter.headers[k] for k in ("reason", "stage", "attempts", "event_type", "event_id", "invoice_id")}
    assert found == {
        "reason": "invoice-not-found",
        "stage": "enrich",
        "attempts": 2,
        "event_type": "invoice.closed",
        "event_id": "e-1",
        "invoice_id": "i-1",
    }
    assert len(api.requests) == 2
    assert await way.left() == {}


@pytest.mark.parametrize(
    ("answered", "reason"),
    [(DENIED, "access-denied"), (Response(403, {}, OWN), "refused"), (ValueError("a defect"), "defect")],
)
async def test_what_no_later_attempt_can_mend(way: Way, answered: Response | Exception, reason: str) -> None:
    """A denial, a refusal and a defect are dead letters at once, each with its word."""
    api = FakeInvoiceApi({path("i-1"): [answered]})
    async with way.running(way.lane(api)):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        [letter] = await way.came(queue=way.names.dead)
    assert (letter.headers["reason"], letter.headers["attempts"], len(api.requests)) == (reason, 1, 1)
    assert "a defect" not in letter.headers["detail"]
    assert await way.left() == {}


async def test_failures_can_be_delivered(way: Way) -> None:
    """With `on_enrich_failure = deliver` the event goes out with status `failed`, its reason, and no invoice."""
    api = FakeInvoiceApi({path("i-1"): [DENIED]})
    async with way.running(way.lane(api, deliver_failures=True)):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        [came] = await way.came()
    data = json.loads(came.body)["data"]
    assert (data["invoice"], data["enrichment"]["status"], data["enrichment"]["reason"]) == (
        None,
        "failed",
        "access-denied",
    )
    assert await way.left() == {}


async def test_no_invoice_id_on_a_lane(way: Way) -> None:
    """What somebody else laid into the lane, without an invoice's id, is a dead letter and costs no call."""
    api = FakeInvoiceApi()
    async with way.running(way.lane(api)):
        await way.put(way.lane_queue, event(body("e-1")), event(b"no JSON"))
        letters = await way.came(2, queue=way.names.dead)
    assert {letter.headers["reason"] for letter in letters} == {"malformed"}
    assert api.requests == []
    assert await way.left() == {}


async def test_throttled_holds_and_charges_nothing(way: Way) -> None:
    """After 429 no call goes until the time in the answer has passed; the event is held and loses no attempt."""
    api = knows("i-1", "i-2")
    api.will(path("i-1"), THROTTLED, answer("i-1"))
    async with way.running(way.lane(api, ladder=ONE_ATTEMPT)):
        begun = time.monotonic()
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1"), number=1))
        await eventually(lambda: len(api.requests) == 1)
        await way.put(way.lane_queue, event(body("e-2", invoice="i-2"), number=2))
        assert sorted(await way.ids(2)) == ["e-1", "e-2"]
        assert time.monotonic() - begun > 0.9
    assert len(api.requests) == 3
    assert await way.left() == {}


async def test_a_refused_key_opens_the_circuit(way: Way) -> None:
    """After two 401 all events except one are in the queue again, uncharged; an answer to a probe lets all out.

    The remaining event holds the lane: without it nobody could know that the probes are its own to send.
    """
    invoices = [f"i-{n}" for n in range(5)]
    api = knows(*invoices)
    for invoice_id in invoices:
        api.will(path(invoice_id), REFUSED)
    stage = way.lane(api, max_in_flight=1, ladder=ONE_ATTEMPT)
    await way.put(way.lane_queue, *(event(body(f"e-{n}", invoice=f"i-{n}"), number=n) for n in range(5)))
    async with way.running(stage):
        await eventually(lambda: stage.circuit.is_open)
        assert len(api.requests) == 2
        await eventually(lambda: _ready(way, 4))
        await eventually(lambda: len(stage.window) == 1)
        for invoice_id in invoices:
            api.will(path(invoice_id), answer(invoice_id))
        assert sorted(await way.ids(5, within=10)) == [f"e-{n}" for n in range(5)]
    assert await way.left() == {}


async def test_a_refused_key_and_one_event_alone(way: Way) -> None:
    """A 401 for one invoice, and for the random id of the probe after it: the key is refused, the event uncharged."""
    api = Refusing()
    stage = way.lane(api, ladder=ONE_ATTEMPT)
    async with way.running(stage):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await eventually(lambda: stage.circuit.is_open, within=10)
        asked = [request.path for request in api.requests]
        assert asked[:2] == [path("i-1")] * 2
        assert len(set(asked)) == 2
        api.is_well = True
        api.will(path("i-1"), answer("i-1"))
        assert await way.ids(1, within=10) == ["e-1"]
    assert await way.left() == {}


async def test_in_doubt_other_invoices_go_on(way: Way) -> None:
    """While it is in doubt whose failure it was, the next invoice is asked for; its answer decides, without a probe."""
    api = FakeInvoiceApi({path("i-1"): [AWAY], path("i-2"): [answer("i-2")]})
    async with way.running(way.lane(api, max_in_flight=1, ladder=ONE_ATTEMPT)):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1"), number=1))
        await eventually(lambda: len(api.requests) == 1)
        assert await _nothing_ready(way)
        await way.put(way.lane_queue, event(body("e-2", invoice="i-2"), number=2))
        assert await way.ids(1) == ["e-2"]
        [letter] = await way.came(queue=way.names.dead, within=0.9)
    assert letter.headers["reason"] == "attempts-exhausted"
    assert [request.path for request in api.requests] == [path("i-1"), path("i-2")]


async def test_stop_while_a_failure_is_in_doubt(way: Way) -> None:
    """A stop waits for no verdict: the event is handed back, uncharged."""
    api = FakeInvoiceApi({path("i-1"): [AWAY]})
    stage = way.lane(api, ladder=ONE_ATTEMPT)
    async with way.running(stage) as stop:
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await eventually(lambda: stage.circuit.failures)
        begun = time.monotonic()
        stop.set()
    assert time.monotonic() - begun < 1
    assert await way.left() == {"enrich.main.0": 1}


async def test_an_event_in_doubt_that_is_held_too_long(way: Way) -> None:
    """Where an event is held for `hold_seconds` while it is in doubt, it is handed back, uncharged, and comes again."""
    api, stop = Refusing(), asyncio.Event()
    stage = way.lane(api, ladder=ONE_ATTEMPT)
    running = asyncio.create_task(
        consume(stage, link=way.consumer, publisher=way.publisher, stop=stop, clock=HOST.clock, hold_seconds=0.4)
    )
    try:
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await eventually(lambda: len(api.requests) > 2, within=10)
        api.will(path("i-1"), answer("i-1"))
        assert await way.ids(1, within=15) == ["e-1"]
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)
    assert await way.left() == {}


async def test_a_key_that_changes_is_tried_at_once(way: Way) -> None:
    """While the circuit is open for a refused key, a new key does not wait for the next probe, half a minute away."""
    api = Refusing()
    refused = way.lane(api)
    async with way.running(refused):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await eventually(lambda: refused.circuit.is_open and refused.circuit.probe_in(time.monotonic()) > 3, within=20)
        api.will(path("i-1"), answer("i-1"))
        api.is_well, api.key = True, "a new one"
        assert await way.ids(1, within=3) == ["e-1"]


async def test_an_api_that_splits_expands(way: Way) -> None:
    """Parts that the combined call lacks are asked for alone; from then on each is, without the combined call."""
    api = knows("i-1")
    items = Response(200, {}, b'{"invoice": {"id": "i-1", "invoice_items": [{"price": 1.10}]}}')
    transactions = Response(200, {}, b'{"invoice": {"id": "i-1", "invoice_items": null, "transactions": [1.0]}}')
    api.will(path("i-1"), items, transactions, items, transactions)
    both = ("InvoiceItems", "Transactions")
    async with way.running(way.lane(api, expand=both)):
        for number in (1, 2):
            await way.put(way.lane_queue, event(body(f"e-{number}", invoice="i-1"), number=number))
            [came] = await way.came()
            assert b'"invoice":{"id":"i-1","invoice_items":[{"price": 1.10}],"transactions":[1.0]}' in came.body
            assert json.loads(came.body)["data"]["enrichment"]["missing"] == []
    asked = [tuple(value for _, value in request.query) for request in api.requests]
    assert asked == [both, ("Transactions",), ("InvoiceItems",), ("Transactions",)]


async def test_a_part_that_is_refused(way: Way) -> None:
    """A part that a call for it alone does not bring, or that is refused, is named as missing and holds nothing."""
    api = knows("i-1")
    items = Response(200, {}, b'{"invoice": {"id": "i-1", "invoice_items": []}}')
    api.will(path("i-1"), items, Response(403, {}, OWN), items)
    async with way.running(way.lane(api, expand=("InvoiceItems", "Transactions", "Appointments"))):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        [came] = await way.came()
    enrichment = json.loads(came.body)["data"]["enrichment"]
    assert (enrichment["status"], enrichment["missing"]) == ("enriched", ["Transactions", "Appointments"])
    assert len(api.requests) == 3
    assert await way.left() == {}


async def test_what_the_vendor_says_remains(way: Way) -> None:
    """When the answer says that nothing remains of the quota, no call goes before the reset."""
    api = knows("i-2")
    said = {"ratelimit-remaining": "0", "ratelimit-reset": "2"}
    api.will(path("i-1"), msgspec.structs.replace(answer("i-1"), headers=said))
    spent = way.lane(api)
    async with way.running(spent):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await way.came()
        assert spent.quota.wait(time.monotonic()) > 1
        await way.put(way.lane_queue, event(body("e-2", invoice="i-2"), number=2))
        assert await way.ids(1) == ["e-2"]
    assert len(api.requests) == 2


async def test_the_backlog_is_shown_as_time(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics show events and distinct invoices that wait, calls at hand, and the minutes that they take."""
    monkeypatch.setattr(queue_watch, "QUEUE_POLL_SECONDS", 0.1)
    api = knows("i-1", "i-2")
    api.gate.clear()
    busy = way.lane(api, max_in_flight=1, calls_per_minute=30)
    said = {"ratelimit-remaining": "41"}
    api.will(path("i-1"), msgspec.structs.replace(answer("i-1"), headers=said))
    roles = {way.lane_queue: "lane", "never-there": "out"}
    watching = asyncio.create_task(
        QueueWatch(queue_depths(way.consumer, roles), roles=roles, lanes=[busy], clock=HOST.clock).run()
    )

    registry = exposed("consume", version="", values={})

    def metric(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"zenoti_{name}", labels or {"source": "main"})

    try:
        async with way.running(busy):
            await way.put(way.lane_queue, *(event(body(f"e-{n}", invoice="i-1"), number=n) for n in (1, 2)))
            await way.put(way.lane_queue, event(body("e-3", invoice="i-2"), number=3))
            try:
                await eventually(lambda: (metric("backlog_events"), metric("backlog_invoices")) == (3, 2), within=10)
                assert metric("backlog_minutes") == pytest.approx(2 / 30)
            finally:
                api.gate.set()  # the lane ends with its calls
            await eventually(lambda: metric("backlog_events") == 0, within=10)
            assert metric("calls_remaining") == 41
            assert metric("queue_messages", queue=way.lane_queue, role="lane") == 0
            assert metric("queue_consumers", queue=way.lane_queue, role="lane") == 1
            assert metric("queue_messages", queue="never-there", role="out") is None
            await way.ids(3)
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def test_the_first_probe_comes_after_a_second(way: Way) -> None:
    """However many calls were under way when the circuit opened, the first probe goes after 1 s, not later."""
    invoices = [f"i-{n}" for n in range(4)]
    api = FakeInvoiceApi({path(invoice_id): [REFUSED, answer(invoice_id)] for invoice_id in invoices})
    api.gate.clear()
    stage = way.lane(api)
    async with way.running(stage):
        await way.put(way.lane_queue, *(event(body(f"e-{invoice_id}", invoice=invoice_id)) for invoice_id in invoices))
        await eventually(lambda: api.waiting == 4)
        api.gate.set()
        await eventually(lambda: stage.circuit.is_open)
        assert stage.circuit.probe_in(time.monotonic()) <= 1.0
        await eventually(lambda: len(api.requests) > 4, within=2.5)
        assert len(await way.came(4)) == 4


async def test_failures_in_a_row_open_the_circuit(way: Way) -> None:
    """Five failures over at least two invoices open it; nothing is charged, all of it waits in the lane."""
    api = FakeInvoiceApi({path(f"i-{n}"): [AWAY] for n in range(7)})
    stage = way.lane(api, max_in_flight=1, ladder=Ladder((2,), 8))
    await way.put(way.lane_queue, *(event(body(f"e-{n}", invoice=f"i-{n}"), number=n) for n in range(7)))
    async with way.running(stage) as stop:
        await eventually(lambda: stage.circuit.is_open)
        stop.set()
    assert len(api.requests) == 5
    assert await way.left() == {"enrich.main.0": 7}


async def test_a_part_that_always_fails(way: Way) -> None:
    """A part whose call fails is charged once; then the invoice goes out without it. The circuit hears nothing."""
    api = knows("i-1")
    items = Response(200, {}, b'{"invoice": {"id": "i-1", "invoice_items": []}}')
    api.will(path("i-1"), items, AWAY, items, AWAY)
    stage = way.lane(api, expand=("InvoiceItems", "Transactions"))
    async with way.running(stage):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        [came] = await way.came()
        assert stage.circuit.failures == 0
    enrichment = json.loads(came.body)["data"]["enrichment"]
    assert (enrichment["status"], enrichment["missing"]) == ("enriched", ["Transactions"])
    assert len(api.requests) == 4
    assert await way.left() == {}


async def test_stop_while_the_circuit_is_open(way: Way) -> None:
    """A stop ends the wait for a probe, and a probe that hangs, at once."""
    api = Refusing()
    stage = way.lane(api)
    async with way.running(stage) as stop:
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        await eventually(lambda: stage.circuit.is_open, within=10)
        api.gate.clear()
        await eventually(lambda: api.waiting, within=10)
        begun = time.monotonic()
        stop.set()
    assert time.monotonic() - begun < 1
    assert await way.left() == {"enrich.main.0": 1}


async def test_a_standby_takes_over_with_one_token(way: Way) -> None:
    """A standby that takes the lane over makes one call, whatever it saved up till then; then as the quota says."""
    invoices = [f"i-{n}" for n in range(4)]
    first, second = knows(*invoices), knows(*invoices)
    first.gate.clear()
    async with way.running(way.lane(first, max_in_flight=1)) as stop:
        await eventually(lambda: way.hand.consumers(way.lane_queue))
        async with way.running(way.lane(second, calls_per_minute=60)):
            await way.put(
                way.lane_queue, *(event(body(f"e-{invoice_id}", invoice=invoice_id)) for invoice_id in invoices)
            )
            await eventually(lambda: first.waiting)
            assert second.requests == []
            stop.set()
            first.gate.set()
            await eventually(lambda: second.requests)
            begun = time.monotonic()
            await eventually(lambda: len(second.requests) >= 2)
            assert time.monotonic() - begun > 0.8


async def test_stop_finishes_the_calls_in_flight(way: Way) -> None:
    """A stop begins no call, waits for those under way, and hands back the rest."""
    invoices = [f"i-{n}" for n in range(5)]
    api = knows(*invoices)
    api.gate.clear()
    async with way.running(way.lane(api, max_in_flight=2)) as stop:
        await way.put(way.lane_queue, *(event(body(f"e-{invoice_id}", invoice=invoice_id)) for invoice_id in invoices))
        await eventually(lambda: api.waiting == 2)
        await eventually(lambda: _nothing_ready(way))
        stop.set()
        api.gate.set()
    assert await way.left() == {"out.all": 2, "enrich.main.0": 3}
    assert len(api.requests) == 2


async def test_a_lost_consumer_connection_loses_and_doubles_nothing(
    hand: Hand, names: Names, open_link: OpenLink, proxy: Proxy
) -> None:
    """Cut off from the lane in mid-call: the call's event goes out once, though the broker delivers it again."""
    way = Way(hand, names, publisher=await open_link(), consumer=await open_link(proxy.url))
    await way.empty()
    api = knows("i-1", "i-2")
    api.gate.clear()
    busy = way.lane(api, max_in_flight=1)
    async with way.running(busy):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1"), number=1))
        await way.put(way.lane_queue, event(body("e-2", invoice="i-2"), number=2))
        await eventually(lambda: api.waiting)
        proxy.cut()
        await eventually(lambda: _ready(way, 2))
        api.gate.set()
        assert await way.ids(2, within=15) == ["e-1", "e-2"]
        await eventually(lambda: _nothing_ready(way))
        await eventually(lambda: len(api.requests) > 2 and not busy.window.key_count + busy.window.in_flight, within=15)
    assert await way.left() == {}


async def test_a_lost_publisher_connection_loses_nothing(
    hand: Hand, names: Names, open_link: OpenLink, proxy: Proxy
) -> None:
    """Cut off in the midst of publishing, on channels that were not open yet: the stage lives on and all go out."""
    way = Way(hand, names, publisher=await open_link(proxy.url), consumer=await open_link())
    await way.empty()
    invoices = [f"i-{n}" for n in range(4)]
    async with way.running(way.lane(knows(*invoices))):
        await eventually(lambda: way.hand.consumers(way.lane_queue))
        proxy.freeze()
        await way.put(way.lane_queue, *(event(body(f"e-{invoice_id}", invoice=invoice_id)) for invoice_id in invoices))
        await eventually(lambda: _nothing_ready(way))
        proxy.cut()
        proxy.thaw()
        assert set(await way.ids(4, within=15)) == {f"e-{invoice_id}" for invoice_id in invoices}


async def test_a_publish_that_fails_in_mid_round(fake_names: Names) -> None:
    """It is repeated until it is confirmed, those after it wait, in order; no call is made again, none comes again."""
    publisher, api, link = FakePublisher(), knows("i-1"), FakeLink(*_round_of_three(fake_names))
    publisher.unroutable = {"main.invoice.voided"}
    async with between_fakes(lane(publisher, api, fake_names), link):
        await eventually(lambda: publisher.refused > 1)
        assert event_ids(publisher.published) == ["e-1"]
        publisher.unroutable.clear()
        await eventually(lambda: not link.unacked)
    assert event_ids(publisher.published) == ["e-1", "e-2", "e-3"]
    assert (len(api.requests), len(link.subscriptions)) == (1, 1)


async def test_stop_while_a_publish_fails(fake_names: Names) -> None:
    """Stop does not wait for a publish that fails: what is not confirmed is handed back, what is confirmed is acked."""
    publisher, api, link = FakePublisher(), knows("i-1"), FakeLink(*_round_of_three(fake_names))
    publisher.unroutable = {"main.invoice.voided"}
    async with between_fakes(lane(publisher, api, fake_names), link):
        await eventually(lambda: publisher.refused)
    assert list(link.unacked) == [2, 3]


async def test_an_ack_that_comes_too_late(fake_names: Names) -> None:
    """Published, but the channel was lost before the ack: on the next subscription it is dropped as a duplicate."""
    publisher, api, link = FakePublisher(), knows("i-1"), FakeLink(*_round_of_three(fake_names))
    api.gate.clear()
    async with between_fakes(lane(publisher, api, fake_names), link):
        await eventually(lambda: api.waiting)
        link.subscriptions[0].channel.lost = True
        link.subscriptions[0].fail("the channel was closed")
        api.gate.set()
        await eventually(lambda: not link.unacked)
    assert event_ids(publisher.published) == ["e-1", "e-2", "e-3"]
    assert len(api.requests) == 2


class Backwards:
    """A host's clock whose date goes back a quarter of an hour with each reading."""

    def __init__(self, host: Clock) -> None:
        self.monotonic, self.utc_now = host.monotonic, host.utc_now
        self.unix_microseconds = iter(range(10**15, 0, -(10**9))).__next__


async def test_fetched_at_is_later_than_every_receipt(fake_names: Names) -> None:
    """Whatever the doors' clocks say, each time is later than that of receipt; two calls have never the same."""
    runtime = FakeRuntime()
    runtime.clock = Backwards(HOST.clock)
    receipts = [
        "2031-05-06T17:08:10.1234567+00:00",
        "",
        "no time",
        "2001-09-09T01:46:40.000000Z",
        "2099-01-01T00:00:00Z",
    ]
    events = [
        msgspec.structs.replace(event(body(f"e-{n}", invoice=f"i-{n}"), number=n), received_at=at)
        for n, at in enumerate(receipts)
    ]
    queue = {"exchange": fake_names.work, "routing_key": fake_names.lane("main")}
    publisher, api = FakePublisher(), knows(*(f"i-{n}" for n in range(len(receipts))))
    link = FakeLink(*(message.to(**queue) for message in events))
    async with between_fakes(lane(publisher, api, fake_names, states=FakeStates(), runtime=runtime), link):
        await eventually(lambda: not link.unacked)
    times = {event_ids([m])[0]: json.loads(m.body)["data"]["enrichment"]["fetched_at"] for m in publisher.published}
    assert len(set(times.values())) == len(receipts)
    assert times["e-0"] > "2031-05-06T17:08:10.1234567"
    assert times["e-4"] > "2099-01-01T00:00:00.000000Z"
    assert all(len(fetched_at) == len("2031-05-06T17:08:10.000000Z") for fetched_at in times.values())


async def test_nothing_goes_out_before_a_successor_would_know(fake_names: Names) -> None:
    """An invoice is published only once a state that covers its `fetched_at` is confirmed: a kill leaves no doubt."""
    publisher, states = FakePublisher(), FakeStates()
    link = FakeLink(event(body("e-1", invoice="i-1")).to(exchange=fake_names.work, routing_key=fake_names.lane("main")))
    stage = lane(publisher, knows("i-1"), fake_names, states=states)
    claims: list[tuple[int, str | None]] = []

    def describe() -> None:
        claims.append((len(publisher.published), stage.clock.claim()))
        stage.clock.confirmed(claims[-1][1])

    states.describe = describe
    async with between_fakes(stage, link):
        await eventually(lambda: not link.unacked)
    [before, *_, (published, claim)] = claims
    assert before == (0, None), "caught up before the first call, with nothing to claim"
    assert (published, len(publisher.published)) == (0, 1)
    fetched_at = json.loads(publisher.published[0].body)["data"]["enrichment"]["fetched_at"]
    assert claim is not None
    assert claim > fetched_at


async def test_no_state_is_confirmed(fake_names: Names) -> None:
    """A broker that confirms no state is blocked, or hangs: nothing could leave, so no call is made until it does."""
    publisher, states, api = FakePublisher(), FakeStates(), knows("i-1")
    states.are_confirmed = False
    link = FakeLink(*_round_of_three(fake_names))
    began = time.monotonic()
    async with between_fakes(lane(publisher, api, fake_names, states=states, lease_seconds=0.5), link):
        await eventually(lambda: time.monotonic() - began > 1)
        assert not api.requests
        states.are_confirmed = True
        await eventually(lambda: not link.unacked)
    assert len(publisher.published) == 3


@pytest.fixture
def fake_names() -> Names:
    """Names that are on no broker."""
    return Names("zi-fake")


def _round_of_three(names: Names) -> list[Outgoing]:
    kinds = ["Invoice.Closed", "Invoice.Voided", "Invoice.Closed"]
    return [
        event(body(f"e-{n}", invoice="i-1", kind=kind), number=n).to(
            exchange=names.work, routing_key=names.lane("main")
        )
        for n, kind in enumerate(kinds, start=1)
    ]


async def _ready(way: Way, count: int) -> bool:
    return await way.hand.ready(way.lane_queue) == count


async def _nothing_ready(way: Way) -> bool:
    return await _ready(way, 0)
