"""One SQLite file of events, used by one thread at a time.

A rollback journal, not WAL: a flipped bit in a WAL silently drops every commit after it, here it costs one record.
TRUNCATE with synchronous=FULL: the commit is on disk when it returns. The file is made with the first event and
removed with the last, which gives the disk its space back and leaves no customer's data behind.
"""

import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import uuid_utils

from worker.adapters.spool.folder import Folder

BUSY_SECONDS = 1.0  # somebody may look with the sqlite3 shell
NAME = "events.db"
_DAMAGED = "damaged-"
_SCHEMA = """
BEGIN;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, receipt_id TEXT NOT NULL, received_at TEXT NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_source ON events (source);
COMMIT;
"""
_JOURNAL = "-journal"
_PAGE_BYTES = 4096
_BLAMELESS = {  # what SQLite says of disks, rights and other processes
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
    """One event as it is stored."""

    source: str
    receipt_id: str
    received_at: str
    record: bytes


class SpoolFile:
    """The file in a folder that we hold. Every method may raise sqlite3.Error or OSError; then nothing has changed.

    Attributes:
        counts: events by source that wait to be published.
        used_bytes: what they take on disk.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.path = folder.path / NAME
        self.counts: Counter[str] = Counter()
        self.used_bytes = 0
        self._done: set[int] = set()  # published, not removed yet: a full disk refuses that too
        self._open: sqlite3.Connection | None = None
        if self.path.exists():
            try:
                self._count()
            except BaseException:
                self.close()
                raise

    @property
    def events(self) -> int:
        """How many wait."""
        return self.counts.total()

    def add(self, rows: Sequence[Row]) -> None:
        """Store them in one transaction, on disk when this returns."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO events (source, receipt_id, received_at, record) VALUES (?, ?, ?, ?)",
                [(row.source, row.receipt_id, row.received_at, row.record) for row in rows],
            )
        self.counts.update(row.source for row in rows)
        self._measure()

    def oldest(self, source: str, *, limit: int, max_bytes: int) -> list[tuple[int, str, bytes]]:
        """The oldest that wait, as id, receipt and record: so many, or so many bytes, at least one."""
        found: list[tuple[int, str, bytes]] = []
        size = 0
        query = "SELECT id, receipt_id, record FROM events WHERE source = ? ORDER BY id"
        with closing(self._database().execute(query, (source,))) as cursor:
            for number, receipt_id, record in cursor:
                if number not in self._done:
                    found.append((number, str(receipt_id), _bytes(record)))
                    size += len(found[-1][2])
                if len(found) >= limit or size >= max_bytes:
                    break
        return found

    def oldest_received_at(self) -> str:
        """When the oldest event was received; empty where none waits."""
        if not self.events:
            return ""
        row = self._database().execute("SELECT received_at FROM events ORDER BY id LIMIT 1").fetchone()
        return str(row[0]) if row else ""

    def remove(self, source: str, ids: Iterable[int]) -> None:
        """They are published. Known at once; on disk too when this returns, or else with the next removal."""
        new = set(ids) - self._done
        self._done |= new
        self.counts[source] -= len(new)
        if not self.events:
            self._discard()
            return
        with self._transaction() as db:
            db.executemany("DELETE FROM events WHERE id = ?", [(one,) for one in self._done])
        self._done.clear()
        self._measure()

    def set_apart(self) -> Path:
        """It is damaged: out of the way under another name, which is returned; a new one begins."""
        self.close()
        self._forget()
        return set_apart(self.folder)

    def close(self) -> None:
        """Let go of the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            new = not self.path.exists()
            self._open = _connect(self.path)
            if new:
                self.folder.sync()
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

    def _discard(self) -> None:
        self.close()
        for suffix in ("", _JOURNAL):
            self.path.with_name(NAME + suffix).unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        self.counts.clear()
        self._done.clear()
        self.used_bytes = 0


def set_apart(folder: Folder) -> Path:
    """Give the file in a folder the name of a damaged one, and its journal with it."""
    aside = folder.path / f"{_DAMAGED}{uuid_utils.uuid7()}.db"
    for suffix in (_JOURNAL, ""):
        old = folder.path / (NAME + suffix)
        if old.exists():
            old.rename(aside.with_name(aside.name + suffix))
    folder.sync()
    return aside


def damaged_in(folder: Folder) -> list[Path]:
    """The damaged files of a folder."""
    return sorted(folder.path.glob(f"{_DAMAGED}*.db"))


def keep_damaged(path: Path, aside: Path) -> None:
    """Move a damaged file, whose rows have been saved, to where an operator may look at it."""
    path.rename(aside / path.name)
    path.with_name(path.name + _JOURNAL).unlink(missing_ok=True)


def is_damage(error: BaseException) -> bool:
    """Whether the file itself is to blame, and not its disk; a damaged schema is told in many ways."""
    if isinstance(error, sqlite3.DatabaseError):
        return (getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF) not in _BLAMELESS
    return isinstance(error, ValueError)


def is_sound(path: Path) -> bool:
    """Whether all of the file hangs together, indexes too; records tell themselves."""
    try:
        with closing(_connect(path)) as db:
            return bool(db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except (sqlite3.DatabaseError, ValueError) as error:
        if is_damage(error):
            return False
        raise


def salvage(path: Path) -> Generator[tuple[int, str, bytes], None, None]:
    """Whatever rows of a damaged file can still be read: from the front, from the back, and one by one between."""
    with closing(_connect_damaged(path)) as db:
        last = 0
        for row in _readable(db, "ORDER BY id"):
            if row[0] <= last:  # damaged pages can lead in a circle
                break
            last = row[0]
            yield row
        behind: list[int] = []
        for row in _readable(db, "ORDER BY id DESC"):
            if row[0] <= last or (behind and row[0] >= behind[-1]):
                break
            behind.append(row[0])
            yield row
        if behind:
            for between in range(last + 1, behind[-1]):
                yield from _readable(db, "WHERE id = ?", between)


def _connect_damaged(path: Path, *, renewed: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.text_factory = _text
    try:
        db.execute("PRAGMA writable_schema = ON")  # else a file shorter than its header says is refused as a whole
        db.execute("SELECT id, source, receipt_id, received_at, record FROM events LIMIT 0")
    except (sqlite3.DatabaseError, ValueError):
        if not renewed:
            db.close()
            _renew_first_page(path)
            return _connect_damaged(path, renewed=True)
    return db


def _renew_first_page(path: Path) -> None:
    """Header and schema are the same in every file of ours: take them from a new one."""
    with closing(sqlite3.connect(":memory:")) as new:
        new.executescript(_SCHEMA)
        page = bytearray(new.serialize()[:_PAGE_BYTES])
    page[28:32] = (path.stat().st_size // _PAGE_BYTES).to_bytes(4, "big")  # https://www.sqlite.org/fileformat.html
    with path.open("r+b") as file:
        file.write(page)


def _readable(db: sqlite3.Connection, which: str, *values: int) -> Iterator[tuple[int, str, bytes]]:
    try:
        for number, receipt_id, record in db.execute(
            f"SELECT id, receipt_id, record FROM events NOT INDEXED {which}",  # noqa: S608  # our own three words
            values,
        ):
            yield number, str(receipt_id), _bytes(record)
    except (sqlite3.DatabaseError, ValueError):
        return


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.text_factory = _text
        for pragma in (
            f"page_size = {_PAGE_BYTES}",
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
