"""One fault of the disk at a time, beneath a spool at work: a damaged page, a locked file, a folder taken away."""

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.eventually import eventually
from tests.integration.spools import (
    MIB,
    emptied,
    files,
    left_behind,
    leftmost_leaf,
    orphan,
    overwrite,
    running,
    spooled,
)
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.adapters.spool import file as file_module
from zenoti_ingest.adapters.spool.carve import carve
from zenoti_ingest.adapters.spool.folder import CORRUPT
from zenoti_ingest.core.failures.errors import SpoolUnavailable
from zenoti_ingest.core.intake.spool_record import Spooled, unseal

ROOT = Path(__file__).parents[2]
DAMAGE = b"\xff\x00\x55"
DAMAGES = (DAMAGE, bytes(3), b"\x00\x02\x00")
STRANGER = 65534  # a user without rights
AS_STRANGER = """
import asyncio, os, sys
from pathlib import Path
from tests.integration.spools import running
os.setuid(int(sys.argv[2]))

async def main(directory):
    async with running(Path(directory)) as spool:
        while True:
            print(spool.state.events, spool.state.detail, spool.state.trouble, sep="|", flush=True)
            await asyncio.sleep(0.2)

asyncio.run(main(sys.argv[1]))
"""
ADOPTER = """
import asyncio, sys
from pathlib import Path
from tests.integration.spools import running

async def main(directory):
    async with running(Path(directory)) as spool:
        print("begun", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(sys.argv[1]))
"""


def numbers(found: list[Spooled]) -> list[int]:
    """Which events these are."""
    return sorted(int(item.event.receipt_id.removeprefix("r-")) for item in found)


async def put(spool: Spool, *those: int, source: str = "main", size: int = 300) -> None:
    """These events, into the spool."""
    await asyncio.gather(*(spool.put(spooled(number, source=source, size=size)) for number in those))


async def all_of(spool: Spool, count: int, *, within: float = 20.0) -> list[int]:
    """What comes out, once it is so much at least and nothing is left."""
    found: list[Spooled] = []

    async def enough() -> bool:
        try:
            found.extend(await emptied(spool))
        except SpoolUnavailable:
            return False
        return len(found) >= count and not spool.state.by_source.get("main")

    await eventually(enough, within=within)
    return numbers(found)


def logged(logs: Sequence[Mapping[str, Any]], event: str) -> list[Mapping[str, Any]]:
    """The lines of an event."""
    return [line for line in logs if line["event"] == event]


async def by_the_look(spool: Spool) -> None:
    """Nobody does anything."""
    await eventually(lambda: not spool.state.trouble)


async def by_a_put(spool: Spool) -> None:
    """A put finds it out, or the look before it."""
    await put(spool, 5000)


async def by_a_read_of_another_source(spool: Spool) -> None:
    """The first event is another source's."""
    with pytest.raises(SpoolUnavailable):
        await spool.oldest("other", limit=1)


@pytest.mark.parametrize("confirmed", [256, 100, 0])
@pytest.mark.parametrize("noticed", [by_the_look, by_a_put, by_a_read_of_another_source])
async def test_a_file_that_is_replaced_while_a_batch_is_in_flight(
    tmp_path: Path, noticed: Callable[[Spool], Awaitable[None]], confirmed: int
) -> None:
    """Damage is noticed while events are being published: new and unconfirmed events stay, confirmed events go."""
    with capture_logs() as logs:
        async with running(tmp_path) as spool:
            await put(spool, 4000, source="other")
            await put(spool, *range(600))
            batch = await spool.oldest("main", limit=256)
            [file] = files(tmp_path)
            overwrite(file, leftmost_leaf(file), DAMAGE)
            await noticed(spool)
            await eventually(lambda: logged(logs, "spool_damaged"), within=15)
            await put(spool, *range(1000, 1010))
            await spool.forget("main", batch[:confirmed])
            expected = {*range(600), *range(1000, 1010)} - set(numbers([item.spooled for item in batch[:confirmed]]))
            found = await all_of(spool, len(expected))
            assert [number for number in found if number != 5000] == sorted(expected)
            assert numbers(await emptied(spool, source="other")) == [4000]
    assert [line["lost"] for line in logged(logs, "spool_damaged")] == [0]
    assert [file.parent.name for file in files(tmp_path, "*/*")] == [CORRUPT]


async def test_a_batch_confirmed_before_the_file_is_mended(tmp_path: Path) -> None:
    """The confirm comes between damage and mending: what it confirms is not delivered again, nothing else goes."""
    async with running(tmp_path) as spool:
        await put(spool, *range(300))
        batch = await spool.oldest("main", limit=100)
        [file] = files(tmp_path)
        overwrite(file, leftmost_leaf(file), DAMAGE)
        with pytest.raises(SpoolUnavailable):
            await spool.oldest("main", limit=100)
        await asyncio.gather(spool.forget("main", batch), put(spool, *range(1000, 1010)))
        assert await all_of(spool, 210) == [*range(100, 300), *range(1000, 1010)]


async def test_a_confirm_that_comes_twice(tmp_path: Path) -> None:
    """The file is emptied and begun anew, with the same row numbers: the second confirm takes nothing of it."""
    async with running(tmp_path) as spool:
        await put(spool, 1, 2, 3)
        batch, again = await spool.oldest("main", limit=10), await spool.oldest("main", limit=10)
        await spool.forget("main", batch)
        await put(spool, 4, 5, 6)
        await spool.forget("main", again)
        assert spool.state.events == 3
        assert numbers(await emptied(spool)) == [4, 5, 6]


@pytest.mark.parametrize("size", [300, 9000])
async def test_three_bytes_anywhere_cost_one_event_at_most(tmp_path: Path, size: int) -> None:
    """Every kind of page, headers above all: what a page says of others is not needed to read these."""
    file = await left_behind(tmp_path, 120, size=size)
    content, copy = file.read_bytes(), tmp_path / "copy"
    lost: Counter[int] = Counter()
    for page in range(0, len(content), 4096 if size < 4096 else 4096 * 5):  # a page
        for at, damage in product((0, 1, 2, 3, 5, 8, 12, 33, 2000), DAMAGES):
            copy.write_bytes(content[: page + at] + damage + content[page + at + 3 :])
            with closing(carve(copy)) as cells:
                lost[120 - len({cell.receipt_id for cell in cells if unseal(cell.record)})] += 1
    assert lost[0] > 50
    assert set(lost) == {0, 1}


@pytest.mark.parametrize("which", [0, -1])
async def test_an_event_that_the_index_has_lost_is_delivered(tmp_path: Path, which: int) -> None:
    """A damaged index does not find an event, whose record is whole: it must not go with the emptied file."""
    async with running(tmp_path) as spool:
        await put(spool, *range(20))
        [file] = files(tmp_path)
        content = file.read_bytes()
        [index] = [at for at in range(4096, len(content), 4096) if content[at] == 10]  # a leaf of an index
        entries = [match.start() for match in re.finditer(b"main", content[index : index + 4096])]
        overwrite(file, index + entries[which], b"zain" if which == 0 else b"aain")
        delivered: list[int] = []

        async def all_are_delivered() -> bool:
            with suppress(SpoolUnavailable):
                while items := await spool.oldest("main", limit=7):
                    delivered.extend(numbers([item.spooled for item in items]))
                    await spool.forget("main", items)
            return len(delivered) >= 20

        await eventually(all_are_delivered, within=20)
        assert sorted(delivered) == list(range(20))
        assert spool.state.events == 0


async def test_what_is_published_does_not_come_back_out_of_a_file(tmp_path: Path) -> None:
    """Read page by page, a sound file has the rows that wait and no other, however many went before them."""
    async with running(tmp_path) as spool:
        waiting: set[str] = set()
        for start in range(0, 400, 40):
            await put(spool, *range(start, start + 20), size=300)
            await put(spool, *range(start + 20, start + 40), size=6000, source="other")
            waiting |= {f"r-{number}" for number in range(start, start + 40)}
            for source in ("main", "other"):
                batch = (await spool.oldest(source, limit=25))[:: 1 + start % 3]
                await spool.forget(source, batch)
                waiting -= {item.spooled.event.receipt_id for item in batch}
        [file] = files(tmp_path)
        with closing(carve(file)) as cells:
            assert {cell.receipt_id for cell in cells} == waiting
    assert 10 < len(waiting) < 300


async def test_a_locked_orphan_holds_up_no_other(tmp_path: Path) -> None:
    """Three orphans, one locked by somebody's sqlite3: two come at once, the third once it is free; reported once."""
    directory = tmp_path / "spool"
    orphans = [await orphan(directory, 10, first=first) for first in (0, 100, 200)]
    (directory / "lost+found").mkdir(mode=0)
    (directory / "notes.txt").write_text("a stranger's")
    (directory / "notes" / "deeper").mkdir(parents=True)
    with capture_logs() as logs, closing(sqlite3.connect(orphans[1], isolation_level=None)) as somebody:
        somebody.execute("BEGIN EXCLUSIVE")
        async with running(directory) as spool:
            await eventually(lambda: spool.state.events == 20)
            await eventually(lambda: spool.state.trouble)
            assert orphans[1].parent.name in spool.state.trouble
            assert "locked" in spool.state.trouble
            assert not spool.state.detail
            assert len(await emptied(spool)) == 20
            await eventually(lambda: sum(path.name[0] == "0" for path in files(directory, "*")) == 2)
            await eventually(lambda: len(logged(logs, "spool_folder_failed")) == 1)
            somebody.execute("ROLLBACK")
            await eventually(lambda: spool.state.events == 10 and not spool.state.trouble, within=10)
            assert numbers(await emptied(spool)) == [*range(100, 110)]
    assert len(logged(logs, "spool_folder_failed")) == 1
    assert (directory / "notes" / "deeper").exists()


async def test_an_orphan_that_cannot_be_opened_holds_up_no_other(tmp_path: Path) -> None:
    """Whatever stands where the events should be: it is named with the reason, and the others come."""
    directory = tmp_path / "spool"
    first, second = await orphan(directory, 10), await orphan(directory, 10, first=100)
    first.rename(tmp_path / "events")
    first.mkdir()
    async with running(directory) as spool:
        await eventually(lambda: spool.state.events == 10)
        await eventually(lambda: first.parent.name in spool.state.trouble)
        assert numbers(await emptied(spool)) == [*range(100, 110)]
        first.rmdir()
        (tmp_path / "events").rename(first)
        await eventually(lambda: spool.state.events == 10, within=10)
        assert numbers(await emptied(spool)) == [*range(10)]
    assert not second.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be somebody else")
async def test_folders_without_rights_hold_up_no_other(tmp_path: Path) -> None:
    """As a user who may read neither lost+found nor one of the folders: the other comes, the trouble is named."""
    directory = tmp_path / "spool"
    forbidden, allowed = await orphan(directory, 10), await orphan(directory, 10, first=100)
    (directory / "lost+found").mkdir(mode=0o700)
    for path in (directory, allowed.parent, *allowed.parent.iterdir()):
        os.chown(path, STRANGER, STRANGER)
    for path in (tmp_path, *tmp_path.parents):
        path.chmod(path.stat().st_mode | 0o055)  # pytest's own folders are its user's alone
    stranger = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AS_STRANGER, str(directory), str(STRANGER), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert stranger.stdout is not None
        said: list[list[str]] = []

        async def settled() -> bool:
            assert stranger.stdout is not None
            said.append((await stranger.stdout.readline()).decode().split("|"))
            return said[-1][0] == "10" and forbidden.parent.name in said[-1][2]

        await eventually(settled, within=20)
        assert said[-1][1] == ""
        assert "lost+found" not in said[-1][2]
    finally:
        stranger.terminate()
        await stranger.communicate()


async def test_an_unusable_corrupt_folder_repeats_nothing(tmp_path: Path) -> None:
    """Where a damaged file cannot be moved to, its events come once all the same; it is moved later."""
    (tmp_path / CORRUPT).write_text("in the way")
    with capture_logs() as logs:
        async with running(tmp_path) as spool:
            await put(spool, *range(100))
            [file] = files(tmp_path)
            overwrite(file, leftmost_leaf(file), DAMAGE)
            await eventually(lambda: logged(logs, "spool_damaged"), within=15)
            assert await all_of(spool, 100) == [*range(100)]
            await eventually(lambda: "FileExistsError" in spool.state.trouble)
            assert (spool.state.events, spool.state.detail) == (0, "")
            await put(spool, 1000)
            assert await all_of(spool, 1) == [1000]
            (tmp_path / CORRUPT).unlink()
            await eventually(lambda: len(files(tmp_path, f"{CORRUPT}/*.db")) == 1, within=10)
            await eventually(lambda: not spool.state.trouble)
    assert len(logged(logs, "spool_damaged")) == 1


async def test_killed_while_a_file_is_mended(tmp_path: Path) -> None:
    """Processes killed -9 while they save the rows of a damaged file: all come once, as they were."""
    file = await left_behind(tmp_path, 3000, size=2000)
    overwrite(file, leftmost_leaf(file), DAMAGE)
    for milliseconds in (20, 80, 160, 320):
        adopter = subprocess.Popen(  # noqa: S603, ASYNC220  # our own script, which outlives nothing
            [sys.executable, "-c", ADOPTER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert adopter.stdout is not None
        adopter.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            adopter.wait(timeout=milliseconds / 1000)
        adopter.send_signal(signal.SIGKILL)
        adopter.wait(timeout=10)
        adopter.stdout.close()
    async with running(tmp_path) as spool:
        assert await all_of(spool, 3000) == [*range(3000)]


async def test_a_record_that_cannot_be_read_is_laid_aside_once(tmp_path: Path) -> None:
    """It waits where it cannot be laid aside, and nobody waits for it."""
    file = await left_behind(tmp_path, 50)
    content = bytearray(file.read_bytes())
    content[content.index(b"%08d" % 17 * 3) + 5] ^= 4
    file.write_bytes(content)
    (tmp_path / CORRUPT).write_text("in the way")
    with capture_logs() as logs:
        async with running(tmp_path) as spool:
            await eventually(lambda: spool.state.events == 50)
            assert numbers(await emptied(spool)) == [n for n in range(50) if n != 17]
            assert spool.state.events == 0
            await eventually(lambda: file.parent.name in spool.state.trouble)
            (tmp_path / CORRUPT).unlink()
            await eventually(lambda: files(tmp_path, f"{CORRUPT}/*.record"), within=10)
            await eventually(lambda: not file.parent.exists())
    assert [line["receipt_id"] for line in logged(logs, "spool_record_lost")] == ["r-17"]
    assert len(files(tmp_path, f"{CORRUPT}/*")) == 1


def remove_folders(directory: Path) -> None:
    """Rm -rf of what is in the spool's directory."""
    for path in directory.iterdir():
        shutil.rmtree(path)


def remove_files(directory: Path) -> None:
    """The files of the events alone."""
    for path in directory.glob("*/events.db"):
        path.unlink()


def replace_directory(directory: Path) -> None:
    """The directory moved away, and another in its place."""
    directory.rename(directory.parent / "elsewhere")
    directory.mkdir()


@pytest.mark.parametrize("take_away", [remove_folders, shutil.rmtree, replace_directory])
@pytest.mark.parametrize("looks", [True, False])
async def test_a_folder_taken_away_while_idle(
    tmp_path: Path, take_away: Callable[[Path], None], *, looks: bool
) -> None:
    """A new folder is made, by the check or by the next put; it is reported."""
    directory = tmp_path / "spool"
    with capture_logs() as logs:
        async with running(directory) as spool:
            await put(spool, 1)
            assert len(await emptied(spool)) == 1
            take_away(directory)
            if looks:
                await eventually(lambda: directory.exists() and list(directory.iterdir()), within=10)
            await put(spool, 2)
            assert not spool.state.detail
            assert numbers(await emptied(spool)) == [2]
    assert len(logged(logs, "spool_folder_gone")) == 1


@pytest.mark.parametrize("take_away", [remove_folders, shutil.rmtree, remove_files])
async def test_events_in_a_folder_that_was_removed(tmp_path: Path, take_away: Callable[[Path], None]) -> None:
    """What the process still has open is saved into a new folder, but for what is confirmed meanwhile."""
    directory = tmp_path / "spool"
    with capture_logs() as logs:
        async with running(directory) as spool:
            await put(spool, *range(300))
            batch = await spool.oldest("main", limit=20)
            take_away(directory)
            await put(spool, 1000)
            await spool.forget("main", batch)
            assert await all_of(spool, 281) == [*range(20, 300), 1000]
    [line] = logged(logs, "spool_rescued")
    assert (line["recovered"], line["lost"]) in {(280, 0), (300, 0)}


async def test_events_in_a_folder_that_was_moved_away(tmp_path: Path) -> None:
    """They are not reported as lost; once the folder is back they come."""
    directory = tmp_path / "spool"
    with capture_logs() as logs:
        async with running(directory) as spool:
            await put(spool, *range(10))
            replace_directory(directory)
            await put(spool, 1000)
            assert await all_of(spool, 1) == [1000]
            [line] = logged(logs, "spool_folder_gone")
            assert (line["events"], line["detail"]) == (10, "elsewhere")
            for folder in (tmp_path / "elsewhere").iterdir():
                folder.rename(directory / folder.name)
            assert await all_of(spool, 10) == [*range(10)]


def mount(*words: str) -> None:
    """As root."""
    subprocess.run(["mount", *words], check=True)  # noqa: S603, S607  # our own words


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    path = tmp_path / "disk"
    path.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path))
    yield path
    mount("-o", "remount,rw", str(path))
    subprocess.run(["umount", "--lazy", str(path)], check=True)  # noqa: S603, S607  # the same


async def test_a_disk_that_is_read_only_for_a_while(disk: Path) -> None:
    """It is reported though nothing is put; once the disk can be written, all is as before."""
    async with running(disk) as spool:
        mount("-o", "remount,ro", str(disk))
        await eventually(lambda: spool.state.detail, within=10)
        with pytest.raises(SpoolUnavailable):
            await put(spool, 1000)
        mount("-o", "remount,rw", str(disk))
        await eventually(lambda: not spool.state.detail, within=10)
        await put(spool, 1001)
        assert numbers(await emptied(spool)) == [1001]


async def test_events_on_a_disk_that_is_read_only_at_first(disk: Path) -> None:
    """They are read and published once; what is confirmed goes once the disk can be written to."""
    await left_behind(disk, 10)
    mount("-o", "remount,ro", str(disk))
    async with running(disk) as spool:
        await eventually(lambda: spool.state.events == 10)
        assert spool.state.detail
        batch = await spool.oldest("main", limit=4)
        await spool.forget("main", batch)
        assert spool.state.events == 6
        assert numbers(await emptied(spool)) == [*range(4, 10)]
        await eventually(lambda: spool.state.trouble)
        mount("-o", "remount,rw", str(disk))
        await eventually(lambda: not spool.state.detail and not spool.state.trouble, within=10)
        await put(spool, 1001)
        assert numbers(await emptied(spool)) == [1001]
        await eventually(lambda: len(files(disk, "*")) == 1)


async def test_a_disk_that_is_too_slow_fills_no_memory(tmp_path: Path) -> None:
    """Beyond 32 MiB that wait for the disk events are refused; what was taken comes out."""
    async with running(tmp_path, max_bytes=256 * MIB) as spool:
        events = [spooled(number, size=MIB) for number in range(40)]
        done = await asyncio.gather(*map(spool.put, events), return_exceptions=True)
        refused = [error for error in done if error is not None]
        assert {type(error) for error in refused} == {SpoolUnavailable}
        assert "too slow" in str(refused[0])
        assert 8 <= len(refused) <= 9
        assert len(await emptied(spool)) == 40 - len(refused)


async def test_a_journal_left_alone_keeps_no_folder(tmp_path: Path) -> None:
    """A kill between a file and its journal: the folder goes all the same."""
    file = await left_behind(tmp_path, 10)
    file.with_name("damaged-1.db-journal").touch()
    async with running(tmp_path) as spool:
        await eventually(lambda: spool.state.events == 10)
        assert len(await emptied(spool)) == 10
        await eventually(lambda: not file.parent.exists(), within=10)


async def test_a_hung_disk_leaves_a_bounded_heap_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is written at most 32 MiB wait for the disk, the rest is refused at once, and it goes on after."""
    monkeypatch.setattr(file_module, "BUSY_SECONDS", 60.0)  # so that the spool's thread hangs as long as the lock lasts
    async with running(tmp_path, max_bytes=512 * MIB) as spool:
        await spool.put(spooled(0))
        [file] = files(tmp_path)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            puts = [asyncio.create_task(spool.put(spooled(number, size=MIB))) for number in range(1, 101)]
            answers = await asyncio.gather(*puts, return_exceptions=True)
            refused = Counter(str(error).partition(":")[0] for error in answers)
            waiting = refused.pop("the disk took no event within 5 s")
            assert refused == {"the disk is too slow": 100 - waiting}
            assert 20 < waiting < 33, "a record takes more than its body"
            with pytest.raises(SpoolUnavailable, match="too slow"):
                await spool.put(spooled(101, size=MIB))
            other.execute("ROLLBACK")
        await eventually(lambda: takes(spool, 102), within=10)


async def takes(spool: Spool, number: int) -> bool:
    """Whether an event of 1 MiB is on disk."""
    try:
        await spool.put(spooled(number, size=MIB))
    except SpoolUnavailable:
        return False
    return True
