"""Reading the archive on the real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.builders import invoice_closed_body, received
from tests.conftest import Hand, lose_channels
from tests.eventually import eventually
from zenoti_ingest.adapters.broker import Link, archive_stream
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.operating.archive_entries import Wanted
from zenoti_ingest.core.topology.declared import Archive, intake_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.archive_reading import entries, span_of

COUNT = 250  # more than are on their way at a time
START = datetime.now(UTC) - timedelta(seconds=100)  # the broker's own clock says where a reading begins


def webhook(number: int, **more: str) -> Received:
    """As the door took it, `number` seconds after the first."""
    at = (START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return received(body=b"%d" % number, receipt_id=f"r-{number}", received_at=at, **more)  # type: ignore[arg-type]


@pytest.fixture
async def stream(hand: Hand, prefix: str) -> AsyncIterator[Names]:
    """An archive of the test's own, empty; a stream cannot be emptied."""
    own = Names(prefix)
    channel = await hand.channel()
    await channel.queue_declare(own.archive, durable=True, arguments={"x-queue-type": "stream"})
    yield own
    await channel.queue_delete(own.archive)


async def put(hand: Hand, names: Names, *messages: Received) -> None:
    """Into the archive."""
    await hand.channel()
    await asyncio.gather(*(hand.put(message.to(exchange="", routing_key=names.archive)) for message in messages))


async def read(link: Link, names: Names, since: datetime | int, last: int) -> list[int]:
    """The bodies read, which are numbers."""
    async with aclosing(archive_stream.read(link, stream=names.archive, since=since, last=last)) as found:
        return [int(message.body) async for _, message in found]


async def test_an_archive_is_read_from_end_to_end(link: Link, hand: Hand, stream: Names) -> None:
    """Empty: nothing. Else everything in its order, up to where it ended when one began, from a time or an offset."""
    assert await archive_stream.ends(link, stream=stream.archive) is None
    await put(hand, stream, *(webhook(number) for number in range(COUNT)))
    ends = await archive_stream.ends(link, stream=stream.archive)
    assert ends is not None
    first, last = ends
    assert (first.body, last) == (b"0", COUNT - 1)
    await put(hand, stream, webhook(999))
    assert await read(link, stream, datetime.now(UTC) - timedelta(hours=1), last) == list(range(COUNT))
    assert await read(link, stream, COUNT - 3, last) == [COUNT - 3, COUNT - 2, COUNT - 1]
    assert await read(link, stream, COUNT, last) == []
    assert await read(link, stream, datetime.now(UTC) + 2 * archive_stream.CLOCKS_DIFFER, last) == []


async def test_a_busy_door_does_not_put_off_the_end(link: Link, hand: Hand, stream: Names) -> None:
    """The end is found while events come without a pause; all that were there when it was asked for lie before it."""
    await put(hand, stream, *(webhook(number) for number in range(COUNT)))

    async def keep_coming() -> None:
        while True:
            await put(hand, stream, webhook(COUNT))

    busy = asyncio.create_task(keep_coming())
    try:
        async with asyncio.timeout(10):
            ends = await archive_stream.ends(link, stream=stream.archive, last_seconds=0.5)
    finally:
        busy.cancel()
        await asyncio.wait([busy])
    assert ends is not None
    assert ends[1] >= COUNT - 1


async def test_a_reading_outlives_its_channel(link: Link, hand: Hand, stream: Names) -> None:
    """A channel that the broker closes in mid-reading costs no message and repeats none."""
    await put(hand, stream, *(webhook(number) for number in range(COUNT)))
    seen = []
    async with aclosing(archive_stream.read(link, stream=stream.archive, since=0, last=COUNT - 1)) as found:
        async for offset, _ in found:
            seen.append(offset)
            if offset in (0, 120):
                await lose_channels(link)
    assert seen == list(range(COUNT))


async def test_entries_are_chosen_by_when_they_were_received(link: Link, hand: Hand, stream: Names) -> None:
    """What lay in a spool stands behind what came later, and is found by its time of receipt all the same."""
    await put(hand, stream, webhook(5), webhook(60), webhook(6, source="other"), webhook(7), webhook(1))
    span = await span_of(link, stream)
    assert (span.reaches_back_to, span.last) == (webhook(5).received_at, 4)
    wanted = Wanted(since=webhook(5).received_at, until=webhook(60).received_at)

    async def found(wanted: Wanted) -> list[str]:
        return [entry.receipt_id async for entry in entries(link, stream, wanted, span)]

    assert await found(wanted) == ["r-5", "r-6", "r-7"]
    assert await found(Wanted(since=wanted.since, source="other")) == ["r-6"]
    assert await found(Wanted(since=webhook(0).received_at)) == ["r-5", "r-60", "r-6", "r-7", "r-1"]


async def test_there_is_no_archive(link: Link, prefix: str) -> None:
    """Without the stream, the error names the missing stream and what to do."""
    with pytest.raises(TopologyMismatch, match=r"archive\.enabled"):
        await span_of(link, Names(prefix))


async def test_types_and_invoices_are_read_out_of_bodies(link: Link, hand: Hand, stream: Names) -> None:
    """A filter by type or invoice reads the bodies, past those that are malformed."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    bodies = (b"\xff", invoice_closed_body(invoice_id="i-1"), invoice_closed_body(invoice_id="i-2"))
    await put(hand, stream, *(received(body=b, receipt_id=f"r-{n}", received_at=now) for n, b in enumerate(bodies)))
    span = await span_of(link, stream)
    wanted = Wanted(since=now, type="invoice.*", invoice="i-2")
    assert [entry.receipt_id async for entry in entries(link, stream, wanted, span)] == ["r-2"]
    assert len([entry async for entry in entries(link, stream, Wanted(since=now), span)]) == 3


@pytest.mark.parametrize(("max_age", "goes"), [("1s", True), ("1h", False)])
async def test_the_age_promised_is_the_age_kept(
    link: Link, hand: Hand, prefix: str, max_age: str, *, goes: bool
) -> None:
    """An event past its age goes once further segments have come, and one within its age stays."""
    names = Names(prefix)
    kept = Archive(max_age=max_age, max_bytes=8_000_000)
    declared = {queue.name: queue for queue in intake_topology(names, sources=(), archive=kept).queues}
    channel = await hand.channel()
    await channel.queue_declare(names.archive, durable=True, arguments=dict(declared[names.archive].arguments))
    segment = msgspec.structs.replace(webhook(1), body=bytes(1_000_000))

    async def first_is_gone() -> bool:
        await put(hand, names, segment, segment)
        ends = await archive_stream.ends(link, stream=names.archive)
        assert ends is not None
        return ends[0].body != b"0"

    try:
        await put(hand, names, webhook(0))
        if goes:
            await eventually(first_is_gone, within=20)
        else:
            assert not await first_is_gone()
            assert not await first_is_gone()
    finally:
        await channel.queue_delete(names.archive)
