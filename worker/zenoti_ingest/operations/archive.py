"""`archive list`: what was received, out of the stream; and the reading of it that replay and trace share."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial

import msgspec

from zenoti_ingest.adapters.broker import Link, archive_stream
from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.app.topologies import names_of
from zenoti_ingest.core.events.messages import Received, received
from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.operating.archive_entries import Entry, Wanted, entry
from zenoti_ingest.core.operating.times import instant, moment
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.link import connected
from zenoti_ingest.operations.terminal import DocumentWithList, say, show, table
from zenoti_ingest.settings import Settings

DEPTHS_TIMEOUT_SECONDS = 10.0
SHOWN = 20  # events that a person is shown, the last


class ArchiveSpan(msgspec.Struct, frozen=True):
    """What the stream holds: when its first message was received, and the last one's offset; empty and -1: nothing."""

    reaches_back_to: str
    last: int


class Kind(msgspec.Struct):
    """The events of a source and type in short."""

    source: str
    type: str
    count: int = 0
    bytes: int = 0
    oldest: str = ""
    newest: str = ""


async def list_(settings: Settings, wanted: Wanted, *, as_json: bool) -> int:
    """Show what was received: kinds first, then the last; as JSON all of it."""
    names = names_of(settings)
    kinds: dict[tuple[str, str], Kind] = {}
    last: deque[Entry] = deque(maxlen=SHOWN)
    async with connected(settings, name="archive list") as link:
        span = await span_of(link, names)
        with DocumentWithList("events") as written:
            async with aclosing(entries(link, names, wanted, span)) as found:
                async for each in found:
                    _count(kinds, each)
                    written.add(each) if as_json else last.append(each)
            if as_json:
                total = sum(kind.count for kind in kinds.values())
                period = {"since": wanted.since, "until": wanted.until, "reaches_back_to": span.reaches_back_to or None}
                written.end({"count": total, "kinds": list(kinds.values()), **period})
    if not as_json:
        _tell(kinds, last, span, wanted)
    return 0


async def span_of(link: Link, names: Names) -> ArchiveSpan:
    """What the stream holds.

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
    return ArchiveSpan(message_of(first).received_at, last)


async def entries(link: Link, names: Names, wanted: Wanted, span: ArchiveSpan) -> AsyncGenerator[Entry, None]:
    """The entries that are wanted, in the order in which they were archived."""
    async with aclosing(messages(link, names, instant(wanted.since), span)) as found:
        async for offset, message in found:
            if wanted.covers(message) and wanted.takes(each := entry(message, offset=offset)):
                yield each


async def messages(
    link: Link, names: Names, since: datetime | int, span: ArchiveSpan
) -> AsyncGenerator[tuple[int, Received], None]:
    """What was received, with its offset in the stream, from a time or an offset on."""
    async with aclosing(archive_stream.read(link, stream=names.archive, since=since, last=span.last)) as found:
        async for offset, message in found:
            yield offset, message_of(message)


def message_of(message: archive_stream.Archived) -> Received:
    """The webhook in a message of the stream."""
    source = message.headers.get("source")
    return received(
        message.body,
        message.headers,
        source=source if isinstance(source, str) else "",
        message_id=message.message_id,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
    )


def time_of(text: str) -> str:
    """A time as the operator wrote it, in the words of `received_at`.

    Raises:
        WrongSettings: it is no time.
    """
    return moment(text, now=datetime.now(UTC))


def too_short(span: ArchiveSpan, since: str) -> str:
    """What to tell where the stream does not reach back so far; empty where it does."""
    if not span.reaches_back_to:
        return "The archive is empty."
    return f"The archive reaches back to {span.reaches_back_to} only." if span.reaches_back_to > since else ""


def _count(kinds: dict[tuple[str, str], Kind], each: Entry) -> None:
    kind = kinds.setdefault((each.source, each.type), Kind(each.source, each.type))
    kind.count += 1
    kind.bytes += each.bytes
    kind.oldest = min(kind.oldest or each.received_at, each.received_at)
    kind.newest = max(kind.newest, each.received_at)


def _tell(kinds: dict[tuple[str, str], Kind], last: deque[Entry], span: ArchiveSpan, wanted: Wanted) -> None:
    rows = [(k.count, k.source, k.type or "(malformed)", k.bytes, k.oldest, k.newest) for k in kinds.values()]
    total = sum(kind.count for kind in kinds.values())
    title = f"{total} event(s) received since {wanted.since}" + (f", before {wanted.until}" if wanted.until else "")
    show(table(["events", "source", "type", "bytes", "oldest", "newest"], sorted(rows, reverse=True), title=title))
    if last:
        lines = [(e.received_at, e.source, e.type, e.event_id, e.invoice_id, e.receipt_id, e.bytes) for e in last]
        heads = ["received at", "source", "type", "event id", "invoice id", "receipt id", "bytes"]
        show(table(heads, lines, title=f"the last {len(lines)}"))
    if total > len(last):
        say("All of them: --json; fewer: --source, --type, --invoice.")
    if short := too_short(span, wanted.since):
        say(short)
