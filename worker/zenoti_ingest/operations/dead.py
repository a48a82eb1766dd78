"""`dead list | show`, and which letters are meant: looking at the dead letters, none of them taken."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import msgspec

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.dead_letters import Letter, Letters, letters
from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.app.topologies import names_of
from zenoti_ingest.core.events.routing import names_type
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.failures.groups import Group, Groups, by_reason
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.link import connected
from zenoti_ingest.operations.terminal import DocumentWithList, note, say, show, table
from zenoti_ingest.settings import Settings
from zenoti_schemas.dead_letter import DeadLetterHeaders

COUNT_SECONDS = 10.0
OTHERS_SECONDS = 5.0
SHOWN = 20  # letters that a person is shown, the newest


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant; None: any. `id` is an event's, a receipt's or an invoice's; `type` may be a pattern."""

    reason: str | None = None
    source: str | None = None
    type: str | None = None
    id: str | None = None
    fingerprint: str | None = None

    def takes(self, letter: DeadLetterHeaders) -> bool:
        """Whether a letter is meant."""
        return (
            self.reason in (None, letter.reason)
            and self.source in (None, letter.source)
            and (self.type is None or names_type(self.type, letter.event_type))
            and (self.id is None or letter.bears(self.id))
            and (self.fingerprint is None or self.fingerprint == dead_letter.fingerprint(letter))
        )


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


def headers_of(letter: Letter, names: Names) -> DeadLetterHeaders:
    """What a letter says of itself."""
    return dead_letter.read(letter.headers, names=names, message_id=letter.message_id)


async def each(link: Link, names: Names, chosen: Filter) -> AsyncGenerator[DeadLetterHeaders, None]:
    """What each of the chosen letters says of itself, in bounded memory."""
    async with looking(link, names) as (in_hand, count), aclosing(in_hand.first(count)) as found:
        async for letter in found:
            headers = headers_of(letter, names)
            if chosen.takes(headers):
                yield headers


async def groups_of(link: Link, names: Names, chosen: Filter) -> list[Group]:
    """The chosen letters by what is wrong, the largest group first."""
    groups = Groups()
    async with aclosing(each(link, names, chosen)) as found:
        async for letter in found:
            groups.add(letter)
    return groups.largest_first()


@asynccontextmanager
async def looking(link: Link, names: Names) -> AsyncIterator[tuple[Letters, int]]:
    """The letters, and how many there are; while another command holds some it waits a little, then says so.

    Raises:
        TopologyMismatch: there is no queue of dead letters.
    """
    count, lookers = await _waiting(link, names)
    give_up = asyncio.get_running_loop().time() + OTHERS_SECONDS
    while lookers and asyncio.get_running_loop().time() < give_up:
        await asyncio.sleep(0.2)
        count, lookers = await _waiting(link, names)
    if lookers:
        note(f"another command holds letters of {names.dead}: these may not be all")
    async with letters(link, queue=names.dead) as in_hand:
        yield in_hand, count


async def _waiting(link: Link, names: Names) -> tuple[int, int]:
    counted = (await link.use(partial(depths, queues=[names.dead]), within=COUNT_SECONDS))[names.dead]
    if counted is None:
        raise TopologyMismatch(f"the queue {names.dead} does not exist; see `zenoti-ingest topology plan`")
    return counted


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
