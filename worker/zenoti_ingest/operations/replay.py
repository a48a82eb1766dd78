"""`archive replay`: publishes archived events to the raw queues again; live events go first."""

import argparse
import asyncio
from collections import Counter
from contextlib import aclosing

import msgspec

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.app.reporting import tracing
from zenoti_ingest.command_line import filled, number
from zenoti_ingest.core.events.messages import PUBLISH_SECONDS, Received
from zenoti_ingest.core.failures.errors import (
    BrokerUnavailable,
    PublishUnconfirmed,
    TooLarge,
    Unroutable,
    WrongSettings,
)
from zenoti_ingest.core.operating.archive_entries import Wanted, entry
from zenoti_ingest.core.operating.times import instant
from zenoti_ingest.core.topology.declared import MAX_INTEGER
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.archive_reading import ArchiveSpan, messages, span_of, too_short
from zenoti_ingest.operations.pace import Pace
from zenoti_ingest.operations.progress import ProgressReport
from zenoti_ingest.operations.terminal import document, say
from zenoti_ingest.stages.ports import Publishes
from zenoti_ingest.stages.traced import traced

IN_FLIGHT = 20  # events that are published and not yet confirmed, at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `archive replay` that `archive list` does not have."""
    parser.set_defaults(drains=True)
    parser.add_argument("--dry-run", action="store_true", help="only count")
    parser.add_argument(
        "--rate", type=number(float, least=0.001, most=1_000_000), metavar="N", help="events a second at most"
    )
    parser.add_argument(
        "--to", metavar="RECEIVER", type=filled, help="only this receiver (downstream.<name>) gets them"
    )
    parser.add_argument(
        "--after",
        type=number(int, least=0, most=MAX_INTEGER - 1),
        metavar="OFFSET",
        help="continue after this offset, which a replay that was cut short has printed",
    )


async def replay(
    installation: Installation,
    wanted: Wanted,
    stop: asyncio.Event,
    *,
    after: int | None,
    rate: float | None,
    to: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Publish each wanted event to its raw queue, not to the archive, and wait for the confirms.

    Args:
        installation: whose archive and queues.
        wanted: which events.
        stop: set when the command must end early.
        after: continue after this offset of the stream, which a replay that was cut short has printed.
        rate: events a second at most.
        to: the only receiver that gets the events; None: every receiver whose patterns match.
        dry_run: only count.
        as_json: print one document.

    Returns:
        The exit status: 1 where an event was not replayed, or the replay was cut short.

    Raises:
        WrongSettings: there is no such receiver.
    """
    known = installation.receiver_queues
    if to is not None and to not in known:
        raise WrongSettings(f"--to {to!r}: no such receiver; known: {', '.join(known) or 'none'}")
    async with tracing("replay") as traces, installation.connected("archive replay") as link:
        publisher = traced(link, traces, anew=True)
        mark, to = installation.clock.utc_now(), to or ""
        run = _Replay(
            link, publisher, installation.names, wanted, stop, mark=mark, rate=rate, only_to=to, dry_run=dry_run
        )
        await run.over(after)
    run.report(as_json=as_json)
    return 1 if run.cut or run.homeless or run.too_large else 0


class _Replay:
    def __init__(
        self,
        link: Link,
        to: Publishes,
        names: Names,
        wanted: Wanted,
        stop: asyncio.Event,
        *,
        mark: str,
        rate: float | None,
        only_to: str,
        dry_run: bool,
    ) -> None:
        self._to = to
        self._link, self._names, self._wanted, self._stop = link, names, wanted, stop
        self._rate, self._dry_run = rate, dry_run
        self._mark, self._only_to = mark, only_to
        self._in_flight = IN_FLIGHT if rate is None else max(1, min(IN_FLIGHT, int(rate / 4)))
        self._batch: dict[str, Received] = {}  # by receipt: never two messages with the same id in flight
        self._matched = self._replayed = 0
        self._looked_up_to: int | None = None  # everything up to this offset is done
        self._span = ArchiveSpan("", -1)
        self.homeless: Counter[str] = Counter()
        self.too_large: Counter[str] = Counter()
        self.cut = ""

    async def over(self, after: int | None) -> None:
        """Read the stream up to its present end, and replay what is wanted."""
        self._looked_up_to = after
        try:
            self._span = await span_of(self._link, self._names)
            with ProgressReport("replayed" if not self._dry_run else "counted", None) as progress:
                await self._through(after, progress)
        except (BrokerUnavailable, PublishUnconfirmed) as error:
            if self._looked_up_to is None:
                raise
            self.cut = str(error)

    async def _through(self, after: int | None, progress: ProgressReport) -> None:
        pace = Pace(self._link, self._names, stop=self._stop, waiting=progress.waiting, rate=self._rate)
        since = instant(self._wanted.since) if after is None else after + 1
        first = looked = None
        async with aclosing(messages(self._link, self._names, since, self._span)) as found:
            async for offset, message in found:
                first = offset if first is None else first
                if self._stop.is_set() or not await self._take(message, pace, looked):
                    self.cut = "stopped"
                    break
                looked = offset
                if not self._batch:
                    self._looked_up_to = offset
                note = f"all up to offset {self._looked_up_to}" if self._looked_up_to is not None else ""
                progress.at(offset - first + 1, of=self._span.last - first + 1, note=note)
        await self._flush(looked)

    async def _take(self, message: Received, pace: Pace, before: int | None) -> bool:
        """Add a wanted event to the batch; False when the command was stopped meanwhile."""
        wanted = self._wanted
        if not wanted.covers(message) or (wanted.asks_bodies and not wanted.takes(entry(message, offset=0))):
            return True
        if not self._dry_run:
            if message.receipt_id in self._batch or len(self._batch) >= self._in_flight:
                await self._flush(before)
            if not await pace.clear(message.source):
                return False
            self._batch[message.receipt_id] = msgspec.structs.replace(message, replay=self._mark, only_to=self._only_to)
        self._matched += 1
        return True

    async def _flush(self, up_to: int | None) -> None:
        """Publish the batch; once all of it is confirmed, everything up to that offset is done."""
        batch, self._batch = list(self._batch.values()), {}
        outcomes = await asyncio.gather(*(self._publish(message) for message in batch), return_exceptions=True)
        for message, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self._replayed += 1
            elif isinstance(outcome, Unroutable):
                self.homeless[message.source] += 1
            elif isinstance(outcome, TooLarge):
                self.too_large[message.source] += 1
        for outcome in outcomes:
            if outcome is not None and not isinstance(outcome, Unroutable | TooLarge):
                raise outcome
        self._looked_up_to = up_to if up_to is not None else self._looked_up_to

    async def _publish(self, message: Received) -> None:
        outgoing = message.to(exchange=self._names.work, routing_key=self._names.raw(message.source))
        await self._to.publish(outgoing, within=PUBLISH_SECONDS)

    def report(self, *, as_json: bool) -> None:
        """Print the result, and how to continue where the replay was cut short."""
        if as_json:
            counts = {
                "replayed": self._replayed,
                "matched": self._matched,
                "dry_run": self._dry_run,
                "mark": self._mark,
            }
            period = {"since": self._wanted.since, "until": self._wanted.until}
            reach = {"reaches_back_to": self._span.reaches_back_to or None, "done_up_to_offset": self._looked_up_to}
            left = {"homeless": dict(self.homeless), "too_large": dict(self.too_large), "cut_short": self.cut or None}
            document({**counts, **period, **reach, **left})
            return
        say(f"would be replayed: {self._matched} event(s)" if self._dry_run else f"replayed: {self._replayed} event(s)")
        for source, count in self.homeless.items():
            say(f"not replayed: {count} event(s) of {source}: there is no queue {self._names.raw(source)}")
        for source, count in self.too_large.items():
            say(f"not replayed: {count} event(s) of {source}: the broker takes no body of this size")
        if short := too_short(self._span, self._wanted.since):
            say(short)
        if self.cut:
            after = "" if self._looked_up_to is None else f" with --after {self._looked_up_to} added"
            say(f"cut short ({self.cut}); the same command{after} goes on")
