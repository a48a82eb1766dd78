"""How many bytes a stage has in hand: what waits, what goes out, what was brought; between fakes."""

import asyncio
import gzip

from tests.eventually import eventually, next_turn
from tests.fakes import FakeInvoiceApi, FakeLink, FakePublisher, FakeRuntime
from tests.way import between_fakes, body, event, event_ids, fan_out, lane, path
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.invoices.protocol import Response
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.translate import Translate
from zenoti_ingest.stages.waiting import WaitQueue

NAMES = Names("zi-fake")
SIZE = 100_000


class Gated(FakePublisher):
    """Confirms what the test lets through, in order; `waiting` are those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Outgoing] = []
        self.most = 0
        self._let = asyncio.Semaphore(0)

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """Wait, then keep it."""
        self.waiting.append(message)
        self.most = max(self.most, sum(len(message.body) for message in self.waiting))
        await self._let.acquire()
        self.waiting.remove(message)
        await super().publish(message, within=within)

    def confirm(self, count: int = 1) -> None:
        """Let so many through."""
        for _ in range(count):
            self._let.release()


def large(number: int, *, invoice: str = "", packed: bool = False) -> Received:
    """An event of some 100 kB, on the wire or inflated."""
    content = body(f"e-{number}", invoice=invoice, note="x" * SIZE)
    if packed:
        return event(gzip.compress(content), number=number, content_encoding="gzip")
    return event(content, number=number)


def waiting_in(queue: str, *events: Received) -> FakeLink:
    """A queue in which these lie."""
    return FakeLink(*(message.to(exchange=NAMES.work, routing_key=queue) for message in events))


def translate(publisher: FakePublisher, *, max_bytes: int, prefetch: int = 100) -> Translate:
    """The stage."""
    seen = DuplicateFilter(window_seconds=60, max_keys=1000)
    to = fan_out(publisher, NAMES)
    return Translate(
        publisher,
        to,
        names=NAMES,
        source="main",
        prefetch=prefetch,
        max_bytes=max_bytes,
        enrich=("#",),
        seen=seen,
        runtime=FakeRuntime(),
    )


async def test_translate_lets_out_as_much_as_there_is_room_for() -> None:
    """Compressed or not, bodies are at work for an eighth of the bound, one by one if a body is larger; in order."""
    events = [large(number, packed=number % 2 == 0) for number in range(6)]
    publisher, link = Gated(), waiting_in(NAMES.raw("main"), *events)
    async with between_fakes(translate(publisher, max_bytes=8 * SIZE), link):
        for number in range(6):
            await eventually(lambda: event_ids(publisher.waiting) == [f"e-{number}"])  # noqa: B023  # it is awaited here
            publisher.confirm()
        await eventually(lambda: not link.unacked)
    assert publisher.most < 2 * SIZE


async def test_small_ones_go_out_together() -> None:
    """What there is room for waits for nobody."""
    events = [event(body(f"e-{number}"), number=number) for number in range(15)]
    publisher, link = Gated(), waiting_in(NAMES.raw("main"), *events)
    async with between_fakes(translate(publisher, max_bytes=8 * SIZE), link):
        await eventually(lambda: len(publisher.waiting) == 15)
        publisher.confirm(15)
        await eventually(lambda: not link.unacked)


async def test_a_stop_waits_for_what_goes_out_and_not_for_what_waits() -> None:
    """What is on its way is finished; what waits for room is handed back."""
    publisher, link = Gated(), waiting_in(NAMES.raw("main"), *(large(number) for number in range(3)))
    async with between_fakes(translate(publisher, max_bytes=8 * SIZE), link) as stop:
        await eventually(lambda: publisher.waiting)
        stop.set()
        await next_turn()
        publisher.confirm(3)
    assert event_ids(publisher.published) == ["e-0"]
    assert list(link.unacked) == [2, 3]


async def test_a_lane_lets_out_one_by_one_what_shares_a_large_answer() -> None:
    """Each of a round's events goes out with the invoice; it is in memory for one of them at a time."""
    publisher, api = Gated(), FakeInvoiceApi({path("i-1"): [answer_of("i-1", SIZE)]})
    events = [large(number, invoice="i-1", packed=True) for number in range(4)]
    link = waiting_in(NAMES.lane("main"), *events)
    async with between_fakes(lane(publisher, api, NAMES, max_bytes=8 * SIZE), link):
        for number in range(4):
            await eventually(lambda: event_ids(publisher.waiting) == [f"e-{number}"])  # noqa: B023  # it is awaited here
            publisher.confirm()
        await eventually(lambda: not link.unacked)
    assert len(api.requests) == 1
    assert event_ids(publisher.published) == [f"e-{number}" for number in range(4)]


async def test_no_call_begins_while_what_was_brought_is_not_out() -> None:
    """Answers of more than an eighth of the bound wait for their way out: then so do the calls."""
    invoices = [f"i-{number}" for number in range(6)]
    publisher, api = Gated(), FakeInvoiceApi({path(invoice): [answer_of(invoice, SIZE)] for invoice in invoices})
    events = [event(body(f"e-{invoice}", invoice=invoice), number=number) for number, invoice in enumerate(invoices)]
    link = waiting_in(NAMES.lane("main"), *events)
    async with between_fakes(lane(publisher, api, NAMES, max_bytes=8 * SIZE, max_in_flight=1), link):
        for count in range(1, 7):
            await eventually(lambda: publisher.waiting)
            for _ in range(10):
                await next_turn()
            assert len(api.requests) == count
            publisher.confirm()
            await eventually(lambda: len(publisher.published) == count)  # noqa: B023  # it is awaited here
        await eventually(lambda: not link.unacked)


async def test_a_lane_keeps_events_as_they_came() -> None:
    """A compressed event waits compressed, and goes down the ladder as it came."""
    publisher, api = FakePublisher(), FakeInvoiceApi()
    link = waiting_in(NAMES.lane("main"), sent := large(1, invoice="i-1", packed=True))
    stage = lane(publisher, api, NAMES)
    api.gate.clear()
    async with between_fakes(stage, link):
        await eventually(lambda: api.waiting)
        api.gate.set()
        await eventually(lambda: not link.unacked)
    [again] = publisher.published
    assert (again.exchange, again.body, again.content_encoding) == (NAMES.retry(1), sent.body, "gzip")


async def test_small_events_are_all_taken_at_once() -> None:
    """As many as the stage can hold, by one subscription; each of them goes out once."""
    events = [event(body(f"e-{number}"), number=number % 60) for number in range(50)]
    publisher, link = FakePublisher(), waiting_in(NAMES.raw("main"), *events)
    async with between_fakes(translate(publisher, max_bytes=2**30), link):
        await eventually(lambda: not link.unacked)
    assert [subscription.prefetch for subscription in link.subscriptions] == [100]
    assert sorted(event_ids(publisher.published)) == sorted(f"e-{number}" for number in range(50))


async def test_past_the_bound_fewer_are_taken_until_all_are_out() -> None:
    """Each subscription takes half of what was too much, and each settles what it took."""
    publisher = FakePublisher()
    link = waiting_in(NAMES.raw("main"), *(large(number) for number in range(12)))
    async with between_fakes(translate(publisher, max_bytes=8 * SIZE), link):
        await eventually(lambda: not link.unacked)
    assert [subscription.prefetch for subscription in link.subscriptions][:2] == [100, 2]
    assert event_ids(publisher.published) == [f"e-{number}" for number in range(12)]
    assert all(subscription.bytes_in_hand <= 6 * SIZE for subscription in link.subscriptions)


async def test_each_larger_than_the_bound() -> None:
    """One at a time, they all come out."""
    publisher = FakePublisher()
    link = waiting_in(NAMES.raw("main"), *(large(number) for number in range(5)))
    async with between_fakes(translate(publisher, max_bytes=SIZE // 2), link):
        await eventually(lambda: not link.unacked)
    assert event_ids(publisher.published) == [f"e-{number}" for number in range(5)]


async def test_what_waits_for_a_receiver_is_bounded_too() -> None:
    """Few large bodies are in hand at a time, and they go out in order."""
    publisher = FakePublisher()
    link = waiting_in(NAMES.waiting("all"), *(large(number) for number in range(5)))
    async with between_fakes(WaitQueue(publisher, names=NAMES, receiver="all", max_bytes=2 * SIZE), link):
        await eventually(lambda: not link.unacked)
    assert [message.message_id for message in publisher.published] == [f"receipt-{number}" for number in range(5)]
    assert [subscription.prefetch for subscription in link.subscriptions] == [5, 1]


def answer_of(invoice_id: str, size: int) -> Response:
    """The API's answer, of some size."""
    return Response(200, {}, b'{"invoice":{"id":"%s","text":"%s"}}' % (invoice_id.encode(), b"y" * size))
