"""The suite's own hands on the broker: they go to the nodes directly, and come back after whatever befalls those."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aiormq
import aiormq.abc
from pamqp import commands, decode
from pamqp.common import FieldTable

from tests.chaos.events import PREFIX
from tests.chaos.ledger import FRAME_POISON

STEP_SECONDS = 5.0
IDLE_SECONDS = 5.0  # of a reader: events flow all the time, so silence may be a consumer that nobody knows any more
PREFETCH = 300
PAUSE_SECONDS = 0.2
LOST = (aiormq.exceptions.AMQPError, aiormq.exceptions.ChannelInvalidStateError, OSError, RuntimeError)
OUT_OF_RANGE = time.struct_time((2000, 1, 1, 10**12, 0, 0, 0, 0, 0))  # hours: some hundred million years

Keep = Callable[[str, bytes, Mapping[str, Any], bool], None]
Channel = aiormq.abc.AbstractChannel


def hush() -> None:
    """Keep the client library from logging each broken connection: this suite breaks them on purpose."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # below: a write to what is gone


def read_any_timestamp() -> None:
    """Let this process read the poison that it makes: it is poison because the client library cannot read it."""

    def timestamp(value: bytes) -> tuple[int, datetime]:
        try:
            return decode.timestamp(value)
        except (ValueError, OverflowError, OSError):
            return 8, datetime.fromtimestamp(0, tz=UTC)

    decode.METHODS["timestamp"] = timestamp


class Reader:
    """Takes everything out of some queues, for ever, node after node."""

    def __init__(self, urls: Sequence[str], queues: Sequence[str], keep: Keep) -> None:
        self._urls = urls
        self._queues = queues
        self._keep = keep
        self._latest = 0.0

    async def run(self) -> None:
        """Read until cancelled."""
        turn = 0
        while True:
            await _on_channel(self._urls[turn % len(self._urls)], self._read)
            turn += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, channel: Channel) -> None:
        ended = asyncio.Event()
        channel.closing.add_done_callback(lambda _: ended.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: ended.set())
        async with asyncio.timeout(STEP_SECONDS):
            await channel.basic_qos(prefetch_count=PREFETCH)
            for queue in self._queues:
                await channel.basic_consume(queue, self._keeper(queue))
        self._latest = time.monotonic()
        while not ended.is_set() and time.monotonic() - self._latest < IDLE_SECONDS:
            await asyncio.sleep(PAUSE_SECONDS)

    def _keeper(self, queue: str) -> Callable[[aiormq.abc.DeliveredMessage], Coroutine[Any, Any, None]]:
        async def keep(message: aiormq.abc.DeliveredMessage) -> None:
            self._latest = time.monotonic()
            headers = message.header.properties.headers or {}
            self._keep(queue, message.body, headers, bool(message.redelivered))
            if message.delivery_tag is not None:
                await message.channel.basic_ack(message.delivery_tag, wait=False)

        return keep


async def put_poison(urls: Sequence[str]) -> None:
    """Put a message that the client library cannot read onto the raw queue, confirmed; returns once it is there."""
    properties = commands.Basic.Properties(delivery_mode=2, message_id="unreadable")
    properties.timestamp = OUT_OF_RANGE  # type: ignore[assignment]  # a datetime cannot be out of range
    done = False

    async def put(channel: Channel) -> None:
        nonlocal done
        async with asyncio.timeout(STEP_SECONDS):
            await channel.basic_publish(
                FRAME_POISON,
                exchange=f"{PREFIX}.work",
                routing_key=f"{PREFIX}.raw.main",
                properties=properties,
                mandatory=True,
            )
        done = True

    turn = 0
    while not done:
        await _on_channel(urls[turn % len(urls)], put)
        turn += 1


async def depths(urls: Sequence[str], queues: Sequence[str]) -> dict[str, int]:
    """Messages ready, by queue; queues without an answer are left out."""
    found: dict[str, int] = {}

    async def look(channel: Channel) -> None:
        for queue in queues:
            async with asyncio.timeout(STEP_SECONDS):
                declared = await channel.queue_declare(queue, passive=True)
            found[queue] = declared.message_count or 0

    for url in urls:
        await _on_channel(url, look)
        if len(found) == len(queues):
            break
    return found


async def declare(url: str, queue: str, *, max_length: int) -> None:
    """A receiver's own queue, which refuses what it has no room for."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        arguments: FieldTable = {"x-queue-type": "quorum", "x-max-length": max_length, "x-overflow": "reject-publish"}
        await channel.queue_declare(queue, durable=True, arguments=arguments)
    finally:
        await connection.close()


async def release(url: str) -> str:
    """What the broker calls itself."""
    connection = await aiormq.connect(url)
    try:
        return str(connection.server_properties["version"])
    finally:
        await connection.close()


async def _on_channel(url: str, action: Callable[[Channel], Awaitable[None]]) -> None:
    """Do it on a channel of a new connection; whatever breaks off, the caller begins anew."""
    connection: aiormq.abc.AbstractConnection | None = None
    try:
        async with asyncio.timeout(STEP_SECONDS):
            connection = await aiormq.connect(url)
            channel = await connection.channel(on_return_raises=True)
        await action(channel)
    except LOST:
        return
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return  # the library's own, when a connection hangs
    finally:
        if connection is not None:
            try:
                async with asyncio.timeout(1):
                    await connection.close()
            except (*LOST, asyncio.CancelledError):  # it is gone or hangs, and is forgotten
                pass
