"""`dead list | show | redrive | discard`: the dead letters, looked at, put back or dropped."""

import argparse
import asyncio
import heapq
from contextlib import aclosing

import msgspec

from zenoti_ingest.app.topologies import names_of
from zenoti_ingest.command_line import EVENT_ID, add_json, filled
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.core.failures.groups import Groups, by_reason
from zenoti_ingest.operations import redrive
from zenoti_ingest.operations.letters import Filter, each, headers_of, looking
from zenoti_ingest.operations.link import connected
from zenoti_ingest.operations.terminal import DocumentWithList, say, show, table
from zenoti_ingest.settings import Settings
from zenoti_schemas.dead_letter import DeadLetterHeaders

SHOWN = 20  # letters that a person is shown, the newest


_CHOICES = ("reason", "fingerprint", "source", "type", "id")
_HELP = {"type": "a type or pattern", "id": EVENT_ID}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of `dead`."""
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION")
    one = actions.add_parser("show", help="every letter that has the id, whole, its body too")
    one.add_argument("letter_id", metavar="ID", type=filled, help=EVENT_ID)
    add_json(one)
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
            action.add_argument("--dry-run", action="store_true", help="only say what would be done")


async def run(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    """Do what the words say.

    Raises:
        WrongSettings: it is not said which letters are to be put back or dropped.
    """
    if arguments.action == "show":
        return await show_(settings, arguments.letter_id, as_json=arguments.json)
    chosen = Filter(**{choice: getattr(arguments, choice) for choice in _CHOICES})
    if arguments.action == "list":
        return await list_(settings, chosen, as_json=arguments.json)
    if chosen == Filter() and not arguments.all:
        options = ", ".join(f"--{choice}" for choice in _CHOICES)
        raise WrongSettings(f"dead {arguments.action}: say which by {options}, or --all")
    act = redrive.redrive if arguments.action == "redrive" else redrive.discard
    return await act(settings, chosen, stop, dry_run=arguments.dry_run, as_json=arguments.json)


class Shown(msgspec.Struct, frozen=True):
    """A letter and its body as text."""

    letter: DeadLetterHeaders | None = None
    body: str | None = None


async def list_(settings: Settings, chosen: Filter, *, as_json: bool) -> int:
    """Show the chosen letters, none of them taken: groups first, then the newest; as JSON all of them."""
    names, groups = names_of(settings), Groups()
    newest: list[tuple[str, int, DeadLetterHeaders]] = []  # a heap: they come in any order
    async with connected(settings, name="dead list") as link:
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
    _tell(groups, [letter for _, _, letter in sorted(newest)])
    return 0


async def show_(settings: Settings, letter_id: str, *, as_json: bool) -> int:
    """Every letter that has this id, whole, its body too; 1 where there is none. As JSON the first stands apart too."""
    names, first = names_of(settings), Shown()
    async with connected(settings, name="dead show") as link:
        with DocumentWithList("letters") as written:
            async with looking(link, names) as (in_hand, count), aclosing(in_hand.first(count)) as found:
                async for letter in found:
                    headers = headers_of(letter, names)
                    if headers.bears(letter_id):
                        shown = Shown(headers, letter.body.decode("utf-8", "backslashreplace"))
                        first = first if first.letter else shown
                        written.add(shown) if as_json else _show_one(headers, shown.body)
            if as_json:
                written.end(msgspec.structs.asdict(first))
    if not (first.letter or as_json):
        say(f"There is no dead letter with the event, receipt or invoice id {letter_id}.")
    return 0 if first.letter else 1


def _tell(groups: Groups, newest: list[DeadLetterHeaders]) -> None:
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


def _show_one(headers: DeadLetterHeaders, body: str | None) -> None:
    rows = [*msgspec.structs.asdict(headers).items(), ("fingerprint", dead_letter.fingerprint(headers))]
    show(table(["header", "value"], rows))
    if body or not headers.body_at:
        say(body or "", lines=True)
    else:
        say(f"The body is not in the letter: {headers.body_at}.")
