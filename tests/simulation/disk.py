"""The disk of a simulated host: the real spool on real files in memory, its threads replaced by direct calls.

Faults strike what the spool really does: writes fail in the kernel, bytes of its files change, its folder goes away.
"""

import asyncio
import contextvars
import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import ParamSpec, Self, TypeVar
from uuid import UUID

import msgspec
import uuid_utils

from tests.simulation.virtual_time import DirectExecutor
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.adapters.spool.carve import PAGE_BYTES, carve
from zenoti_ingest.adapters.spool.folder import CORRUPT
from zenoti_ingest.core.intake.spool_record import unseal

IN_MEMORY = Path("/dev/shm")  # noqa: S108  # a directory of our own beneath it
LEAST_SECONDS, NORMAL_SECONDS = 0.0001, 0.005  # that an action takes when nothing is wrong
SPOOL_BYTES = 64 * 1024 * 1024
MAX_DAMAGED_BYTES = 64
DAMAGES = ("overwritten", "overwritten", "zeroed", "cut")
_COUNTERS_AT = (24, 92)  # of changes, in a file's header: https://www.sqlite.org/fileformat.html#file_change_counter
_CORRUPT_FILES = "damaged-*.db"
_KEPT_FILES = "kept-*.db"  # their rows are in another file, too

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Row(msgspec.Struct, frozen=True):
    """An event in a file: its receipt, its body, and where the spool keeps its record if it cannot be read.

    Attributes:
        laid_aside: the beginning of that file's name.
    """

    receipt_id: str
    body: bytes
    laid_aside: str


class Damage(msgspec.Struct, frozen=True):
    """A file that was damaged or lost, with the events that were in it then.

    Attributes:
        kind: of DAMAGES, or `lost`.
        file: its inode, which it keeps where it is moved to.
    """

    kind: str
    file: int
    rows: tuple[Row, ...]


class Disk:
    """The spool directory of a host, which outlives the processes.

    Args:
        draw: a number from 0 to 1, below 1.
        max_bytes: the bound of the spools.
        milliseconds: the host's time since 1970, for names of files; without it, virtual time.

    Attributes:
        directory: of the spools.
        is_full: no file grows beyond `room_bytes`, and what is written into it fails.
        room_bytes: how long files can be on a full disk; some writes of a transaction succeed, a later one fails.
        slow_seconds: how much longer each action takes.
        damages: what was damaged or lost, in order.
    """

    def __init__(
        self,
        draw: Callable[[], float],
        *,
        max_bytes: int = SPOOL_BYTES,
        milliseconds: Callable[[], int] | None = None,
    ) -> None:
        self._draw = draw
        self._max_bytes = max_bytes
        self._milliseconds = milliseconds or (lambda: round(asyncio.get_running_loop().time() * 1000))
        self._root = Path(tempfile.mkdtemp(prefix="zenoti-world-", dir=_in_memory()))
        self._names = 0
        self._hangs = False
        self._late: list[tuple[Callable[[], None], contextvars.Context]] = []
        self._processes: dict[int, tuple[Spool, list[DiskThread]]] = {}
        self.directory = self._root / "spool"
        self.is_full = False
        self.room_bytes = 0
        self.slow_seconds = 0.0
        self.damages: list[Damage] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The end of the host: its processes are gone, and its directory."""
        for spool, _ in [*self._processes.values()]:
            self.killed(spool)
        shutil.rmtree(self._root)

    def spool(self) -> Spool:
        """The spool of a new process, which adopts the folders of killed processes."""
        threads: list[DiskThread] = []

        def thread(_: str) -> DiskThread:
            threads.append(DiskThread(self))
            return threads[-1]

        spool = Spool(self.directory, max_bytes=self._max_bytes, executor=thread)
        self._processes[id(spool)] = spool, threads
        return spool

    def killed(self, spool: Spool) -> None:
        """Its process was killed: the kernel closes its files and drops its locks. The spool does nothing any more."""
        _, threads = self._processes.pop(id(spool))
        for thread in threads:
            thread.is_dead = True
        shelf = spool._shelf
        for file in [*shelf.older, *shelf.replaced, *([shelf.own] if shelf.own else [])]:
            file.close()  # between two actions there is no transaction that SQLite could roll back
        for folder in shelf.folders:
            if folder._is_held:
                folder._is_held = False
                os.close(folder._descriptor)

    @property
    def hangs(self) -> bool:
        """Whether no action ends; each does once this is false again."""
        return self._hangs

    @hangs.setter
    def hangs(self, hangs: bool) -> None:
        self._hangs = hangs
        if not hangs:
            late, self._late = self._late, []
            loop = asyncio.get_running_loop()
            for arrive, context in late:
                loop.call_soon(arrive, context=context)

    def heal(self) -> None:
        """End what lasts: a full, slow or hanging disk. What is damaged or lost stays so."""
        self.is_full, self.slow_seconds, self.hangs = False, 0.0, False

    def damage(self) -> bool:
        """Overwrite some bytes of a file, or cut its end off; whether there was a file.

        What SQLite had read of the file before, it reads again.
        """
        paths = self._files()
        if not paths:
            return False
        path = self._one_of(paths)
        size = path.stat().st_size
        kind = self._one_of(DAMAGES)
        self._note(kind, path)
        match kind:
            case "cut":
                os.truncate(path, self._below(size))
            case "zeroed":
                _overwrite(path, self._below(size) // PAGE_BYTES * PAGE_BYTES, bytes(PAGE_BYTES))
            case _:
                changed = bytes(self._below(256) for _ in range(1 + self._below(MAX_DAMAGED_BYTES)))
                _overwrite(path, self._below(size), changed)
        _forget_what_was_read(path)
        return True

    def lose_folder(self, spool: Spool) -> bool:
        """Remove the folder of a running process with all that is in it; whether it had a folder."""
        own = spool._shelf.own
        if own is None or not own.folder.is_in_place:
            return False
        folder = own.folder.path
        for path in sorted(folder.glob("*.db")):
            self._note("lost", path)
        shutil.rmtree(folder)
        return True

    def waiting(self) -> int:
        """How many events can be read in all files."""
        return len(set(self.receipts()))

    def receipts(self) -> list[str]:
        """Of the events that can be read in all files."""
        return [row.receipt_id for path in self._files() if not path.match(_KEPT_FILES) for row in _rows(path)]

    def event_bodies_at_risk(self) -> dict[str, bytes]:
        """By receipt, the bodies of events whose file was damaged or lost while they were in it."""
        return {row.receipt_id: row.body for damage in self.damages for row in damage.rows}

    def is_reported(self, receipt_id: str) -> bool:
        """Whether an operator finds the file, or the record, of an event whose file was damaged, or it is lost."""
        if any(row.receipt_id == receipt_id for damage in self.damages if damage.kind == "lost" for row in damage.rows):
            return True
        aside = sorted((self.directory / CORRUPT).glob("*"))
        files = {path.stat().st_ino for path in aside if path.match(_CORRUPT_FILES)}
        return any(
            damage.file in files or any(path.name.startswith(row.laid_aside) for path in aside)
            for damage in self.damages
            for row in damage.rows
            if row.receipt_id == receipt_id
        )

    def action_seconds(self) -> float:
        """How long the next action takes."""
        return LEAST_SECONDS + self._draw() * NORMAL_SECONDS + self.slow_seconds

    def acts_late(self) -> bool:
        """Whether the next action is done at its end, not at its beginning: a kill between the two decides."""
        return self._hangs or self._draw() < 0.5

    def when_it_moves(self, arrive: Callable[[], None]) -> None:
        """Call `arrive` in the caller's process as soon as the disk does not hang: at once, if it does not."""
        if self._hangs:
            self._late.append((arrive, contextvars.copy_context()))
        else:
            arrive()

    def act(self, action: Callable[[], R]) -> R:
        """Do it: names of files are the host's, and a full disk takes nothing, both for as long as it lasts."""
        made, uuid_utils.uuid7 = uuid_utils.uuid7, self._name  # type: ignore[assignment]  # another UUID class
        try:
            return self._act_without_room(action) if self.is_full else action()
        finally:
            uuid_utils.uuid7 = made

    def _act_without_room(self, action: Callable[[], R]) -> R:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.room_bytes, limits[1]))
        try:
            return action()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def _name(self) -> UUID:
        self._names += 1
        return UUID(int=(self._milliseconds() << 80) | (7 << 76) | (2 << 62) | self._names)

    def _note(self, kind: str, path: Path) -> None:
        """What is unreadable since an earlier damage to the file is still in it."""
        file = path.stat().st_ino
        rows = {row.receipt_id: row for damage in self.damages if damage.file == file for row in damage.rows}
        rows |= {row.receipt_id: row for row in _rows(path)}
        self.damages.append(Damage(kind, file, tuple(rows.values())))

    def _files(self) -> list[Path]:
        return sorted(path for path in self.directory.glob("*/*.db") if path.parent.name != CORRUPT)

    def _below(self, count: int) -> int:
        return int(self._draw() * count)

    def _one_of(self, choices: Sequence[T]) -> T:
        return choices[self._below(len(choices))]


class DiskThread(DirectExecutor):
    """A thread of a process, for actions on the disk: each is done in one moment, and its result comes later.

    Attributes:
        is_dead: its process was killed.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._free_at = 0.0
        self._undone = 0
        self.is_dead = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Do it at once."""
        return super().submit(self._disk.act, partial(fn, *args, **kwargs))

    def run_on(self, loop: asyncio.AbstractEventLoop, action: Callable[[], R]) -> asyncio.Future[R]:
        """Do it at its beginning or at its end, one after the other; nothing more is done after a kill."""
        result: asyncio.Future[R] = loop.create_future()
        if self.is_dead:
            result.cancel()
            return result
        settle = None if self._undone or self._disk.acts_late() else self._done(action, result)
        self._undone += settle is None

        def arrive() -> None:
            self._undone -= settle is None
            if self.is_dead:
                result.cancel()
            elif not result.done():
                (settle or self._done(action, result))()

        self._free_at = max(loop.time(), self._free_at) + self._disk.action_seconds()
        loop.call_at(self._free_at, self._disk.when_it_moves, arrive)
        return result

    def _done(self, action: Callable[[], R], result: asyncio.Future[R]) -> Callable[[], None]:
        """Do it; what then brings its result."""
        try:
            return partial(result.set_result, self._disk.act(action))
        except Exception as error:  # noqa: BLE001  # the result raises it
            return partial(result.set_exception, error)


def _in_memory() -> Path | None:
    return IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None


def _rows(path: Path) -> list[Row]:
    """The events in a file that can be read."""
    found = ((number, unseal(record)) for number, record in _records(path))
    name = path.parent.name
    return [
        Row(spooled.event.receipt_id, spooled.event.body, f"{name}-{number}-") for number, spooled in found if spooled
    ]


def _records(path: Path) -> list[tuple[int, object]]:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute("SELECT id, record FROM events ORDER BY id").fetchall()
    except (sqlite3.Error, ValueError):  # damaged: whatever looks like a row
        return [(cell.number, cell.record) for cell in carve(path)]


def _overwrite(path: Path, at: int, content: bytes) -> None:
    """Change bytes in place; the file grows no longer."""
    room = path.stat().st_size - at
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content[: max(room, 0)])


def _forget_what_was_read(path: Path) -> None:
    """Make SQLite believe that another process has changed the file."""
    with path.open("rb") as file:
        header = file.read(_COUNTERS_AT[0] + 4)
    changes = int.from_bytes(header[_COUNTERS_AT[0] :], "big") + 1
    for at in _COUNTERS_AT:
        _overwrite(path, at, (changes & 0xFFFFFFFF).to_bytes(4, "big"))
