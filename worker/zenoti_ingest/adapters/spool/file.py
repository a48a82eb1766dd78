"""A SQLite file of events, used by a single thread at a time.

It has a rollback journal, not a WAL: a flipped bit in a WAL silently drops every commit after it, but costs a single
record here. With TRUNCATE and synchronous=FULL, a commit is on disk when it returns. The file is created with the first
event and removed with the last, which frees the disk and leaves no customer data behind.
"""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import uuid_utils

from zenoti_ingest.adapters.spool.carve import PAGE_BYTES, Cell
from zenoti_ingest.adapters.spool.folder import Folder

BUSY_SECONDS = 1.0  # somebody may look with the sqlite3 shell
NAME = "events.db"
_DAMAGED = "damaged-"  # its rows wait to be saved
_SALVAGED = "salvaged-"  # the rows of the damaged file of the same id; complete once that file has another name
_KEPT = "kept-"  # damaged, but its rows are saved; it waits for its move to `corrupt`
_SCHEMA = """
BEGIN;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, receipt_id TEXT NOT NULL, received_at TEXT NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_source ON events (source);
COMMIT;
"""
_COLUMNS = "INSERT OR IGNORE INTO events (id, source, receipt_id, received_at, record) VALUES (?, ?, ?, ?, ?)"
_JOURNAL = "-journal"
_MAX_NUMBER = 1 << 48  # no file of ours comes near; a damaged number may, and SQLite would count on from it
_BLAMELESS = {  # SQLite's errors about disks, permissions and other processes
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
}


class Row(msgspec.Struct, frozen=True):
    """An event as stored. `number` is its row number in the file; None: the next free number."""

    source: str
    receipt_id: str
    received_at: str
    record: bytes
    number: int | None = None


class Key(NamedTuple):
    """Identifies a row of a file, and the event that it must hold."""

    number: int
    source: str
    receipt_id: str


class SpoolFile:
    """A database file, from its first event to its last: a generation. Row numbers are valid for this object only.

    Methods raise sqlite3.Error, OSError or ValueError (text of a damaged schema); then nothing has changed.

    Attributes:
        counts: by source, the events that wait to be published.
        unreadable: rows whose record cannot be read; they stay until `lay_aside`.
        published: rows that are published and may still be on disk, since a full disk refuses deletions too.
        used_bytes: the space of all rows on disk.
        is_replaced: the file was emptied, set apart or lost. It takes no events and returns none.
        successor: the file into which its rows were saved.
    """

    def __init__(self, folder: Folder, path: Path) -> None:
        self.folder = folder
        self.path = path
        self.counts: Counter[str] = Counter()
        self.unreadable: dict[int, Key] = {}
        self.published: dict[int, Key] = {}
        self.used_bytes = 0
        self.is_replaced = False
        self.successor: SpoolFile | None = None
        self._handed_out: set[int] = set()
        self._open: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        if path.exists():
            try:
                self._count()
            except BaseException:
                self.close()
                raise

    @property
    def events(self) -> int:
        """How many events wait."""
        return self.counts.total()

    @property
    def is_open(self) -> bool:
        """Whether we have the file open: then it can be read even if it was removed."""
        return self._open is not None

    @property
    def is_in_place(self) -> bool:
        """Whether folder and file are still in their places."""
        try:
            is_same = self._opened is None or os.path.samestat(self._opened, self.path.stat())
        except OSError:
            return False
        return is_same and self.folder.is_in_place

    def add(self, rows: Sequence[Row]) -> None:
        """Store the rows in a single transaction, on disk when this returns. Rows already stored are left out."""
        counts: Counter[str] = Counter()
        with self._transaction() as db:
            for row in rows:
                counts[row.source] += self._insert(db, row)
        self.counts = self.counts + counts  # a new object: another thread may be reading the old object
        self._measure()

    def oldest(self, source: str, *, limit: int, max_bytes: int) -> list[tuple[Key, bytes]]:
        """The oldest waiting events and their records, up to `limit`; the record that reaches `max_bytes` is last."""
        found: list[tuple[Key, bytes]] = []
        size = 0
        query = "SELECT id, receipt_id, record FROM events WHERE source = ? ORDER BY id"
        with closing(self._database().execute(query, (source,))) as cursor:
            for number, receipt_id, record in cursor:
                if number not in self.published and number not in self.unreadable:
                    found.append((Key(number, source, str(receipt_id)), _bytes(record)))
                    size += len(found[-1][1])
                if len(found) >= limit or size >= max_bytes:
                    break
        self._handed_out.update(key.number for key, _ in found)
        if not found:
            self._require_none_left(source)
            self.counts = Counter({name: count for name, count in self.counts.items() if name != source})
        return found

    def oldest_received_at(self) -> str:
        """When the oldest event was received; empty if none waits."""
        if not self.events:
            return ""
        row = self._database().execute("SELECT received_at FROM events ORDER BY id LIMIT 1").fetchone()
        return str(row[0]) if row else ""

    def remove(self, keys: Iterable[Key]) -> None:
        """Remove rows that are published. If the disk refuses, they still count as removed, and the next call retries.

        If the file was replaced, only these same rows are removed from its successor.
        """
        if self.successor is not None:
            self.successor.remove(self.successor.recognised(keys))
            return
        new = {key.number: key for key in keys if key.number in self._handed_out}
        self._handed_out -= new.keys()
        self.published |= new
        self.counts = self.counts - Counter(key.source for key in new.values())
        if not self.is_replaced:
            self._delete_published()

    def recognised(self, keys: Iterable[Key]) -> list[Key]:
        """The keys of an earlier generation whose rows are here too, with the same number; they count as handed out."""
        if self.successor is not None:
            return self.successor.recognised(keys)
        if self.is_replaced:
            return []
        query = "SELECT 1 FROM events WHERE id = ? AND receipt_id = ?"
        here = self._database()
        found = [key for key in keys if here.execute(query, (key.number, key.receipt_id)).fetchone()]
        self._handed_out.update(key.number for key in found if key.number not in self.published)
        return found

    def cannot_read(self, key: Key) -> None:
        """Mark a row whose record is damaged: it no longer counts as an event, and waits for `lay_aside`."""
        self.unreadable[key.number] = key
        self.counts = self.counts - Counter([key.source])

    def lay_aside(self, into: Path) -> None:
        """Move unreadable records to files in this folder; a retry after a failure makes no second file."""
        for key in [*self.unreadable.values()]:
            row = self._database().execute("SELECT record FROM events WHERE id = ?", (key.number,)).fetchone()
            if row is not None:
                record = _bytes(row[0])
                digest = hashlib.sha256(record).hexdigest()[:16]  # a restart writes the same file once more
                _write(into / f"{self.folder.path.name}-{key.number}-{digest}.record", record)
            del self.unreadable[key.number]
            self.published[key.number] = key
        self._delete_published()

    def cells(self) -> Generator[Cell, None, None]:
        """All rows, for a file that was removed while we have it open; of a damaged file, those up to the damage.

        They are read from both ends; if the file is damaged, a row can come twice.
        """
        for order in ("ASC", "DESC"):
            try:
                query = f"SELECT id, receipt_id, record FROM events ORDER BY id {order}"  # noqa: S608  # one of two words
                for number, receipt_id, record in self._database().execute(query):
                    yield Cell(number, str(receipt_id), _bytes(record))
            except (sqlite3.DatabaseError, ValueError) as error:
                if not is_damage(error):
                    raise
            else:
                return

    def set_apart(self) -> None:
        """Rename the damaged file, so that its place is free; `path` is then its new name."""
        self.close()
        self.path = set_apart(self.folder, self.path)
        self.is_replaced = True

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = self._opened = None

    def tidy(self) -> None:
        """Remove the file if no event waits in it; a retry for `remove`."""
        if not self.is_replaced and not self.events and not self.unreadable:
            self._discard()

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            if self.is_replaced:
                raise FileNotFoundError(f"{self.path.name} was replaced")
            db = _connect(self.path)
            try:
                self.folder.sync()
                self._opened = self.path.stat()
            except BaseException:
                db.close()
                raise
            self._open = db
        return self._open

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._database()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _insert(self, db: sqlite3.Connection, row: Row) -> int:
        number = row.number if row.number is not None and 0 < row.number < _MAX_NUMBER else None
        values = (row.source, row.receipt_id, row.received_at, row.record)
        if db.execute(_COLUMNS, (number, *values)).rowcount:
            return 1
        there = db.execute("SELECT record FROM events WHERE id = ?", (number,)).fetchone()
        return 0 if there and there[0] == row.record else db.execute(_COLUMNS, (None, *values)).rowcount

    def _delete_published(self) -> None:
        if not self.events and not self.unreadable:
            self._discard()
            return
        with self._transaction() as db:
            db.executemany("DELETE FROM events WHERE id = ?", [(number,) for number in self.published])
        self.published.clear()
        self._measure()

    def _count(self) -> None:
        counted = self._database().execute("SELECT source, count(*) FROM events GROUP BY source").fetchall()
        self.counts = Counter({str(source): int(count) for source, count in counted})
        self._measure()
        if not self.events:
            self._discard()

    def _measure(self) -> None:
        db = self._database()
        pages, free, size = (
            int(db.execute(f"PRAGMA {what}").fetchone()[0]) for what in ("page_count", "freelist_count", "page_size")
        )
        self.used_bytes = (pages - free) * size

    def _require_none_left(self, source: str | None = None) -> None:
        """Look into the table itself before events count as gone: a damaged index does not list all of them.

        Raises:
            sqlite3.DatabaseError: events wait, of the source or of any.
        """
        for number, of in self._database().execute("SELECT id, source FROM events NOT INDEXED"):
            if source in (None, of) and number not in self.published and number not in self.unreadable:
                raise sqlite3.DatabaseError("the index does not list all events")

    def _discard(self) -> None:
        if self.is_open or self.path.exists():
            self._require_none_left()
        self.close()
        remove(self.path)
        self.is_replaced = True
        self.used_bytes = 0


def remove(path: Path) -> None:
    """Remove a file that nobody has open, and first its journal, since a journal alone would keep the folder alive."""
    _journal(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def set_apart(folder: Folder, path: Path) -> Path:
    """Rename a file and its journal to names that mark them as damaged."""
    aside = folder.path / f"{_DAMAGED}{uuid_utils.uuid7()}.db"
    if _journal(path).exists():
        _journal(path).rename(_journal(aside))
    path.rename(aside)
    folder.sync()
    return aside


def damaged_in(folder: Folder) -> list[Path]:
    """The damaged files of a folder whose rows wait to be saved."""
    return sorted(folder.path.glob(f"{_DAMAGED}*.db"))


def whole_in(folder: Folder) -> list[Path]:
    """The files of a folder that hold events, oldest first."""
    salvaged = [path for path in folder.path.glob(f"{_SALVAGED}*.db") if not _twin(path, _SALVAGED, _DAMAGED).exists()]
    own = folder.path / NAME
    return [*sorted(salvaged), *([own] if own.exists() else [])]


def salvaged(damaged: Path) -> Path:
    """Where the rows of a damaged file are saved."""
    return _twin(damaged, _DAMAGED, _SALVAGED)


def rescued(folder: Folder) -> Path:
    """Where the rows of a removed file are saved."""
    return folder.path / f"{_SALVAGED}{uuid_utils.uuid7()}.db"


def is_saved(folder: Folder, damaged: Path) -> None:
    """From now on `salvaged` holds the rows of a damaged file. A single rename switches all of them at once."""
    folder.sync()
    _journal(damaged).unlink(missing_ok=True)
    damaged.rename(_twin(damaged, _DAMAGED, _KEPT))
    folder.sync()


def kept_in(folder: Folder) -> list[Path]:
    """The damaged files of a folder whose rows are saved."""
    return [folder.path / name for name in sorted(folder.names()) if name.startswith(_KEPT) and name.endswith(".db")]


def keep(path: Path, aside: Path) -> None:
    """Move a damaged file, whose rows are saved, to the folder for operators."""
    path.rename(aside / _twin(path, _KEPT, _DAMAGED).name)


def is_damage(error: BaseException) -> bool:
    """Whether the error means that the file is damaged, not its disk; a damaged schema shows in many errors."""
    if isinstance(error, sqlite3.DatabaseError):
        return (getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF) not in _BLAMELESS
    return isinstance(error, ValueError)


def is_sound(path: Path) -> bool:
    """Whether the file is consistent, including its indexes; records have checksums of their own.

    Raises:
        sqlite3.Error, OSError: another process has locked it, or it cannot be read.
    """
    try:
        with closing(_connect(path)) as db:
            return bool(db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except (sqlite3.DatabaseError, ValueError) as error:
        if is_damage(error):
            return False
        raise


def rows_by_index(path: Path) -> int | None:
    """How many rows a damaged file should have, by its index; None: unknown. Rolls back an unfinished transaction.

    Raises:
        sqlite3.Error: another process has locked it, or it cannot be read.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as db:
            return int(db.execute("SELECT count(*) FROM events INDEXED BY by_source").fetchone()[0])
    except (sqlite3.DatabaseError, ValueError) as error:
        if is_damage(error):
            return None
        raise


def sweep(folder: Folder) -> None:
    """Remove journals whose file is gone (a kill between the two removals): they would keep the folder alive."""
    for path in folder.path.glob(f"*{_JOURNAL}"):
        if folder.is_in_place and not path.with_name(path.name.removesuffix(_JOURNAL)).exists():
            path.unlink(missing_ok=True)


def _journal(path: Path) -> Path:
    return path.with_name(path.name + _JOURNAL)


def _twin(path: Path, prefix: str, other: str) -> Path:
    return path.with_name(other + path.name.removeprefix(prefix))


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.text_factory = _text
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            "journal_mode = TRUNCATE",
            "synchronous = FULL",
            "cell_size_check = ON",
        ):
            db.execute(f"PRAGMA {pragma}")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
