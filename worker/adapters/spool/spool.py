"""The spool: takes events in groups, one commit a group; gives the oldest back, and forgets what was published.

One thread does all that waits for the disk. Folders that other processes have left are adopted, damaged files are
read row by row: what cannot be read is told and laid in `corrupt`, and never stops the rest.
"""

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import msgspec

from worker.adapters.spool import aside as asides
from worker.adapters.spool import folder as folders
from worker.adapters.spool.file import (
    NAME,
    Row,
    SpoolFile,
    damaged_in,
    is_damage,
    is_sound,
    keep_damaged,
    salvage,
    set_apart,
)
from worker.adapters.spool.folder import CORRUPT, Folder
from worker.core.errors import SpoolUnavailable
from worker.core.spooled import Spooled, seal, unseal
from worker.telemetry import log
from worker.telemetry.metrics import (
    spool_bytes,
    spool_corrupt,
    spool_drained,
    spool_events,
    spool_max_bytes,
    spool_oldest,
    spool_spooled,
)

LOOK_SECONDS: Final = 2.0  # for folders that nobody holds any more
COMMIT_SECONDS: Final = 5.0  # Zenoti gives up after 10 s
CLOSE_SECONDS: Final = 5.0
BATCH_BYTES: Final = 8 * 1024 * 1024
_ROW_BYTES = 300  # what a row costs beside its record
_SALVAGE_ROWS = 20
_FAILURES = (sqlite3.Error, OSError, ValueError)  # ValueError: text of a damaged schema

P = ParamSpec("P")
R = TypeVar("R")


class SpoolState(msgspec.Struct, frozen=True, kw_only=True):
    """What the spool says of itself; `detail` is what stands against taking events, empty: nothing."""

    events: int
    by_source: dict[str, int]
    bytes: int
    max_bytes: int
    oldest_seconds: float | None
    detail: str


class Item(msgspec.Struct, frozen=True):
    """An event that waits, and where."""

    spooled: Spooled
    number: int
    file: SpoolFile


class Spool:
    """The events on disk that this process answers for; nothing works before `run` does.

    Args:
        directory: of all processes' folders.
        max_bytes: bound of the whole directory. Other processes' folders are measured every LOOK_SECONDS, so several
            processes can pass it by what they write meanwhile.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._files: list[SpoolFile] = []  # our own last: what was adopted is older
        self._damaged: list[Path] = []
        self._pending: list[tuple[Row, asyncio.Future[None]]] = []
        self._pending_bytes = 0
        self._others_bytes = 0
        self._refused_bytes = 0
        self._oldest_at = ""
        self._failure = "not open yet"
        self._arrived = asyncio.Event()
        self._waiting: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    @property
    def state(self) -> SpoolState:
        """As it stands."""
        full = "full" if self._lacks(self._refused_bytes) else ""
        by_source = self._by_source()
        return SpoolState(
            events=sum(by_source.values()),
            by_source=by_source,
            bytes=self._used_bytes(),
            max_bytes=self._max_bytes,
            oldest_seconds=_age(self._oldest_at) if self._oldest_at else None,
            detail=self._failure or full,
        )

    async def run(self) -> None:
        """Write, adopt and mend until cancelled; then what is left stays for the next process."""
        try:
            await self._begin()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._look())
        finally:
            closing = asyncio.ensure_future(self._in_thread(self._close))
            await asyncio.wait([closing], timeout=CLOSE_SECONDS)
            self._thread.shutdown(wait=False)

    async def put(self, spooled: Spooled) -> None:
        """Return once it is safe on disk.

        Raises:
            SpoolUnavailable: it could not be written, or not in time; then it may still be.
        """
        row = _row(spooled, seal(spooled))
        size = len(row.record) + _ROW_BYTES
        if self._lacks(size):
            self._refused_bytes = size
            raise SpoolUnavailable(f"the spool is full: {self._used_bytes()} of {self._max_bytes} bytes")
        committed = asyncio.get_running_loop().create_future()
        self._pending.append((row, committed))
        self._pending_bytes += size
        self._arrived.set()
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await committed
        except TimeoutError as error:
            raise SpoolUnavailable(f"the disk took no event within {COMMIT_SECONDS:g} s") from error

    async def wait_for(self, source: str) -> None:
        """Return once an event of the source waits."""
        await self._waiting[source].wait()

    async def oldest(self, source: str, *, limit: int) -> list[Item]:
        """The oldest of a source.

        Raises:
            SpoolUnavailable: they could not be read; the next look mends what can be.
        """
        found: list[Item] = []
        for file in [file for file in self._files if file.counts[source]][:1]:
            rows = await self._on(file, file.oldest, source, limit=limit, max_bytes=BATCH_BYTES)
            for number, receipt_id, record in rows:
                spooled = unseal(record)
                if spooled is None:
                    await self._on(file, self._lay_aside, file, source, number, record)
                    self._tell_lost(file.folder.path, number, receipt_id)
                else:
                    found.append(Item(spooled, number, file))
        self._tell()
        return found

    async def forget(self, source: str, items: Sequence[Item]) -> None:
        """They are published: take them off the disk; where it refuses, with the next ones."""
        spool_drained.labels(source).inc(len(items))
        for file in {id(item.file): item.file for item in items}.values():
            try:
                await self._on(file, file.remove, source, [item.number for item in items if item.file is file])
            except SpoolUnavailable as error:
                log.warning("spool_failed", detail=str(error))
        self._tell()

    async def set_aside(self, source: str, item: Item, note: Callable[[Path], Spooled]) -> None:
        """Move an event to a file of its own in `corrupt/`, and put a note that names the file in its place.

        The bound is not asked: what the event took is free then. A kill in between leaves at most one note too many.

        Raises:
            SpoolUnavailable: the disk refuses; the event is still there.
        """
        own = self._own()
        noted = note(await self._on(own, self._write_aside, item.spooled))
        await self._on(own, own.add, [_row(noted, seal(noted))])
        await self.forget(source, [item])

    async def _begin(self) -> None:
        try:
            self._files.append(SpoolFile(await self._in_thread(folders.make_own, self._directory)))
            self._failure = ""
        except OSError as error:
            self._fail(error)

    async def _write(self) -> None:
        """Commit in groups: all that has come while the last group was being written."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            group, self._pending, self._pending_bytes = self._pending, [], 0
            rows = [row for row, future in group if not future.done()]
            try:
                await self._commit(rows)
            except SpoolUnavailable as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(SpoolUnavailable(str(error)))
                continue
            for row, future in group:
                spool_spooled.labels(row.source).inc()
                if not future.done():
                    future.set_result(None)
            self._tell()

    async def _commit(self, rows: Sequence[Row]) -> None:
        file = self._own()
        try:
            await self._on(file, file.add, rows)
        except SpoolUnavailable:
            if not self._is_damaged(file):
                raise
            await self._on(file, file.add, rows)  # a new file has been begun
        self._failure = ""

    async def _look(self) -> None:
        while True:
            try:
                await self._look_once()
            except (*_FAILURES, SpoolUnavailable) as error:
                self._fail(error)
            self._tell()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_once(self) -> None:
        if not self._files:
            await self._begin()
        while self._damaged:
            await self._salvage(self._damaged[0])
            del self._damaged[0]
        for folder in await self._in_thread(folders.adopt, self._directory):
            try:
                await self._take_over(folder)
            except BaseException:
                await self._in_thread(folder.release)
                raise
        await self._in_thread(self._let_go_of_the_drained)
        self._others_bytes = await self._in_thread(self._measure_others)
        self._oldest_at = min(filter(None, [await self._on(f, f.oldest_received_at) for f in self._files]), default="")
        if self._failure and self._files:
            await self._in_thread(self._own().folder.try_write)
            self._failure = ""

    async def _take_over(self, folder: Folder) -> None:
        path = folder.path / NAME
        if path.exists() and not await asyncio.to_thread(is_sound, path):  # not in our thread: it can take long
            await self._in_thread(set_apart, folder)
        for damaged in damaged_in(folder):
            await self._salvage(damaged)
        file = await self._in_thread(SpoolFile, folder)
        self._files.insert(-1, file)
        if file.events:
            log.info("spool_adopted", folder=folder.path.name, events=file.events, sources=sorted(file.counts))

    async def _salvage(self, path: Path) -> None:
        """Put into our own file what can be read of a damaged one, and the damaged one aside."""
        rows, recovered, lost = salvage(path), 0, 0
        try:
            while batch := await asyncio.to_thread(list, islice(rows, _SALVAGE_ROWS)):
                good: list[Row] = []
                for number, receipt_id, record in batch:
                    if spooled := unseal(record):
                        good.append(_row(spooled, record))
                    else:
                        self._tell_lost(path.parent, number, receipt_id)
                await self._on(self._own(), self._own().add, good)
                recovered += len(good)
                lost += len(batch) - len(good)
        finally:
            rows.close()
        aside = await self._in_thread(self._aside)
        await self._in_thread(keep_damaged, path, aside)
        log.error("spool_damaged", recovered=recovered, lost=lost, kept=str(aside / path.name))

    def _own(self) -> SpoolFile:
        if not self._files:
            raise SpoolUnavailable(self._failure)
        return self._files[-1]

    def _close(self) -> None:
        for file in self._files:
            file.close()
            file.folder.release()

    def _let_go_of_the_drained(self) -> None:
        for file in [file for file in self._files[:-1] if not file.events and not self._is_damaged(file)]:
            self._files.remove(file)
            file.close()
            file.folder.release()

    def _measure_others(self) -> int:
        return folders.others_bytes(self._directory, ours={file.folder.path for file in self._files})

    def _lay_aside(self, file: SpoolFile, source: str, number: int, record: bytes) -> None:
        (self._aside() / f"{file.folder.path.name}-{number}.record").write_bytes(record)
        file.remove(source, [number])

    def _write_aside(self, spooled: Spooled) -> Path:
        return asides.write(self._aside(), spooled)

    def _aside(self) -> Path:
        aside = self._directory / CORRUPT
        aside.mkdir(mode=0o700, exist_ok=True)
        return aside

    def _is_damaged(self, file: SpoolFile) -> bool:
        return any(path.parent == file.folder.path for path in self._damaged)

    def _tell_lost(self, folder: Path, number: int, receipt_id: str) -> None:
        spool_corrupt.inc()
        aside = str(self._directory / CORRUPT)
        log.error("spool_record_lost", folder=folder.name, number=number, receipt_id=receipt_id[:36], kept=aside)

    async def _on(self, file: SpoolFile, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do it in the spool's thread; a file that turns out damaged is set apart, for the next look to mend."""
        try:
            return await self._in_thread(action, *args, **kwargs)
        except _FAILURES as error:
            if is_damage(error):
                self._damaged.append(await self._in_thread(file.set_apart))
            self._fail(error)
            raise SpoolUnavailable(self._failure) from error

    async def _in_thread(self, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: action(*args, **kwargs))

    def _fail(self, error: BaseException) -> None:
        detail = str(error) if isinstance(error, SpoolUnavailable) else f"{type(error).__name__}: {error}"[:300]
        if detail != self._failure:
            log.error("spool_failed", directory=str(self._directory), detail=detail)
        self._failure = detail

    def _used_bytes(self) -> int:
        return sum(file.used_bytes for file in self._files) + self._others_bytes

    def _lacks(self, size: int) -> bool:
        return self._used_bytes() + self._pending_bytes + size > self._max_bytes

    def _by_source(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for file in self._files:
            counts.update(file.counts)
        return +counts

    def _tell(self) -> None:
        counts = self._by_source()
        for source in {*counts, *self._waiting}:
            if counts[source]:
                self._waiting[source].set()
            else:
                self._waiting[source].clear()
        spool_events.set(sum(counts.values()))
        spool_bytes.set(self._used_bytes())
        spool_max_bytes.set(self._max_bytes)
        spool_oldest.set(_age(self._oldest_at) if self._oldest_at else 0)


def _row(spooled: Spooled, record: bytes) -> Row:
    event = spooled.event
    return Row(event.source, event.receipt_id, event.received_at, record)


def _age(at: str) -> float:
    try:
        return round((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds(), 1)
    except ValueError:  # a damaged row
        return 0.0
