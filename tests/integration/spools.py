"""A spool at work, for the tests of it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from tests.builders import received
from tests.eventually import eventually
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.core.intake.spool_record import Spooled

MIB = 1024 * 1024


def spooled(number: int, *, source: str = "main", size: int = 300, archived: bool = False) -> Spooled:
    """An event of its own."""
    event = received(receipt_id=f"r-{number}", source=source, body=b"%08d" % number * (size // 8))
    return Spooled(event=event, archived=archived)


@asynccontextmanager
async def running(directory: Path, *, max_bytes: int = 64 * MIB) -> AsyncIterator[Spool]:
    """A spool at work."""
    spool = Spool(directory, max_bytes=max_bytes)
    task = asyncio.create_task(spool.run())
    try:
        await eventually(lambda: "not open" not in spool.state.detail)
        yield spool
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10)
    assert task.cancelled(), task


async def waits(spool: Spool, count: int, *, within: float = 15.0) -> None:
    """So many wait in it."""
    await eventually(lambda: spool.state.events == count, within=within)


async def emptied(spool: Spool, *, source: str = "main") -> list[Spooled]:
    """All of a source, oldest first, taken out."""
    found: list[Spooled] = []
    while items := await spool.oldest(source, limit=7):
        await spool.forget(source, items)
        found += [item.spooled for item in items]
    return found


def files(directory: Path, pattern: str = "*/events.db") -> list[Path]:
    """The files of the events."""
    return sorted(directory.glob(pattern))


async def left_behind(directory: Path, count: int, *, size: int = 300, first: int = 0) -> Path:
    """A file with so many events, whose process is gone."""
    async with running(directory) as spool:
        for start in range(first, first + count, 100):
            numbers = range(start, min(start + 100, first + count))
            await asyncio.gather(*(spool.put(spooled(n, size=size)) for n in numbers))
    [file] = files(directory)
    return file


async def orphan(directory: Path, count: int, *, first: int = 0) -> Path:
    """A folder with so many events beside others, whose process is gone; its file."""
    directory.mkdir(exist_ok=True)  # noqa: ASYNC240  # a word
    file = await left_behind(directory.parent / f"apart-{first}", count, first=first)
    return file.parent.rename(directory / file.parent.name) / file.name


def overwrite(file: Path, at: int, content: bytes) -> None:
    """Change bytes of a file that a process has open, and which reads them again."""
    with file.open("r+b") as raw:
        raw.seek(at)
        raw.write(content)
    with closing(sqlite3.connect(file)) as other:  # a change by another makes SQLite forget what it had read
        other.execute("PRAGMA user_version = 7")


def leftmost_leaf(file: Path, *, root: int = 2) -> int:
    """Where the leaf with the oldest events begins; https://www.sqlite.org/fileformat.html#b_tree_pages."""
    content = file.read_bytes()
    page = root
    while content[(page - 1) * 4096] == 5:  # an interior page
        start = (page - 1) * 4096
        cell = start + int.from_bytes(content[start + 12 : start + 14], "big")
        page = int.from_bytes(content[cell : cell + 4], "big")
    return (page - 1) * 4096
