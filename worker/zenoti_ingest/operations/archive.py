"""`archive list | replay`: shows what was received, or feeds it in again; both read the archive stream."""

import argparse
import asyncio
from collections import deque
from contextlib import aclosing

import msgspec

from zenoti_ingest.app.installation import Installation
from zenoti_ingest.command_line import add_json, filled
from zenoti_ingest.core.operating.archive_entries import Entry, Wanted
from zenoti_ingest.operations import replay
from zenoti_ingest.operations.archive_reading import ArchiveSpan, entries, span_of, time_of, too_short
from zenoti_ingest.operations.terminal import DocumentWithList, say, show, table

SHOWN = 20  # events in the table for people: the last


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `archive`."""
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION")
    for name, text in (("list", "what was received"), ("replay", "into the raw queues again, live events first")):
        action = actions.add_parser(name, help=text)
        action.add_argument(
            "--since",
            required=True,
            metavar="T",
            type=filled,
            help="received at this time or later, by the door's clock: ISO 8601 (UTC without a zone), or 2h, 3d ago",
        )
        action.add_argument("--until", metavar="T", type=filled, help="before this time")
        action.add_argument("--source", type=filled)
        action.add_argument("--type", type=filled, help="a type or pattern, such as invoice.*")
        action.add_argument("--invoice", metavar="ID", type=filled)
        add_json(action)
        if name == "replay":
            replay.add_arguments(action)


async def run(installation: Installation, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    """Run the action that is asked for; returns the exit status."""
    wanted = Wanted(
        since=time_of(arguments.since, installation.clock),
        until=time_of(arguments.until, installation.clock) if arguments.until is not None else None,
        source=arguments.source,
        type=arguments.type,
        invoice=arguments.invoice,
    )
    if arguments.action == "list":
        return await list_(installation, wanted, as_json=arguments.json)
    how = {option: getattr(arguments, option) for option in ("after", "rate", "to", "dry_run")}
    return await replay.replay(installation, wanted, stop, **how, as_json=arguments.json)


class Kind(msgspec.Struct):
    """The summary of the events of one source and type."""

    source: str
    type: str
    count: int = 0
    bytes: int = 0
    oldest: str = ""
    newest: str = ""


async def list_(installation: Installation, wanted: Wanted, *, as_json: bool) -> int:
    """Show what was received: first a summary by source and type, then the last events; as JSON all events."""
    names = installation.names
    kinds: dict[tuple[str, str], Kind] = {}
    last: deque[Entry] = deque(maxlen=SHOWN)
    async with installation.connected("archive list") as link:
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
        _print_tables(kinds, last, span, wanted)
    return 0


def _count(kinds: dict[tuple[str, str], Kind], each: Entry) -> None:
    kind = kinds.setdefault((each.source, each.type), Kind(each.source, each.type))
    kind.count += 1
    kind.bytes += each.bytes
    kind.oldest = min(kind.oldest or each.received_at, each.received_at)
    kind.newest = max(kind.newest, each.received_at)


def _print_tables(kinds: dict[tuple[str, str], Kind], last: deque[Entry], span: ArchiveSpan, wanted: Wanted) -> None:
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
