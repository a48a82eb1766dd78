"""Events that are larger than the broker takes: what each stage makes of them, and of those beside them."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import Hand, OpenLink
from tests.eventually import eventually
from tests.fakes import FakeInvoiceApi, FakePublisher
from tests.integration.spools import running, spooled, waits
from tests.way import Way, body, event, event_ids, invoice, knows, path
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.adapters.spool import Spool, read_aside
from zenoti_ingest.core.delivery.size_budget import SizeBudget
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.intake.admission import Rule
from zenoti_ingest.core.invoices.protocol import Response
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.intake import DoorSource, Intake
from zenoti_ingest.stages.spool_drain import IN_FLIGHT, SpoolDrain
from zenoti_ingest.stages.too_large import TooLargeEvents

LIMIT = 5_000
LARGE = 2 * LIMIT
MIB = 1024 * 1024
NAMES = Names("zi")


@pytest.fixture
def budget() -> SizeBudget:
    """Of the stages' process."""
    return SizeBudget(LIMIT)


@pytest.fixture
async def way(hand: Hand, names: Names, open_link: OpenLink, budget: SizeBudget) -> AsyncIterator[Way]:
    """The way of an event whose publisher has a small budget."""
    whole = Way(hand, names, publisher=await open_link(budget=budget), consumer=await open_link(budget=budget))
    await whole.empty()
    yield whole
    await whole.empty()


@asynccontextmanager
async def draining(directory: Path, publisher: FakePublisher) -> AsyncIterator[tuple[Spool, SpoolDrain]]:
    """A spool that is drained into a broker."""
    async with running(directory) as spool:
        source = DoorSource(signature_header="x", rule=lambda: Rule(secrets=(), tokens=()))
        intake = Intake(
            publisher,
            spool,
            names=NAMES,
            sources={"main": source},
            confirm_seconds=1,
            unavailable_reason=str,
            runtime=HOST,
        )  # nothing stands against it
        letters = TooLargeEvents(publisher, spool, names=NAMES, host="here", unavailable_reason=str, clock=HOST.clock)
        drain = SpoolDrain(intake, spool, too_large=letters, unavailable_reason=str, clock=HOST.clock)
        task = asyncio.create_task(drain.run())
        try:
            yield spool, drain
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=10)


def receipts(publisher: FakePublisher, routing_key: str) -> list[str]:
    """The receipts of what was published there."""
    return [message.message_id for message in publisher.published if message.routing_key == routing_key]


@pytest.mark.parametrize("large", [{0}, {0, 1, 2, 38}, set(range(10))], ids=str)
async def test_the_spool_drains_past_it(tmp_path: Path, large: set[int]) -> None:
    """Those behind it go out; each large event becomes a letter without a body, which names the file that has it."""
    publisher, events = FakePublisher(), [spooled(n, size=LARGE if n in large else 80) for n in range(39)]
    publisher.away, publisher.max_bytes = True, LIMIT
    async with draining(tmp_path, publisher) as (spool, _):
        for kept in events:
            await spool.put(kept)
        await eventually(lambda: publisher.refused >= 2)  # the trials of a detour: one at a time
        publisher.away = False
        await waits(spool, 0)
    assert receipts(publisher, "main") == [f"r-{n}" for n in range(39) if n not in large]
    letters = [message for message in publisher.published if message.routing_key == NAMES.dead]
    assert [letter.message_id for letter in letters] == [f"r-{n}" for n in sorted(large)]
    for letter in letters:
        assert letter.body == b""
        headers = letter.headers
        assert (headers["reason"], headers["stage"], headers["source"]) == ("too-large", "intake", "main")
        kind, host, file = headers["body_at"].split(":", 2)
        assert (kind, host) == ("disk", "here")
        assert Path(file).is_relative_to(tmp_path / "corrupt")
        assert read_aside(Path(file)) in [kept.event for kept in events]
        assert headers["received_at"] == events[0].event.received_at


async def test_letters_that_the_broker_does_not_take(tmp_path: Path) -> None:
    """However many letters wait, events pass them, here and in the next process, which writes them in the end."""
    many, publisher = IN_FLIGHT + 10, FakePublisher()
    publisher.full, publisher.max_bytes = {NAMES.dead}, LIMIT
    async with draining(tmp_path, publisher) as (spool, _):
        await asyncio.gather(*(spool.put(spooled(n, size=LARGE)) for n in range(many)))
        await spool.put(spooled(many, size=80))
        await eventually(lambda: receipts(publisher, "main") == [f"r-{many}"], within=20)
        await waits(spool, many)
        await asyncio.gather(*(spool.put(spooled(many + n, size=80)) for n in (1, 2)))
        await waits(spool, many)
    assert len(publisher.published) == 3
    async with draining(tmp_path, publisher) as (spool, _):
        await waits(spool, many)
        publisher.full = set()
        await waits(spool, 0, within=40)
    assert sorted(receipts(publisher, NAMES.dead)) == sorted(f"r-{n}" for n in range(many))
    assert len(list((tmp_path / "corrupt").iterdir())) == many


async def test_the_files_count_to_the_bound(tmp_path: Path) -> None:
    """What was set aside takes its share of the spool's bound; an event set aside twice is one file."""
    publisher = FakePublisher()
    publisher.max_bytes = LIMIT
    async with draining(tmp_path, publisher) as (spool, _):
        await spool.put(spooled(1, size=MIB))
        await spool.put(spooled(1, size=MIB))
        await eventually(lambda: len(receipts(publisher, NAMES.dead)) == 2)
        await eventually(lambda: spool.state.events == 0 and MIB <= spool.state.bytes < 2 * MIB, within=10)


async def test_the_door_takes_it(tmp_path: Path) -> None:
    """A fresh event that is too large is kept by the spool, and is no sign against the broker."""
    publisher = FakePublisher()
    publisher.max_bytes = LIMIT
    async with draining(tmp_path, publisher) as (_, drain):
        intake = drain._intake  # noqa: SLF001  # the stage under test
        kept = [await intake._see_safe(spooled(n, size=LARGE if n == 1 else 80).event) for n in range(3)]  # noqa: SLF001
        assert kept == ["broker", "spool", "broker"]
        assert not intake.detours["main"].is_on
        await eventually(lambda: receipts(publisher, NAMES.dead) == ["r-1"])


Make = Callable[[], Received]


def large_event(number: int) -> Received:
    """Small on the wire, too large inflated; names invoice i-1."""
    content = body(f"e-{number}", invoice="i-1", note="x" * LARGE)
    return event(gzip.compress(content), number=number, content_encoding="gzip")


async def test_a_body_that_inflates_too_far(way: Way, budget: SizeBudget) -> None:
    """It becomes a letter without a body, which the archive has; its neighbours go on."""
    async with way.running(way.translate(budget=budget)):
        await way.put(way.raw, event(body("e-0")), large_event(1), event(body("e-2"), number=2))
        assert await way.ids(2) == ["e-0", "e-2"]
        [letter] = await way.came(queue=way.names.dead)
    assert (letter.body, letter.headers["reason"], letter.headers["body_at"]) == (b"", "too-large", "archive")
    assert (letter.headers["stage"], letter.headers["receipt_id"]) == ("translate", "receipt-1")
    assert await way.left() == {}


async def test_without_an_archive_the_letter_keeps_the_body(way: Way, budget: SizeBudget) -> None:
    """Without an archive the letter has the body as it was received, and says where it is: here."""
    sent = large_event(1)
    async with way.running(way.translate(budget=budget, archived=False)):
        await way.put(way.raw, sent)
        [letter] = await way.came(queue=way.names.dead)
    assert (letter.body, letter.content_encoding) == (sent.body, "gzip")
    assert letter.headers["reason"] == "too-large"
    assert "body_at" not in letter.headers


@pytest.mark.parametrize("content", [body("e-1", note="x" * LARGE), b"x" * LARGE], ids=["an event", "malformed"])
@pytest.mark.parametrize("archived", [True, False])
async def test_what_lay_in_the_queue_before_the_limit_was_lowered(
    way: Way,
    budget: SizeBudget,
    content: bytes,
    archived: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """It is in the archive, or else the broker itself makes a letter with the body; its neighbours go on."""
    async with way.running(way.translate(budget=budget, archived=archived)):
        await way.put(way.raw, event(body("e-0")), event(content, number=1), event(body("e-2"), number=2))
        assert await way.ids(2) == ["e-0", "e-2"]
        [letter] = await way.came(queue=way.names.dead)
    assert letter.body == (b"" if archived else content)
    assert letter.headers.get("body_at") == ("archive" if archived else None)
    if not archived:
        assert letter.headers["x-death"][0]["queue"] == way.raw
    assert await way.left() == {}


def large_invoice(invoice_id: str) -> Response:
    """An invoice that fills the budget."""
    return Response(200, {}, b'{"invoice": {"id": "%s", "note": "%s"}}' % (invoice_id.encode(), b"x" * LIMIT))


@pytest.mark.parametrize("deliver", [False, True])
async def test_an_event_that_its_invoice_makes_too_large(
    way: Way,
    budget: SizeBudget,
    deliver: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """It becomes a letter, or goes out without the invoice where the source wants that; its neighbours go on."""
    api = FakeInvoiceApi({path("i-1"): [large_invoice("i-1")], path("i-2"): knows("i-2")._answers[path("i-2")]})  # noqa: SLF001
    lane = way.lane(api, budget=budget, deliver_failures=deliver, expand=())
    events = [event(body(f"e-{n}", invoice=f"i-{n}"), number=n) for n in (1, 2)]
    async with way.running(lane):
        await way.put(way.lane_queue, *events)
        came = await way.came(2 if deliver else 1)
        letters = [] if deliver else await way.came(queue=way.names.dead)
    found = {event_ids([message])[0]: json.loads(message.body)["data"] for message in came}
    assert found["e-2"]["enrichment"]["status"] == "enriched"
    if deliver:
        assert found["e-1"]["enrichment"] | {"expand": []} == {
            "status": "failed", "expand": [], "missing": [], "fetched_at": None, "reason": "too-large",
        }  # fmt: skip
    else:
        [letter] = letters
        assert (letter.body, letter.headers["body_at"]) == (b"", "archive")
        assert (letter.headers["event_id"], letter.headers["invoice_id"]) == ("e-1", "i-1")
        assert letter.headers["event_type"] == "invoice.closed"
    assert invoice("i-2") in next(m.body for m in came if event_ids([m]) == ["e-2"])
    assert await way.left() == {}


async def test_a_retry_that_is_too_large(way: Way, budget: SizeBudget) -> None:
    """An event that is to be retried and is too large by now becomes a letter; its neighbours go on."""
    api = knows("i-2")
    large = event(body("e-1", invoice="i-1", note="x" * LARGE), number=1)
    async with way.running(way.lane(api, budget=budget)):
        await way.put(way.lane_queue, large, event(body("e-2", invoice="i-2"), number=2))
        assert await way.ids(1) == ["e-2"]
        [letter] = await way.came(queue=way.names.dead)
    assert (letter.headers["reason"], letter.headers["body_at"]) == ("too-large", "archive")
    assert await way.left() == {}
