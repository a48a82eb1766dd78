"""How commands read the archive: what it holds, and the wanted entries, in order. Nothing here prints."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from functools import partial

import msgspec

from zenoti_ingest.adapters.broker import Link, archive_stream
from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.core.events.messages import Received, message_of
from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.operating.archive_entries import Entry, Wanted, entry
from zenoti_ingest.core.operating.times import instant, moment
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.ports import Clock

DEPTHS_TIMEOUT_SECONDS = 10.0


class ArchiveSpan(msgspec.Struct, frozen=True):
    """What the stream holds.

    Attributes:
        reaches_back_to: when the first message was received; empty where there is none.
        last: offset of the last message; -1 where there is none.
    """

    reaches_back_to: str
    last: int


async def span_of(link: Link, names: Names) -> ArchiveSpan:
    """Return what the stream holds.

    Raises:
        TopologyMismatch: there is no archive.
    """
    found = await link.use(partial(depths, queues=[names.archive]), within=DEPTHS_TIMEOUT_SECONDS)
    if found[names.archive] is None:
        raise TopologyMismatch(f"the stream {names.archive} does not exist; see archive.enabled and `topology plan`")
    ends = await archive_stream.ends(link, stream=names.archive)
    if ends is None:
        return ArchiveSpan("", -1)
    first, last = ends
    return ArchiveSpan(_webhook(first).received_at, last)


async def entries(link: Link, names: Names, wanted: Wanted, span: ArchiveSpan) -> AsyncGenerator[Entry, None]:
    """Yield the wanted entries, in the order in which they were archived."""
    async with aclosing(messages(link, names, instant(wanted.since), span)) as found:
        async for offset, message in found:
            if wanted.covers(message) and wanted.takes(each := entry(message, offset=offset)):
                yield each


async def messages(
    link: Link, names: Names, since: datetime | int, span: ArchiveSpan
) -> AsyncGenerator[tuple[int, Received], None]:
    """Yield each message with its offset in the stream, from a time or an offset on."""
    async with aclosing(archive_stream.read(link, stream=names.archive, since=since, last=span.last)) as found:
        async for offset, message in found:
            yield offset, _webhook(message)


def _webhook(message: archive_stream.Archived) -> Received:
    source = message.headers.get("source")
    return message_of(message, source=source if isinstance(source, str) else "")


def time_of(text: str, clock: Clock) -> str:
    """Return a time that the operator wrote, in the format of `received_at`.

    Raises:
        WrongSettings: the text is no time.
    """
    return moment(text, now=instant(clock.utc_now()))


def too_short(span: ArchiveSpan, since: str) -> str:
    """Return what to print where the stream does not reach back to a time; empty where it does."""
    if not span.reaches_back_to:
        return "The archive is empty."
    return f"The archive reaches back to {span.reaches_back_to} only." if span.reaches_back_to > since else ""
