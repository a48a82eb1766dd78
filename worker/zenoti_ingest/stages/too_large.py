"""Oversized events of the spool: move the event to a file -> publish a dead letter that names the file -> confirmed.

Until the letter is confirmed, a note in the spool remembers the file, so neither a kill nor a broker that takes no
letters loses it. Notes are kept apart from events, and hold up none of them.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from zenoti_ingest.core.events.identity import UNKNOWN
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.backoff import Backoff
from zenoti_ingest.core.failures.errors import (
    PermanentError,
    PublishUnconfirmed,
    SpoolUnavailable,
    TooLarge,
    Unroutable,
)
from zenoti_ingest.core.failures.policy import DeadLetter
from zenoti_ingest.core.intake.spool_record import Spooled, note, noted, notes_of
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.ports import Clock, Publishes, Spools
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import dead_letters, publishes_failed

AT_ONCE: Final = 16
CONFIRM_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.25
MAX_PAUSE_SECONDS: Final = 30.0


class TooLargeEvents:
    """Sets oversized events aside, and writes their dead letters.

    Args:
        publisher: the port to the broker.
        spool: where they wait.
        names: of exchanges and queues.
        host: the name of this machine, by which an operator finds the files.
        unavailable_reason: why nothing can be published now; empty: it can.
        clock: the port.
    """

    def __init__(
        self,
        publisher: Publishes,
        spool: Spools,
        *,
        names: Names,
        host: str,
        unavailable_reason: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._publisher = publisher
        self._spool = spool
        self._names = names
        self._host = host
        self._unavailable_reason = unavailable_reason

    async def set_aside(self, source: str, item: Any) -> None:
        """Move an item of the spool to a file, and leave a note that names the file.

        Raises:
            SpoolUnavailable: it still waits as it did.
        """

        def note_of(path: Path) -> Spooled:
            return note(item.spooled.event, body_at=dead_letter.on_disk(self._host, str(path)))

        await self._spool.set_aside(source, item, note_of)

    async def write_letters(self, source: str) -> None:
        """Write the letters of a source until cancelled, each until it is confirmed."""
        waiting, backoff = notes_of(source), Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        while True:
            await self._spool.wait_for(waiting)
            if await self._some(source, waiting):
                backoff.succeeded()
            await asyncio.sleep(backoff.failed())

    async def _some(self, source: str, waiting: str) -> bool:
        """Write the oldest letters; whether the broker confirmed any."""
        if self._unavailable_reason():
            return True  # keeps the pause short: the broker can be back at any time
        try:
            items = await self._spool.oldest(waiting, limit=AT_ONCE)
            written = await asyncio.gather(*(self._write(item.spooled) for item in items))
            done = [item for item, is_written in zip(items, written, strict=True) if is_written]
            dead_letters.labels(source, TooLarge.reason).inc(len(done))
            await self._spool.forget(waiting, done)
        except SpoolUnavailable:
            return False
        except Exception:  # noqa: BLE001  # a defect must not end the door
            log.exception("defect", stage=dead_letter.INTAKE, source=source)
            return False
        return bool(done)

    async def _write(self, spooled: Spooled) -> bool:
        """Publish a letter; whether the broker confirmed it."""
        verdict = DeadLetter(TooLarge.reason, "the broker takes no body of this size")
        letter = dead_letter.write(
            noted(spooled),
            verdict,
            names=self._names,
            stage=dead_letter.INTAKE,
            dead_at=self._clock.utc_now(),
            identity=UNKNOWN,
        )
        letter = dead_letter.without_body(letter, body_at=spooled.body_at)
        try:
            await self._publisher.publish(letter, within=CONFIRM_SECONDS)
        except (PublishUnconfirmed, Unroutable, PermanentError) as error:
            publishes_failed.labels(letter.exchange).inc()
            log.warning("publish_failed", exchange=letter.exchange, detail=str(error))
            return False
        return True
