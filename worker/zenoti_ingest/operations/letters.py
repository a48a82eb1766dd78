"""How commands read the dead letters: which are chosen, and the headers of each. Nothing here takes a letter out."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import msgspec

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.dead_letters import Letter, Letters, letters
from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.core.events.routing import names_type
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.failures.groups import Group, Groups
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.terminal import note
from zenoti_schemas.dead_letter import DeadLetterHeaders

COUNT_SECONDS = 10.0
OTHERS_SECONDS = 5.0  # how long to wait for letters that another command holds


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are chosen; None: any. `id` is that of event, receipt or invoice; `type` may be a pattern."""

    reason: str | None = None
    source: str | None = None
    type: str | None = None
    id: str | None = None
    fingerprint: str | None = None

    def takes(self, letter: DeadLetterHeaders) -> bool:
        """Return whether a letter is chosen."""
        return (
            self.reason in (None, letter.reason)
            and self.source in (None, letter.source)
            and (self.type is None or names_type(self.type, letter.event_type))
            and (self.id is None or letter.bears(self.id))
            and (self.fingerprint is None or self.fingerprint == dead_letter.fingerprint(letter))
        )


def headers_of(letter: Letter, names: Names) -> DeadLetterHeaders:
    """Return what the headers of a letter say."""
    return dead_letter.read(letter.headers, names=names, message_id=letter.message_id)


async def each(link: Link, names: Names, chosen: Filter) -> AsyncGenerator[DeadLetterHeaders, None]:
    """Yield the headers of each chosen letter, in bounded memory."""
    async with looking(link, names) as (in_hand, count), aclosing(in_hand.first(count)) as found:
        async for letter in found:
            headers = headers_of(letter, names)
            if chosen.takes(headers):
                yield headers


async def groups_of(link: Link, names: Names, chosen: Filter) -> list[Group]:
    """Return the chosen letters, grouped by what is wrong; the largest group first."""
    groups = Groups()
    async with aclosing(each(link, names, chosen)) as found:
        async for letter in found:
            groups.add(letter)
    return groups.largest_first()


@asynccontextmanager
async def looking(link: Link, names: Names) -> AsyncIterator[tuple[Letters, int]]:
    """Yield the letters, and how many there are; waits up to 5 s while another command holds some, then prints a note.

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
