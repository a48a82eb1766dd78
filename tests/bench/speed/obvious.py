"""The obvious worker, to compare with: what one writes in an hour.

No signature, spool, quota, circuit, duplicates, order, retries, dead letters, metrics, log. It publishes to
the same raw queue and archive, by confirms, and consumes with a prefetch of 200; each step is publish, confirm, ack.

`python -m tests.bench.speed.obvious intake|consume|pass-on`; settings by the environment (see `sides`).
"""

import asyncio
import os
import sys
import uuid
from collections.abc import Callable

import aio_pika
import aiohttp
import msgspec
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web

PREFETCH = 200


async def intake() -> None:
    """A handler that awaits the confirm of its publish."""
    connection = await aio_pika.connect_robust(os.environ["BENCH_BROKER"])
    channel = await connection.channel()
    exchange = await channel.get_exchange(f"{os.environ['BENCH_PREFIX']}.intake")

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        message = aio_pika.Message(
            body,
            message_id=str(uuid.uuid4()),
            content_type=request.content_type,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await exchange.publish(message, routing_key=request.match_info["source"])
        return web.json_response({"status": "accepted"}, status=202)

    app = web.Application()
    app.router.add_post("/webhooks/{source}", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["BENCH_PORT"])).start()


async def consume(*, call: bool) -> None:
    """Decode, call, publish, ack: a callback that the library runs for each delivery."""
    connection = await aio_pika.connect_robust(os.environ["BENCH_BROKER"])
    prefix = os.environ["BENCH_PREFIX"]
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.get_queue(f"{prefix}.raw.main")
    exchange = await channel.get_exchange(f"{prefix}.events")
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=PREFETCH))
    base, headers = os.environ["BENCH_API"], {"Authorization": "apikey key-of-the-bench"}
    query = [("expand", part) for part in ("InvoiceItems", "Transactions", "Appointments")]

    async def enrich(message: AbstractIncomingMessage) -> None:
        event = msgspec.json.decode(message.body)
        invoice = None
        if call:
            invoice_id = event["data"]["invoice"]["id"]
            async with session.get(f"{base}/v1/invoices/{invoice_id}", params=query, headers=headers) as answer:
                answer.raise_for_status()
                invoice = msgspec.json.decode(await answer.read())["invoice"]
        out = aio_pika.Message(
            msgspec.json.encode({"event": event, "invoice": invoice}),
            message_id=event["event_id"],
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await exchange.publish(out, routing_key=f"main.{event['event_type'].lower()}")
        await message.ack()

    await queue.consume(enrich)


async def run(start: Callable[[], object]) -> None:
    """Start, say so, and stay until ended."""
    await start()  # type: ignore[misc]  # one of the three below
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    words = {"intake": intake, "consume": lambda: consume(call=True), "pass-on": lambda: consume(call=False)}
    asyncio.run(run(words[sys.argv[1]]))
