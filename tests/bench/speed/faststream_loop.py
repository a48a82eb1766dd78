"""The same as the obvious consumer by FastStream, pydantic and httpx.

Models for event and invoice, a function, its decorator. The framework acks after the function has returned, that is
after its publish was confirmed.

`python -m tests.bench.speed.faststream_loop consume`; settings by the environment (see `sides`). What it wants is in
requirements-bench.txt.
"""

import asyncio
import os
from typing import Any

import httpx
from faststream.rabbit import Channel, RabbitBroker, RabbitExchange, RabbitQueue
from pydantic import BaseModel, ConfigDict

PREFETCH = 200
CALL_SECONDS = 15.0
EXPAND = ("InvoiceItems", "Transactions", "Appointments")


class Tolerant(BaseModel):
    """Unknown fields pass through."""

    model_config = ConfigDict(extra="allow")


class InvoiceReference(Tolerant):
    """An event's invoice."""

    id: str


class Data(Tolerant):
    """What an event is about."""

    invoice: InvoiceReference


class Event(Tolerant):
    """A webhook."""

    event_id: str
    event_type: str
    data: Data


class Answer(Tolerant):
    """The API's."""

    invoice: dict[str, Any]


class Out(BaseModel):
    """What goes out."""

    event: Event
    invoice: dict[str, Any]


async def consume() -> None:
    """Subscribe, and stay until ended."""
    prefix = os.environ["BENCH_PREFIX"]
    broker = RabbitBroker(os.environ["BENCH_BROKER"], default_channel=Channel(prefetch_count=PREFETCH), logger=None)
    exchange = RabbitExchange(f"{prefix}.events", declare=False)
    limits = httpx.Limits(max_connections=PREFETCH, max_keepalive_connections=PREFETCH)
    headers = {"Authorization": "apikey key-of-the-bench"}
    client = httpx.AsyncClient(
        base_url=os.environ["BENCH_API"], headers=headers, limits=limits, timeout=CALL_SECONDS, trust_env=False
    )

    @broker.subscriber(RabbitQueue(f"{prefix}.raw.main", declare=False))
    async def enrich(event: Event) -> None:
        answer = await client.get(f"/v1/invoices/{event.data.invoice.id}", params={"expand": EXPAND})
        answer.raise_for_status()
        out = Out(event=event, invoice=Answer.model_validate_json(answer.content).invoice)
        await broker.publish(
            out,
            exchange=exchange,
            routing_key=f"main.{event.event_type.lower()}",
            message_id=event.event_id,
            persist=True,
        )

    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(consume())
