"""The spool: stores events in groups, a commit per group, returns the oldest, and removes what was published.

One thread does all disk work for events. Another thread mends: it adopts the folders that other processes have left,
and saves the rows of damaged files. A failure of a folder or file stops no other.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import msgspec

from zenoti_ingest.adapters.spool import aside as asides
from zenoti_ingest.adapters.spool.file import Key, Row, SpoolFile
from zenoti_ingest.adapters.spool.lines import Lines
from zenoti_ingest.adapters.spool.mender import Mender, corrupt_folder, described
from zenoti_ingest.adapters.spool.shelf import FAILURES, Shelf
from zenoti_ingest.core.failures.errors import SpoolUnavailable
from zenoti_ingest.core.intake.spool_record import Spooled, seal, unseal
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import (
    spool_bytes,
    spool_corrupt,
    spool_drained,
    spool_events,
    spool_max_bytes,
    spool_oldest,
    spool_spooled,
)

FOLDER_POLL_SECONDS: Final = 2.0  # how often to check our own folder, and to look for folders that nobody holds
COMMIT_SECONDS: Final = 5.0  # Zenoti gives up after 10 s
CLOSE_SECONDS: Final = 5.0
BATCH_BYTES: Final = 8 * 1024 * 1024
PENDING_BYTES: Final = 32 * 1024 * 1024  # bytes that may wait in memory for the disk
_ROW_BYTES = 300  # bytes of a row beside its record
_TROUBLES_SHOWN = 3

P = ParamSpec("P")
R = TypeVar("R")


class SpoolLevel(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the spool.

    Attributes:
        detail: why the spool cannot take events; empty: it can.
        trouble: the folders that cannot be taken over, read or mended, and why; empty: none. Events are still taken.
    """

    events: int
    by_source: dict[str, int]
    bytes: int
    max_bytes: int
    oldest_seconds: float | None
    detail: str
    trouble: str


class Item(msgspec.Struct, frozen=True):
    """A waiting event and its place: a row number is valid only for its file."""

    spooled: Spooled
    key: Key
    file: SpoolFile


def thread(name: str) -> Executor:
    """A thread that runs one action after the other."""
    return ThreadPoolExecutor(1, thread_name_prefix=name)


class Spool:
    """The events on disk that this process is responsible for; nothing works before `run` runs.

    Args:
        directory: holds the folders of all processes.
        max_bytes: bound for the whole directory. Other processes' folders are measured every FOLDER_POLL_SECONDS, so
            several processes can exceed it by what they write meanwhile.
        executor: makes what runs the actions on the disk, one after the other: a thread, by its name.
    """

    def __init__(self, directory: Path, *, max_bytes: int, executor: Callable[[str], Executor] = thread) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._lines = Lines()
        self._shelf = Shelf(directory, self._lines)
        self._pending: list[tuple[Row, asyncio.Future[None]]] = []
        self._pending_bytes = 0  # including the rows that are being written
        self._refused_bytes = 0
        self._failure = "not open yet"
        self._resting: set[SpoolFile] = set()  # files that could not be read since the last check
        self._arrived = asyncio.Event()
        self._waiting: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._thread = executor("spool")
        self._mending = executor("spool-mender")
        self._mender = Mender(
            directory, self._shelf, self._lines, on_shelf=lambda action: self._thread.submit(action).result()
        )

    @property
    def state(self) -> SpoolLevel:
        """The current state."""
        used = self._used_bytes()
        full = "full" if self._lacks(self._refused_bytes, used=used) else ""
        oldest_at = self._mender.oldest_at
        by_source = _by_source([*self._shelf.files, *self._shelf.replaced])
        return SpoolLevel(
            events=sum(by_source.values()),
            by_source=by_source,
            bytes=used,
            max_bytes=self._max_bytes,
            oldest_seconds=_age(oldest_at) if oldest_at else None,
            detail=self._failure or full,
            trouble=_few(self._mender.troubles),
        )

    async def run(self) -> None:
        """Write, adopt and mend until cancelled; the remaining events stay for the next process."""
        try:
            await self._look_once()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._look())
                group.create_task(self._mend())
        finally:
            closing = asyncio.ensure_future(self._close())
            await asyncio.wait([closing], timeout=CLOSE_SECONDS)
            self._lines.write()
            self._mending.shutdown(wait=False)
            self._thread.shutdown(wait=False)

    async def put(self, spooled: Spooled) -> None:
        """Return once the event is safe on disk.

        Raises:
            SpoolUnavailable: it was not written, or not in time; after a time-out it may still be written.
        """
        row = _row(spooled, seal(spooled))
        size = len(row.record) + _ROW_BYTES
        used = self._used_bytes()
        if self._lacks(size, used=used):
            self._refused_bytes = size
            raise SpoolUnavailable(f"the spool is full: {used} of {self._max_bytes} bytes")
        if self._pending_bytes and self._pending_bytes + size > PENDING_BYTES:
            raise SpoolUnavailable(f"the disk is too slow: {self._pending_bytes} bytes wait for it")
        committed = asyncio.get_running_loop().create_future()
        self._pending.append((row, committed))
        self._pending_bytes += size
        self._arrived.set()
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await committed
        except TimeoutError as error:
            late = SpoolUnavailable(f"the disk took no event within {COMMIT_SECONDS:g} s")
            self._fail(str(late))
            raise late from error

    async def wait_for(self, source: str) -> None:
        """Return once an event of the source waits."""
        await self._waiting[source].wait()

    async def oldest(self, source: str, *, limit: int) -> list[Item]:
        """The oldest events of a source, all from the same file.

        Raises:
            SpoolUnavailable: they could not be read; the next round mends what it can.
        """
        waits = [file for file in self._shelf.files if file.counts[source]]
        failure = SpoolUnavailable("no file can be read until the next look")
        for file in waits:
            if file not in self._resting:
                try:
                    return await self._oldest_of(file, source, limit=limit)
                except SpoolUnavailable as error:
                    self._resting.add(file)  # an attempt can take a second, and all others wait for it
                    failure = error
        self._refresh()
        if waits:
            raise failure
        return []

    async def forget(self, source: str, items: Sequence[Item]) -> None:
        """Remove published events from the disk; if it refuses, with the next removal.

        Nothing else is removed: if a file was replaced meanwhile, only these same events leave its successor.
        """
        spool_drained.labels(source).inc(len(items))
        for file in {id(item.file): item.file for item in items}.values():
            try:
                await self._on(file, file.remove, [item.key for item in items if item.file is file])
            except SpoolUnavailable as error:
                log.warning("spool_failed", detail=str(error))
        self._refresh()

    async def set_aside(self, source: str, item: Item, note: Callable[[Path], Spooled]) -> None:
        """Move an event to a file of its own in `corrupt/`, and store a note with the file's name in its place.

        `max_bytes` is not checked: removing the event frees its space. A kill in between leaves at most an extra note.

        Raises:
            SpoolUnavailable: the disk refuses; the event is still in the spool.
        """
        try:
            path = await self._in_thread(self._write_aside, item.spooled)
        except FAILURES as error:
            raise SpoolUnavailable(described(error)) from error
        noted = note(path)
        await self._commit([_row(noted, seal(noted))])
        await self.forget(source, [item])

    def _write_aside(self, spooled: Spooled) -> Path:
        return asides.write(corrupt_folder(self._directory), spooled)

    async def _oldest_of(self, file: SpoolFile, source: str, *, limit: int) -> list[Item]:
        found: list[Item] = []
        for key, record in await self._on(file, file.oldest, source, limit=limit, max_bytes=BATCH_BYTES):
            if spooled := unseal(record):
                found.append(Item(spooled, key, file))
            else:
                await self._on(file, file.cannot_read, key)
                spool_corrupt.inc()
                self._mender.record_lost(file.folder.path, key.number, key.receipt_id)
        with suppress(SpoolUnavailable):  # `_on` notes it, and the mender tries again
            await self._on(file, self._mender.lay_aside, file)
        self._refresh()
        return found

    async def _write(self) -> None:
        """Commit in groups: each group is all that came while the last group was being written."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            group, self._pending = self._pending, []
            try:
                await self._commit([row for row, future in group if not future.done()])
            except SpoolUnavailable as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(SpoolUnavailable(str(error)))
            else:
                for row, future in group:
                    spool_spooled.labels(row.source).inc()
                    if not future.done():
                        future.set_result(None)
            self._pending_bytes -= sum(len(row.record) + _ROW_BYTES for row, _ in group)
            self._refresh()

    async def _commit(self, rows: Sequence[Row]) -> None:
        try:
            await self._in_thread(self._shelf.add, rows)
        except FAILURES as error:
            self._fail(described(error))
            raise SpoolUnavailable(self._failure) from error
        self._failure = ""

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(FOLDER_POLL_SECONDS)
            await self._look_once()
            self._resting.clear()
            self._refresh()

    async def _look_once(self) -> None:
        """Check that our own folder exists and can take events."""
        try:
            await self._in_thread(self._shelf.check, thoroughly=bool(self._failure))
            self._failure = ""
        except FAILURES as error:
            self._fail(described(error))

    async def _mend(self) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._mending, self._mender.mend)
            except FAILURES as error:
                self._mender.note(self._directory, error)
            self._refresh()
            await asyncio.sleep(FOLDER_POLL_SECONDS)

    async def _close(self) -> None:
        self._mender.stop()
        await asyncio.get_running_loop().run_in_executor(self._mending, self._mender.stop)  # after the current round
        await self._in_thread(self._shelf.close)

    async def _on(self, file: SpoolFile, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an action in the spool's thread; a file that turns out damaged is set apart for the mender."""
        try:
            return await self._in_thread(lambda: self._shelf.do(file, action, *args, **kwargs))
        except FAILURES as error:
            self._mender.note(file.folder.path, error)
            raise SpoolUnavailable(described(error)) from error

    async def _in_thread(self, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: action(*args, **kwargs))

    def _fail(self, detail: str) -> None:
        if detail != self._failure:
            log.error("spool_failed", directory=str(self._directory), detail=detail)
        self._failure = detail

    def _used_bytes(self) -> int:
        return sum(file.used_bytes for file in self._shelf.files) + self._mender.others_bytes

    def _lacks(self, size: int, *, used: int) -> bool:
        return used + self._pending_bytes + size > self._max_bytes

    def _refresh(self) -> None:
        self._lines.write()
        readable = _by_source(self._shelf.files)
        for source in dict.fromkeys((*readable, *self._waiting)):  # in an order that the same events repeat
            if readable[source]:
                self._waiting[source].set()
            else:
                self._waiting[source].clear()
        state = self.state
        spool_events.set(state.events)
        spool_bytes.set(state.bytes)
        spool_max_bytes.set(self._max_bytes)
        spool_oldest.set(state.oldest_seconds or 0)


def _row(spooled: Spooled, record: bytes) -> Row:
    event = spooled.event
    return Row(event.source, event.receipt_id, event.received_at, record)


def _by_source(files: Iterable[SpoolFile]) -> Counter[str]:
    found = Counter[str]()
    for file in files:
        found.update(file.counts)
    return found


def _few(troubles: dict[str, str]) -> str:
    shown = [f"{name}: {reason}" for name, reason in sorted(troubles.items())]
    more = [f"and {len(shown) - _TROUBLES_SHOWN} more"] if len(shown) > _TROUBLES_SHOWN else []
    return "; ".join([*shown[:_TROUBLES_SHOWN], *more])


def _age(at: str) -> float:
    try:
        return round((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds(), 1)
    except ValueError:  # a damaged row
        return 0.0
