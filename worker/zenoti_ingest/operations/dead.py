"""`dead list | show | redrive | discard`: shows the dead letters, puts them back or drops them."""

import argparse
import asyncio
import heapq
from contextlib import aclosing

import msgspec

from zenoti_ingest.app.installation import Installation
from zenoti_ingest.command_line import EVENT_ID, add_json, filled
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.core.failures.groups import Groups, by_reason
from zenoti_ingest.operations import redrive
from zenoti_ingest.operations.letters import Filter, each, headers_of, looking
from zenoti_ingest.operations.terminal import DocumentWithList, say, show, table
from zenoti_schemas.dead_letter import DeadLetterHeaders

SHOWN = 20  # letters in the table for people: the newest
_CHOICES = ("reason", "fingerprint", "source", "type", "id")
_HELP = {"type": "a type or pattern", "id": EVENT_ID}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dead`."""
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION")
    single = actions.add_parser("show", help="every letter that has the id, whole, its body too")
    single.add_argument("letter_id", metavar="ID", type=filled, help=EVENT_ID)
    add_json(single)
    for name, text in (
        ("list", "all that match"),
        ("redrive", "put back where they came from"),
        ("discard", "drop for good"),
    ):
        action = actions.add_parser(name, help=text)
        for choice in _CHOICES:
            action.add_argument(f"--{choice}", type=filled, help=_HELP.get(choice))
        add_json(action)
        if name != "list":
            action.set_defaults(drains=True)
            action.add_argument("--all", action="store_true", help="every letter")
            action.add_argument("--dry-run", action="store_true", help="only print what would be done")


async def run(installation: Installation, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    """Run the action that is asked for; returns the exit status.

    Raises:
        WrongSettings: the arguments do not choose which letters to put back or drop.
    """
    if arguments.action == "show":
        return await show_(installation, arguments.letter_id, as_json=arguments.json)
    chosen = Filter(**{choice: getattr(arguments, choice) for choice in _CHOICES})
    if arguments.action == "list":
        return await list_(installation, chosen, as_json=arguments.json)
    if chosen == Filter() and not arguments.all:
        options = ", ".join(f"--{choice}" for choice in _CHOICES)
        raise WrongSettings(f"dead {arguments.action}: say which by {options}, or --all")
    act = redrive.redrive if arguments.action == "redrive" else redrive.discard
    return await act(installation, chosen, stop, dry_run=arguments.dry_run, as_json=arguments.json)


class Shown(msgspec.Struct, frozen=True):
    """A letter and its body as text."""

    letter: DeadLetterHeaders | None = None
    body: str | None = None


async def list_(installation: Installation, chosen: Filter, *, as_json: bool) -> int:
    """Show the chosen letters and take none: first their groups, then the newest letters; as JSON all letters."""
    names, groups = installation.names, Groups()
    newest: list[tuple[str, int, DeadLetterHeaders]] = []  # a heap: letters come in any order
    async with installation.connected("dead list") as link:
        if as_json:
            with DocumentWithList("letters") as written:
                async with aclosing(each(link, names, chosen)) as found:
                    async for letter in found:
                        groups.add(letter)
                        written.add(letter)
                all_of = groups.largest_first()
                written.end({"count": groups.count, "by_reason": by_reason(all_of), "groups": all_of})
            return 0
        async with aclosing(each(link, names, chosen)) as found:
            async for letter in found:
                groups.add(letter)
                heapq.heappush(newest, (letter.dead_at, groups.count, letter))
                if len(newest) > SHOWN:
                    heapq.heappop(newest)
    _print_tables(groups, [letter for _, _, letter in sorted(newest)])
    return 0


async def show_(installation: Installation, letter_id: str, *, as_json: bool) -> int:
    """Print every letter that has this id, with its body; as JSON also the first by itself. Returns 1 where none is."""
    names, first = installation.names, Shown()
    async with installation.connected("dead show") as link:
        with DocumentWithList("letters") as written:
            async with looking(link, names) as (in_hand, count), aclosing(in_hand.first(count)) as found:
                async for letter in found:
                    headers = headers_of(letter, names)
                    if headers.bears(letter_id):
                        shown = Shown(headers, letter.body.decode("utf-8", "backslashreplace"))
                        first = first if first.letter else shown
                        written.add(shown) if as_json else _print_letter(headers, shown.body)
            if as_json:
                written.end(msgspec.structs.asdict(first))
    if not (first.letter or as_json):
        say(f"There is no dead letter with the event, receipt or invoice id {letter_id}.")
    return 0 if first.letter else 1


def _print_tables(groups: Groups, newest: list[DeadLetterHeaders]) -> None:
    if not groups.count:
        say("no dead letters")
        return
    found = groups.largest_first()
    rows = [(g.count, g.reason, g.stage, g.fingerprint, g.oldest, g.newest, g.detail) for g in found]
    heads = ["letters", "reason", "stage", "fingerprint", "oldest", "newest", "detail of one"]
    show(table(heads, rows, title=f"{groups.count} dead letter(s), {len(found)} group(s)"))
    heads = ["dead at", "reason", "source", "type", "event id", "receipt id", "attempts"]
    lines = [(f.dead_at, f.reason, f.source, f.event_type, f.event_id, f.receipt_id, f.attempts) for f in newest]
    show(table(heads, lines, title=f"the last {len(lines)}"))
    if groups.count > len(lines):
        say("All of them: --json; fewer: --reason, --fingerprint, --source, --type, --id.")


def _print_letter(headers: DeadLetterHeaders, body: str | None) -> None:
    rows = [*msgspec.structs.asdict(headers).items(), ("fingerprint", dead_letter.fingerprint(headers))]
    show(table(["header", "value"], rows))
    if body or not headers.body_at:
        say(body or "", lines=True)
    else:
        say(f"The body is not in the letter: {headers.body_at}.")
