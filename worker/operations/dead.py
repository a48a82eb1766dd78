"""`dead list | show | redrive | discard`: the dead letters as a product."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aio_pika.abc import AbstractConnection

from schemas.dead_letter import DeadLetterHeaders
from worker.adapters.broker import Link
from worker.adapters.broker_topology import depths
from worker.adapters.dead_letters import Letter, letters
from worker.app import names_of
from worker.core import dead_letter
from worker.core.errors import PublishUnconfirmed, TopologyMismatch, Unroutable
from worker.core.routing import normal_type
from worker.core.topology import Names
from worker.operations.link import connected
from worker.operations.terminal import document, say, show, table
from worker.settings import Settings

PUBLISH_SECONDS = 15.0
COUNT_SECONDS = 10.0


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant; None: any. `id` is an event's or a receipt's."""

    reason: str | None = None
    source: str | None = None
    type: str | None = None
    id: str | None = None

    def takes(self, letter: DeadLetterHeaders) -> bool:
        """Whether a letter is meant."""
        return (
            self.reason in (None, letter.reason)
            and self.source in (None, letter.source)
            and (self.type is None or normal_type(self.type) == letter.event_type)
            and (self.id is None or self.id in (letter.event_id, letter.receipt_id))
        )


async def list_(settings: Settings, chosen: Filter, *, as_json: bool) -> int:
    """Show the chosen letters, oldest first, none of them taken."""
    async with connected(settings, name="dead list") as link:
        found = await headers_of(link, names_of(settings), chosen)
    if as_json:
        document({"count": len(found), "by_reason": by_reason(found), "letters": found})
        return 0
    rows = [
        (f.dead_at, f.reason, f.stage, f.source, f.event_type, f.event_id, f.receipt_id, f.attempts, f.detail)
        for f in found
    ]
    heads = ["dead at", "reason", "stage", "source", "type", "event id", "receipt id", "attempts", "detail"]
    show(table(heads, rows, title=f"{len(found)} dead letter(s)"))
    return 0


async def show_(settings: Settings, letter_id: str, *, as_json: bool) -> int:
    """One letter whole, its body too; 1 where there is none."""
    names = names_of(settings)
    async with (
        connected(settings, name="dead show") as link,
        letters(link, queue=names.dead, count=await _count(link, names)) as each,
    ):
        async for letter in each:
            headers = dead_letter.read(letter.headers, names=names, message_id=letter.message_id)
            if Filter(id=letter_id).takes(headers):
                _show_one(headers, letter.body, as_json=as_json)
                return 0
    if as_json:
        document({"letter": None, "body": None})
    else:
        say(f"There is no dead letter with the event or receipt id {letter_id}.")
    return 1


async def redrive(settings: Settings, chosen: Filter, *, dry_run: bool, as_json: bool) -> int:
    """Put the chosen letters back where they came from: published, confirmed, then taken out.

    A letter that cannot go back (its source is gone) stays, is told, and makes the status 1.
    """
    names = names_of(settings)
    async with connected(settings, name="dead publish") as publisher:

        async def put_back(letter: Letter) -> None:
            await publisher.publish(_revived(letter, names), within=PUBLISH_SECONDS)

        return await _each_chosen(settings, chosen, "redriven", put_back, dry_run=dry_run, as_json=as_json)


async def discard(settings: Settings, chosen: Filter, *, dry_run: bool, as_json: bool) -> int:
    """Take the chosen letters out for good."""

    async def drop(_: Letter) -> None:
        """Nothing comes before the taking out."""

    return await _each_chosen(settings, chosen, "discarded", drop, dry_run=dry_run, as_json=as_json)


async def headers_of(link: Link, names: Names, chosen: Filter) -> list[DeadLetterHeaders]:
    """What the chosen letters say of themselves."""
    async with letters(link, queue=names.dead, count=await _count(link, names)) as each:
        found = [dead_letter.read(letter.headers, names=names, message_id=letter.message_id) async for letter in each]
    return [letter for letter in found if chosen.takes(letter)]


def by_reason(found: list[DeadLetterHeaders]) -> Mapping[str, int]:
    """How many of each reason."""
    return dict(sorted(Counter(letter.reason for letter in found).items()))


async def _each_chosen(
    settings: Settings,
    chosen: Filter,
    word: str,
    act: Callable[[Letter], Awaitable[None]],
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    names = names_of(settings)
    matched: list[DeadLetterHeaders] = []
    stayed: list[str] = []
    async with (
        connected(settings, name="dead") as link,
        letters(link, queue=names.dead, count=await _count(link, names)) as each,
    ):
        async for letter in each:
            headers = dead_letter.read(letter.headers, names=names, message_id=letter.message_id)
            if not chosen.takes(headers):
                continue
            matched.append(headers)
            if dry_run:
                continue
            try:
                await act(letter)
                await letter.ack()
            except (PublishUnconfirmed, Unroutable) as error:
                stayed.append(f"{headers.receipt_id}: {error}")
    done = 0 if dry_run else len(matched) - len(stayed)
    if as_json:
        document(
            {word: done, "matched": len(matched), "stayed": stayed, "dry_run": dry_run, "by_reason": by_reason(matched)}
        )
    else:
        say(f"would be {word}: {len(matched)} dead letter(s)" if dry_run else f"{word}: {done} dead letter(s)")
        for line in stayed:
            say(f"stayed: {line}")
    return 1 if stayed else 0


def _revived(letter: Letter, names: Names) -> Any:
    properties = {
        "message_id": letter.message_id,
        "content_type": letter.content_type,
        "content_encoding": letter.content_encoding,
    }
    return dead_letter.revive(letter.body, letter.headers, names=names, properties=properties)


def _show_one(headers: DeadLetterHeaders, body: bytes, *, as_json: bool) -> None:
    text = body.decode("utf-8", "backslashreplace")
    if as_json:
        document({"letter": headers, "body": text})
        return
    show(table(["header", "value"], list(msgspec.structs.asdict(headers).items())))
    say(text)


async def _count(link: Link, names: Names) -> int:
    counted: list[tuple[int, int] | None] = []

    async def ask(connection: AbstractConnection) -> None:
        counted.extend((await depths(connection, [names.dead])).values())

    await link.use(ask, within=COUNT_SECONDS)
    if counted[0] is None:
        raise TopologyMismatch(f"the queue {names.dead} does not exist; see `zenoti-ingest topology plan`")
    return counted[0][0]
