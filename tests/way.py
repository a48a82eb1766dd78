"""The way of an event on a real broker, for tests of the stages: events to put in, stages to run, what came out."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from tests.conftest import Hand, topology_of
from tests.eventually import eventually
from tests.fakes import FakeInvoiceApi, FakeLink
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.adapters.traces import UNTRACED
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.failures.policy import Ladder
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.protocol import Response
from zenoti_ingest.core.invoices.quota import Quota
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.consuming import Stage, consume
from zenoti_ingest.stages.enrich import Lane, Plan
from zenoti_ingest.stages.fan_out import FanOut
from zenoti_ingest.stages.invoice_calls import InvoiceCalls
from zenoti_ingest.stages.ports import Fetches, Publishes, Runtime, States, Traces
from zenoti_ingest.stages.traced import traced
from zenoti_ingest.stages.translate import Translate

STOP_SECONDS = 10.0
API = "https://api.example.test/v"
INVOICE = b'{"id": "%s", "invoice_items": [{"price": 1.10}], "Unknown": "\xc3\xbc"}'


def body(event_id: str, *, invoice: str = "", kind: str = "Invoice.Closed", **more: Any) -> bytes:
    """A webhook as Zenoti writes it."""
    data = {"id": "d-1", "invoice": {"id": invoice}} if invoice else {"id": "d-1"}
    return json.dumps({"event_id": event_id, "event_type": kind, "data": data, **more}).encode()


def event(content: bytes, *, number: int = 0, **more: Any) -> Received:
    """A webhook as the door took it, `number` seconds after the first."""
    return Received(
        body=content,
        source="main",
        receipt_id=f"receipt-{number}",
        received_at=f"2031-05-06T17:08:{number:02}.000000Z",
        **more,
    )


def invoice(invoice_id: str) -> bytes:
    """An invoice's object, as the API writes it."""
    return INVOICE % invoice_id.encode()


def answer(invoice_id: str) -> Response:
    """The API's answer with an invoice."""
    return Response(200, {}, b'{"invoice": %s}' % invoice(invoice_id))


def event_ids(messages: Iterable[Outgoing]) -> list[str]:
    """The envelopes' ids of what came out; of what has none, the message's."""
    return [message.headers.get("ce-eventid", message.message_id) for message in messages]


def path(invoice_id: str) -> str:
    """Where the API has it."""
    return f"/v1/invoices/{invoice_id}"


def knows(*invoices: str) -> FakeInvoiceApi:
    """An API that knows these invoices."""
    return FakeInvoiceApi({path(invoice): [answer(invoice)] for invoice in invoices})


def fan_out(publisher: Publishes, names: Names, *, wanted: tuple[str, ...] = ("*.#",)) -> FanOut:
    """To the two receivers of tests/conftest.py, the first with these patterns."""
    return FanOut(publisher, names=names, patterns={"all": wanted, "invoices": ("*.invoice.#",)}, clock=HOST.clock)


def lane(
    publisher: Publishes,
    api: Fetches,
    names: Names,
    *,
    ladder: Ladder = Ladder((1, 2), 8),  # noqa: B008  # frozen
    deliver_failures: bool = False,
    max_in_flight: int = 4,
    calls_per_minute: float = 60_000,
    expand: tuple[str, ...] = ("InvoiceItems",),
    states: States | None = None,
    lease_seconds: float = 5.0,
    prefetch: int = 100,
    traces: Traces = UNTRACED,
    runtime: Runtime = HOST,
    **more: Any,
) -> Lane:
    """The lane of source `main`, in a hurry."""
    plan = Plan(max_in_flight=max_in_flight, deliver_failures=deliver_failures, ladder=ladder)
    quota = Quota(calls_per_minute=calls_per_minute, now=time.monotonic() - 60)
    return Lane(
        traced(publisher, traces),
        fan_out(traced(publisher, traces), names),
        InvoiceCalls(
            api,
            source="main",
            expand=expand,
            quota=quota,
            lease=Lease(lease_seconds),
            runtime=runtime,
            base_url=API,
            traces=traces,
        ),
        names=names,
        source="main",
        prefetch=prefetch,
        plan=plan,
        seen=DuplicateFilter(window_seconds=60, max_keys=1000),
        runtime=runtime,
        states=states,
        traces=traces,
        **more,
    )


@asynccontextmanager
async def between_fakes(stage: Stage, link: FakeLink) -> AsyncIterator[asyncio.Event]:
    """Run a stage between fakes, until the body ends or sets the event."""
    stop = asyncio.Event()
    running = asyncio.create_task(consume(stage, link=link, publisher=FakeLink(), stop=stop, clock=HOST.clock))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(running, 5)


class Way:
    """The queues of source `main`, with a link to publish and one to consume."""

    def __init__(self, hand: Hand, names: Names, *, publisher: Link, consumer: Link) -> None:
        self.hand = hand
        self.names = names
        self.publisher = publisher
        self.consumer = consumer
        self.raw = names.raw("main")
        self.lane_queue = names.lane("main")
        self.out = f"{names.prefix}.out.all"

    async def put(self, queue: str, *events: Received) -> None:
        """Into one of our own queues."""
        for message in events:
            await self.hand.put(message.to(exchange=self.names.work, routing_key=queue))

    def translate(
        self,
        *,
        wanted: tuple[str, ...] = ("*.#",),
        enrich: tuple[str, ...] = ("#",),
        traces: Traces = UNTRACED,
        **more: Any,
    ) -> Translate:
        """The stage."""
        out = traced(self.publisher, traces)
        return Translate(
            out,
            fan_out(out, self.names, wanted=wanted),
            names=self.names,
            source="main",
            prefetch=100,
            enrich=enrich,
            seen=DuplicateFilter(window_seconds=60, max_keys=1000),
            runtime=HOST,
            traces=traces,
            **more,
        )

    def lane(self, api: Fetches, **more: Any) -> Lane:
        """The stage."""
        return lane(self.publisher, api, self.names, **more)

    @asynccontextmanager
    async def running(self, *stages: Stage) -> AsyncIterator[asyncio.Event]:
        """Run stages as the worker does, until the body ends or sets the event; none may fail."""
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(consume(s, link=self.consumer, publisher=self.publisher, stop=stop, clock=HOST.clock))
            for s in stages
        ]
        try:
            yield stop
        finally:
            stop.set()
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert not late, "a stage did not stop"
        for task in tasks:
            task.result()

    async def came(self, count: int = 1, *, queue: str = "", within: float = 5.0) -> list[Outgoing]:
        """What has come to a queue (the downstream's, if no other is named), once there are so many."""

        async def enough() -> bool:
            return await self.hand.ready(queue or self.out) >= count

        await eventually(enough, within=within)
        return [
            Outgoing(
                exchange=m.exchange or "",
                routing_key=m.routing_key or "",
                body=m.body,
                message_id=m.header.properties.message_id or "",
                headers={k: v for k, v in (m.header.properties.headers or {}).items() if k != "x-delivery-count"},
                content_type=m.header.properties.content_type,
                content_encoding=m.header.properties.content_encoding,
            )
            for m in await self.hand.drain(queue or self.out)
        ]

    async def ids(self, count: int, *, within: float = 5.0) -> list[str]:
        """The envelopes' ids of what came out, in order."""
        return event_ids(await self.came(count, within=within))

    async def left(self) -> dict[str, int]:
        """What still lies in our own queues once nobody consumes; those that are empty are left out."""
        queues = [self.raw, self.lane_queue, self.names.dead, self.names.retry(1), self.names.retry(2), self.out]
        for queue in (self.raw, self.lane_queue):
            await eventually(lambda queue=queue: self._unread(queue))  # type: ignore[misc]  # bound at once
        ready = {queue.removeprefix(f"{self.names.prefix}."): await self.hand.ready(queue) for queue in queues}
        return {queue: count for queue, count in ready.items() if count}

    async def raw_is_taken(self) -> bool:
        """Whether nothing is left in the raw queue that is in nobody's hands."""
        return await self.hand.ready(self.raw) == 0

    async def _unread(self, queue: str) -> bool:
        return await self.hand.consumers(queue) == 0

    async def empty(self) -> None:
        """Take everything out of every queue."""
        await self.hand.purge(topology_of(self.names))
