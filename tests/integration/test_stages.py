"""Translate on a real RabbitMQ, and the way of an event through both stages."""

import gzip
import json

import pytest

from tests.conftest import Hand, OpenLink
from tests.eventually import eventually
from tests.proxy import Proxy
from tests.way import Way, answer, body, event, event_ids, invoice, knows, path
from zenoti_ingest.core.topology.names import Names


async def test_an_event_with_an_invoice_takes_the_whole_way(way: Way) -> None:
    """Raw queue -> lane -> API -> out: webhook's and invoice's bytes as they came, attributes in body and headers."""
    api, content = knows("i-1"), body("e-1", invoice="i-1", event_timestamp="2022-03-11T14:22:43.3847049Z")
    async with way.running(way.translate(), way.lane(api)):
        await way.put(way.raw, event(content))
        [came] = await way.came()
    assert came.routing_key == "main.invoice.closed"
    assert (event_ids([came]), came.content_type) == (["e-1"], "application/cloudevents+json")
    assert content in came.body
    assert invoice("i-1") in came.body
    document = json.loads(came.body)
    assert (document["eventid"], document["source"], document["subject"]) == ("e-1", "/zenoti/main", "i-1")
    assert document["id"] == came.message_id
    assert document["time"] == "2022-03-11T14:22:43.3847049Z"
    assert document["receivedat"] == "2031-05-06T17:08:00.000000Z"
    enrichment = document["data"]["enrichment"]
    assert (enrichment["status"], enrichment["expand"], enrichment["missing"]) == ("enriched", ["InvoiceItems"], [])
    assert enrichment["fetched_at"].endswith("Z")
    attributes = {f"ce-{name}": value for name, value in document.items() if name not in {"data", "datacontenttype"}}
    assert came.headers.items() >= attributes.items()
    assert [r.path for r in api.requests] == [path("i-1")]
    assert await way.hand.ready(f"{way.names.prefix}.out.invoices") == 1
    assert await way.left() == {}


async def test_an_event_without_an_invoice_goes_straight_out(way: Way) -> None:
    """An event of a type that nobody knows, without an invoice, goes out as `not_applicable`; no call is made."""
    api, content = knows(), body("e-1", kind="Wholly New/Thing")
    async with way.running(way.translate(), way.lane(api)):
        await way.put(way.raw, event(content))
        [came] = await way.came()
    assert came.routing_key == "main.wholly-new-thing"
    data = json.loads(came.body)["data"]
    assert (data["event"], data["invoice"]) == (json.loads(content), None)
    assert data["enrichment"]["status"] == "not_applicable"
    assert api.requests == []
    assert await way.left() == {}


async def test_a_type_that_is_not_worth_a_call_is_skipped(way: Way) -> None:
    """An event with an invoice, of a type outside `enrich`, goes straight out as `skipped`."""
    async with way.running(way.translate(enrich=("guest.#",))):
        await way.put(way.raw, event(body("e-1", invoice="i-1")))
        [came] = await way.came()
    assert json.loads(came.body)["data"]["enrichment"]["status"] == "skipped"


async def test_what_no_downstream_wants_is_unrouted_and_not_enriched(way: Way) -> None:
    """An event with an invoice that matches no downstream goes to the unrouted queue, without an API call."""
    channel = await way.hand.channel()
    await channel.exchange_unbind(way.names.receiver("all"), way.names.events, "*.#")
    try:
        async with way.running(way.translate(wanted=("*.invoice.#",))):
            await way.put(way.raw, event(body("e-1", invoice="i-1", kind="Guest.Created")))
            [came] = await way.came(queue=way.names.unrouted)
    finally:
        await channel.exchange_bind(way.names.receiver("all"), way.names.events, "*.#")
    assert (event_ids([came]), came.routing_key) == (["e-1"], "main.guest.created")
    assert await way.left() == {}


async def test_a_malformed_body_becomes_a_dead_letter(way: Way) -> None:
    """A body that is no JSON lies in the dead letters byte for byte, with every header, all text but `attempts`."""
    content = b'{"event_id": "\xff'
    message = event(content, number=3, content_type="application/json", path_type="invoice.closed", attempts=2)
    async with way.running(way.translate()):
        await way.put(way.raw, message)
        [letter] = await way.came(queue=way.names.dead)
    assert (letter.body, letter.content_type, letter.message_id) == (content, "application/json", "receipt-3")
    dead_at, detail = letter.headers.pop("dead_at"), letter.headers.pop("detail")
    assert (dead_at[4], dead_at[-1], bool(detail)) == ("-", "Z", True)
    assert letter.headers == {
        "reason": "malformed",
        "stage": "translate",
        "source": "main",
        "event_type": "",
        "event_id": "",
        "cloudevent_id": "",
        "invoice_id": "",
        "attempts": 2,
        "received_at": "2031-05-06T17:08:03.000000Z",
        "receipt_id": "receipt-3",
        "path_type": "invoice.closed",
    }
    assert await way.left() == {}


async def test_a_dead_letter_holds_the_compressed_body_as_it_was(way: Way) -> None:
    """A compressed body that cannot be inflated lies there as it came, and still says how it was compressed."""
    content = gzip.compress(body("e-1"))[:-4]
    async with way.running(way.translate()):
        await way.put(way.raw, event(content, content_encoding="gzip"))
        [letter] = await way.came(queue=way.names.dead)
    assert (letter.body, letter.content_encoding) == (content, "gzip")
    assert letter.headers["reason"] == "malformed"


async def test_a_compressed_body_travels_inflated(way: Way) -> None:
    """Translate inflates a gzip'd body: the lane gets it plain, and the encoding is no longer named."""
    content = body("e-1", invoice="i-1")
    async with way.running(way.translate()):
        await way.put(way.raw, event(gzip.compress(content), content_encoding="gzip", content_type="text/x"))
        await eventually(lambda: way.hand.ready(way.lane_queue))
    api = knows("i-1")
    async with way.running(way.lane(api)):
        [came] = await way.came()
    assert json.loads(came.body)["data"]["event"] == json.loads(content)
    assert came.content_encoding is None


async def test_what_waited_before_the_start_goes_out_in_order(way: Way) -> None:
    """Events that lie in the raw queue when translate subscribes all go out, in their order, from the first on."""
    await way.put(way.raw, *(event(body(f"e-{n}"), number=n) for n in range(50)))
    async with way.running(way.translate()):
        assert await way.ids(50) == [f"e-{n}" for n in range(50)]
    assert await way.left() == {}


async def test_what_waited_before_the_start_is_all_taken(way: Way) -> None:
    """No delivery that comes while a stage is about to begin is left in its hands: subscription after subscription."""
    for start in range(0, 50, 10):
        await way.put(way.raw, *(event(body(f"e-{n}"), number=n) for n in range(start, start + 10)))
        async with way.running(way.translate()):
            assert len(await way.came(10)) == 10
    assert await way.left() == {}


async def test_a_duplicate_is_dropped(way: Way) -> None:
    """An event delivered again by Zenoti, after it was passed on, is acked and goes no further; others do."""
    async with way.running(way.translate()):
        await way.put(way.raw, event(body("e-1"), number=1))
        first = await way.ids(1)
        await way.put(way.raw, event(body("e-1"), number=2), event(body("e-2"), number=3))
        assert first + await way.ids(1) == ["e-1", "e-2"]
    assert await way.left() == {}


@pytest.mark.parametrize("mark", [{"replay": "r-1"}, {"redriven": True}])
async def test_replayed_and_redriven_events_are_no_duplicates(way: Way, mark: dict[str, object]) -> None:
    """What an operator puts in again goes out again, though it was passed on a moment ago."""
    async with way.running(way.translate()):
        await way.put(way.raw, event(body("e-1"), number=1))
        await way.ids(1)
        await way.put(way.raw, event(body("e-1"), number=2, **mark))
        assert await way.ids(1) == ["e-1"]


async def test_an_event_without_an_id_is_no_duplicate(way: Way) -> None:
    """Two equal bodies without `event_id` both go out, with the same id."""
    async with way.running(way.translate()):
        await way.put(way.raw, event(body(""), number=1))
        first = await way.ids(1)
        await way.put(way.raw, event(body(""), number=2))
        assert await way.ids(1) == first
    assert first[0].startswith("sha256:")


@pytest.mark.parametrize(
    "strange",
    [
        body("e" * 300),
        body("e" * 300, invoice="i-1"),
        body("ü" * 200, invoice="i-1"),
        body("e" * 200_000, kind="Guest.Created"),
        body("e-1", kind="Guest.Created", data={"id": "d" * 200_000}),
        body("e-1", data={"invoice": {"id": "i-1", "center_id": "c" * 200_000}}),
    ],
    ids=["long id", "long id, invoice", "wide id", "huge id", "huge subject", "huge centre"],
)
async def test_what_amqp_cannot_carry_stops_nobody(way: Way, strange: bytes) -> None:
    """An event with an id, subject or centre beyond AMQP's limits comes out all the same, and breaks no connection."""
    connected = (way.publisher.state, way.consumer.state)
    async with way.running(way.translate(), way.lane(knows("i-1"))):
        await way.put(way.raw, event(strange, number=1), event(body("good"), number=2))

        async def settled() -> int:
            return await way.hand.ready(way.out) == 2

        await eventually(settled)
    assert (way.publisher.state, way.consumer.state) == connected
    assert "good" in await way.ids(2)


async def test_translate_outlives_a_publisher_that_is_cut_off(
    hand: Hand, names: Names, open_link: OpenLink, proxy: Proxy
) -> None:
    """Events in hand when the connection for publishing is lost all arrive once it is back; none is lost or stuck."""
    way = Way(hand, names, publisher=await open_link(proxy.url), consumer=await open_link())
    await way.empty()
    api = knows("i-1")
    async with way.running(way.translate(), way.lane(api)):
        await way.put(way.raw, event(body("before")))
        await way.came()
        proxy.freeze()
        await way.put(way.raw, *(event(body(f"e-{n}", invoice="i-1" if n % 2 else ""), number=n) for n in range(20)))
        await eventually(way.raw_is_taken)
        proxy.cut()
        proxy.thaw()
        found: set[str] = set()

        async def all_of_them() -> bool:
            found.update(event_ids(await way.came(0)))
            return found == {f"e-{n}" for n in range(20)}

        await eventually(all_of_them, within=20)
    assert (await way.left()).keys() <= {"out.all"}
    await way.empty()


async def test_stop_finishes_what_is_in_hand(way: Way) -> None:
    """Stop in the midst of many events: each is either out or still in the queue, none is in both or in neither."""
    await way.put(way.raw, *(event(body(f"e-{n}"), number=n % 60) for n in range(100)))
    async with way.running(way.translate()) as stop:
        await eventually(lambda: way.hand.ready(way.out))
        stop.set()
    left = await way.left()
    assert left.get("out.all", 0) + left.get("raw.main", 0) == 100


async def test_an_answer_for_another_invoice_is_not_passed_on(way: Way) -> None:
    """The API's answer must be about the invoice asked for: another invoice charges an attempt and goes nowhere."""
    api = knows("i-1")
    api.will(path("i-1"), answer("i-2"), answer("i-1"))
    async with way.running(way.lane(api)):
        await way.put(way.lane_queue, event(body("e-1", invoice="i-1")))
        [came] = await way.came()
    assert invoice("i-1") in came.body
    assert len(api.requests) == 2
