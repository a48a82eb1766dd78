"""The broker's end of a run: raw events put there, what has come counted, and taken out event by event."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import aiormq
import aiormq.abc
from aio_pika.abc import AbstractConnection

from tests.bench.speed.trace import Arrived, body
from tests.eventually import eventually

AT_A_TIME = 500
STEP_SECONDS = 30.0


class Queues:
    """The queues beneath one prefix."""

    def __init__(self, connection: AbstractConnection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix
        self._channel: aiormq.abc.AbstractChannel | None = None

    async def fill(self, tag: str, count: int) -> None:
        """Put the events of a run into the raw queue, as the door would have; each is confirmed."""
        channel = await self._open()
        for first in range(0, count, AT_A_TIME):
            numbers = range(first, min(count, first + AT_A_TIME))
            await asyncio.gather(*(self._put(channel, tag, number) for number in numbers))

    async def depth(self, queue: str) -> int:
        """Messages ready in `<prefix>.<queue>`."""
        answer = await (await self._open()).queue_declare(f"{self._prefix}.{queue}", passive=True, timeout=STEP_SECONDS)
        return answer.message_count or 0

    async def filled(self, queue: str, count: int, *, within: float) -> float:
        """Wait until so many are ready; returns when that was, by the monotonic clock."""

        async def there() -> bool:
            return await self.depth(queue) >= count

        await eventually(there, within=within)
        return time.monotonic()

    async def emptied(self, queue: str, *, within: float) -> None:
        """Wait until none is ready."""

        async def empty() -> bool:
            return await self.depth(queue) == 0

        await eventually(empty, within=within)

    async def drain(self, queue: str, tag: str, count: int) -> Arrived:
        """Take out all that is there; the result shows what is missing or twice."""
        arrived, depth = Arrived(tag, count), await self.depth(queue)
        await self.watch(queue, arrived, lambda _: arrived.distinct + arrived.copies >= depth)
        return arrived

    async def watch(
        self, queue: str, arrived: Arrived, is_over: Callable[[int], bool], *, within: float = STEP_SECONDS
    ) -> list[float]:
        """Take out what comes until it is over (asked with each number); when each number first came."""
        channel = await self._new()
        times = [0.0] * arrived.count
        over = asyncio.Event()

        async def take(message: aiormq.abc.DeliveredMessage) -> None:
            number = arrived.note(message.body)
            times[number] = times[number] or time.monotonic()
            if is_over(number):
                over.set()

        try:
            await channel.basic_consume(f"{self._prefix}.{queue}", take, no_ack=True)
            async with asyncio.timeout(within):
                await over.wait()
        except TimeoutError:
            pass  # what is missing shows it
        finally:
            await channel.close()
        return times

    async def _put(self, channel: aiormq.abc.AbstractChannel, tag: str, number: int) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        receipt_id = f"{tag}-receipt-{number}"
        await channel.basic_publish(
            body(tag, number),
            exchange=f"{self._prefix}.work",
            routing_key=f"{self._prefix}.raw.main",
            properties=aiormq.spec.Basic.Properties(
                delivery_mode=2,
                content_type="application/json",
                message_id=receipt_id,
                headers={"source": "main", "receipt_id": receipt_id, "received_at": at},
            ),
            timeout=STEP_SECONDS,
        )

    async def _open(self) -> aiormq.abc.AbstractChannel:
        if self._channel is None:
            self._channel = await self._new()
        return self._channel

    async def _new(self) -> aiormq.abc.AbstractChannel:
        assert self._connection.transport is not None
        return await self._connection.transport.connection.channel()
