"""`dead redrive | discard`: takes the chosen letters out, back to where they came from or for good."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.dead_letters import Letter, Letters
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.app.reporting import tracing
from zenoti_ingest.core.events.messages import PUBLISH_SECONDS, carried
from zenoti_ingest.core.failures.errors import BrokerUnavailable, PermanentError, PublishUnconfirmed, Unroutable
from zenoti_ingest.core.failures.groups import Groups, by_reason
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.bodies import Bodies
from zenoti_ingest.operations.letters import Filter, headers_of, looking
from zenoti_ingest.operations.pace import Pace
from zenoti_ingest.operations.progress import ProgressReport
from zenoti_ingest.operations.terminal import document, say

# After this time the command puts the letters in hand back and takes them anew: the broker closes the channel of a
# letter that is held for 30 minutes.
HOLD_SECONDS = 600.0
# A larger body goes over another channel than that of the letters: a broker that refuses the size closes the channel.
LARGE_BYTES = 64 * 1024

Act = Callable[[Link, Letters, Letter], Awaitable[None]]


async def redrive(
    installation: Installation, chosen: Filter, stop: asyncio.Event, *, dry_run: bool, as_json: bool
) -> int:
    """Put the chosen letters back where they came from; live events go first.

    Each letter is published, confirmed, then taken out. A letter that cannot go back (its source is gone) stays, is
    reported, and makes the status 1.
    """
    names = installation.names
    bodies = Bodies(names)
    async with tracing("redrive") as traces:

        async def put_back(link: Link, in_hand: Letters, letter: Letter) -> None:
            revived = await bodies.revived(link, letter)
            with traces.publishing(revived, anew=True) as span:
                message = carried(revived, span.context)
                if len(message.body) <= LARGE_BYTES:
                    await in_hand.publish_instead(letter, message)
                else:
                    await link.publish(message, within=PUBLISH_SECONDS)
                    letter.ack()
                bodies.used(letter)

        moving = _Moving(names, chosen, stop, word="redriven", act=put_back, paced=True, dry_run=dry_run, bodies=bodies)
        return await moving.run(installation, as_json=as_json)


async def discard(
    installation: Installation, chosen: Filter, stop: asyncio.Event, *, dry_run: bool, as_json: bool
) -> int:
    """Take the chosen letters out for good, and remove their bodies from this host's disk; names bodies elsewhere."""
    names = installation.names
    bodies = Bodies(names)

    async def drop(_: Link, __: Letters, letter: Letter) -> None:
        letter.ack()
        bodies.used(letter)

    moving = _Moving(names, chosen, stop, word="discarded", act=drop, paced=False, dry_run=dry_run, bodies=bodies)
    return await moving.run(installation, as_json=as_json)


class _Moving:
    """One run over the letters that are there when it begins; letters that come meanwhile are left."""

    def __init__(
        self,
        names: Names,
        chosen: Filter,
        stop: asyncio.Event,
        *,
        word: str,
        act: Act,
        paced: bool,
        dry_run: bool,
        bodies: Bodies,
    ) -> None:
        self._bodies = bodies
        self._names, self._chosen, self._stop = names, chosen, stop
        self._word, self._act, self._paced, self._dry_run = word, act, paced, dry_run
        self._groups = Groups()
        self._done = 0
        self._stayed: dict[str, str] = {}
        self._cut = ""

    async def run(self, installation: Installation, *, as_json: bool) -> int:
        """Go through all letters and print the result; returns 1 where a chosen letter stayed, or a cut came first."""
        try:
            async with installation.connected(f"dead {self._word}") as link:
                await self._over_all(link)
        except BrokerUnavailable as error:
            if not self._groups.count:
                raise
            self._cut = str(error)
        if self._stop.is_set():
            self._cut = "stopped"
        self._report(as_json=as_json)
        return 1 if self._stayed or self._cut else 0

    async def _over_all(self, link: Link) -> None:
        left: int | None = None
        while left != 0:
            async with looking(link, self._names) as (in_hand, count):
                before, left = self._done, count if left is None else left
                with ProgressReport(self._word, left) as progress:
                    finished = await self._over(in_hand, left, link, progress)
                await in_hand.taken_out()
                self._bodies.remove_used()
                left = 0 if finished or self._stop.is_set() else left - (self._done - before)

    async def _over(self, in_hand: Letters, count: int, link: Link, progress: ProgressReport) -> bool:
        """Go through the first `count` letters; False where the run ended before the last."""
        pace = Pace(link, self._names, stop=self._stop, waiting=progress.waiting)
        looked = 0
        async with aclosing(in_hand.first(count)) as found:
            async for letter in found:
                headers = headers_of(letter, self._names)
                if self._chosen.takes(headers) and headers.receipt_id not in self._stayed:
                    if self._paced and not self._dry_run and not await pace.clear(headers.source, within=HOLD_SECONDS):
                        return False
                    self._groups.add(headers)
                    await self._one(link, in_hand, letter, headers.receipt_id)
                looked += 1
                progress.at(looked)
                if self._stop.is_set() or in_hand.held_seconds() > HOLD_SECONDS:
                    return False
        return True

    async def _one(self, link: Link, in_hand: Letters, letter: Letter, receipt_id: str) -> None:
        if self._dry_run:
            return
        try:
            await self._act(link, in_hand, letter)
            self._done += 1
        except (PublishUnconfirmed, Unroutable, PermanentError) as error:
            self._stayed[receipt_id] = str(error)

    def _report(self, *, as_json: bool) -> None:
        found = self._groups.largest_first()
        stayed = [f"{receipt_id}: {why}" for receipt_id, why in self._stayed.items()]
        if as_json:
            counts = {self._word: self._done, "matched": self._groups.count, "stayed": stayed, "dry_run": self._dry_run}
            counts["left_on_disk"] = self._bodies.left
            document({**counts, "cut_short": self._cut or None, "by_reason": by_reason(found), "groups": found})
            return
        if self._dry_run:
            say(f"would be {self._word}: {self._groups.count} dead letter(s)")
            for group in found:
                say(f"  {group.count} {group.reason} in {group.stage} ({group.fingerprint}): {group.detail}")
        else:
            say(f"{self._word}: {self._done} dead letter(s)")
        for line in stayed:
            say(f"stayed: {line}")
        for place in self._bodies.left:
            say(f"left on disk: {place}")
        if self._cut:
            say(f"cut short ({self._cut}); the same command goes on with what is left")
