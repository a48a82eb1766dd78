"""The stream of everything received: reading it from a time or an offset to where it ended when one began.

A time finds the chunk that holds it, by the broker's clock; `received_at`, by which messages are judged, is the door's.
A door whose clock is ahead is archived earlier than it says, a body that lay in a spool later. So one begins early, by
as much as clocks may differ, and reads to the end.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

from zenoti_ingest.adapters.broker.needs import Subscriber
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.failures.errors import BrokerUnavailable

PREFETCH = 100  # bodies in memory at a time
CLOCKS_DIFFER = timedelta(hours=2)  # a time zone mistaken for another, or one that stood still for long
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC) + CLOCKS_DIFFER  # AMQP's times begin there
FIRST_SECONDS = 5.0  # a stream delivers at once what it has: after so long it has nothing there
REST_SECONDS = 2.0
LAST_SECONDS = 5.0  # by then the newest chunk has been read; where events keep coming, there is no silence to wait for
LOST_CHANNEL_POLL_SECONDS = 0.5  # whether the channel is lost
RECONNECT_SECONDS = 30.0


Archived = Delivery  # of the archive's stream; `ack` asks for another


def offset_of(message: Archived) -> int:
    """Where it stands in the stream."""
    return int(message.headers["x-stream-offset"])


async def ends(link: Subscriber, *, stream: str, last_seconds: float = LAST_SECONDS) -> tuple[Archived, int] | None:
    """The first message that the stream still has, and the last one's offset; None where it is empty.

    The end may be of what came meanwhile; it is looked for no longer than `last_seconds`.

    Raises:
        BrokerUnavailable: the stream cannot be read.
    """
    newest = await _newest(link, stream, within=last_seconds)
    if newest is None:
        return None
    oldest = _from(link, stream, "first", rest_seconds=REST_SECONDS)
    try:
        return await anext(oldest), newest
    finally:
        await oldest.aclose()


async def _newest(link: Subscriber, stream: str, *, within: float) -> int | None:
    found: int | None = None
    messages = _from(link, stream, "last", rest_seconds=REST_SECONDS)
    enough = asyncio.get_running_loop().time() + within
    try:
        async for message in messages:
            found = offset_of(message)
            if asyncio.get_running_loop().time() >= enough:
                break
    finally:
        await messages.aclose()
    return found


async def read(
    link: Subscriber, *, stream: str, since: datetime | int, last: int
) -> AsyncGenerator[tuple[int, Archived], None]:
    """Every message with its offset, from a time or an offset on, up to `last`; goes on after a lost channel.

    Raises:
        BrokerUnavailable: the stream cannot be read, or it delivers no more although there is more.
    """
    start = max(since, EARLIEST) - CLOCKS_DIFFER if isinstance(since, datetime) else since
    after = -1 if isinstance(start, datetime) else start - 1
    while after < last:
        begun_at = after
        messages = _from(link, stream, start, rest_seconds=FIRST_SECONDS)
        try:
            async for message in messages:
                after = offset_of(message)
                if after <= last:
                    yield after, message
                if after >= last:
                    return
        finally:
            await messages.aclose()
        if after == begun_at:
            if isinstance(start, datetime):
                return  # nothing is that new
            raise BrokerUnavailable(f"{stream} delivers nothing from offset {start} on, and should up to {last}")
        start = after + 1


async def _from(
    link: Subscriber, stream: str, start: str | int | datetime, *, rest_seconds: float
) -> AsyncGenerator[Archived, None]:
    """What the stream delivers from there on; ends where it delivers nothing for a while, or its channel is lost."""
    inbox: asyncio.Queue[Archived] = asyncio.Queue()
    try:
        async with asyncio.timeout(RECONNECT_SECONDS):
            await link.wait_ready()
    except TimeoutError:
        raise BrokerUnavailable(f"no connection for {RECONNECT_SECONDS:g} s") from None
    arguments = {"x-stream-offset": start}
    silent, allowed = 0.0, FIRST_SECONDS
    async with link.subscribe(stream, prefetch=PREFETCH, on_delivery=inbox.put, arguments=arguments) as subscription:
        while silent < allowed:
            try:
                async with asyncio.timeout(LOST_CHANNEL_POLL_SECONDS):
                    message = await inbox.get()
            except TimeoutError:
                silent += LOST_CHANNEL_POLL_SECONDS
                if subscription.ended.is_set():
                    return
                continue
            yield message
            message.ack()
            silent, allowed = 0.0, rest_seconds
