"""`trace ID`: what the archive and the dead letters have of an event, invoice or receipt id."""

import argparse
import asyncio
from contextlib import aclosing

import msgspec

from zenoti_ingest.app.installation import Installation
from zenoti_ingest.command_line import EVENT_ID, add_json, filled
from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.operating.archive_entries import Entry, Wanted
from zenoti_ingest.operations.archive_reading import entries, span_of, time_of, too_short
from zenoti_ingest.operations.letters import Filter, each
from zenoti_ingest.operations.terminal import document, say, show, table
from zenoti_schemas.dead_letter import DeadLetterHeaders

MAX_STEPS = 1_000  # of the archive, and as many of the dead letters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `trace`."""
    parser.add_argument("id", metavar="ID", type=filled, help=EVENT_ID)
    parser.add_argument("--since", default="24h", metavar="T", type=filled, help="look so far back (24h)")
    add_json(parser)


async def run(installation: Installation, arguments: argparse.Namespace, _: asyncio.Event) -> int:
    """Run `trace`; returns the exit status."""
    return await trace(installation, arguments.id, time_of(arguments.since, installation.clock), as_json=arguments.json)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the timeline: an event as the archive or the dead letters have it."""

    at: str
    where: str
    what: str
    source: str
    type: str
    event_id: str
    cloudevent_id: str
    invoice_id: str
    receipt_id: str


async def trace(installation: Installation, wanted: str, since: str, *, as_json: bool) -> int:
    """Print a timeline; returns 1 where nothing is found."""
    names = installation.names
    steps: list[Step] = []
    async with installation.connected("trace") as link:
        try:
            span = await span_of(link, names)
        except TopologyMismatch as error:
            note = str(error)
        else:
            note = too_short(span, since)
            async with aclosing(entries(link, names, Wanted(since=since), span)) as received:
                async for entry in received:
                    if entry.bears(wanted) and len(steps) < MAX_STEPS:
                        what = f"received, {entry.bytes} bytes" + (f", {entry.malformed}" if entry.malformed else "")
                        steps.append(_step(entry, entry.received_at, "archive", what, entry.type))
        async with aclosing(each(link, names, Filter())) as letters:
            async for letter in letters:
                if letter.bears(wanted) and len(steps) < 2 * MAX_STEPS:
                    what = f"{letter.reason} in {letter.stage} at attempt {letter.attempts}: {letter.detail}"
                    steps.append(_step(letter, letter.dead_at, "dead letters", what, letter.event_type))
    steps.sort(key=lambda step: step.at)
    if as_json:
        document({"id": wanted, "since": since, "note": note or None, "steps": steps})
        return 0 if steps else 1
    if steps:
        show(table(list(Step.__struct_fields__), [msgspec.structs.astuple(step) for step in steps]))
    else:
        say(f"Nothing is known of {wanted} since {since}.")
    if note:
        say(note)
    return 0 if steps else 1


def _step(known: Entry | DeadLetterHeaders, at: str, where: str, what: str, kind: str) -> Step:
    return Step(
        at=at,
        where=where,
        what=what,
        source=known.source,
        type=kind,
        event_id=known.event_id,
        cloudevent_id=known.cloudevent_id,
        invoice_id=known.invoice_id,
        receipt_id=known.receipt_id,
    )
