"""The spool on a real disk, with real processes that are killed; no broker is asked."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.eventually import eventually
from tests.integration.spools import MIB, emptied, files, left_behind, running, spooled, waits
from zenoti_ingest.adapters.spool import Item, Spool
from zenoti_ingest.adapters.spool.folder import CORRUPT
from zenoti_ingest.core.failures.errors import SpoolUnavailable
from zenoti_ingest.core.intake.spool_record import Spooled

ROOT = Path(__file__).parents[2]
WRITER = """
import asyncio, sys
from pathlib import Path
from tests.builders import received
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.core.intake.spool_record import Spooled

async def main(directory, name):
    spool = Spool(Path(directory), max_bytes=1 << 30)
    running = asyncio.create_task(spool.run())

    async def one(number):
        await spool.put(Spooled(event=received(receipt_id=f"{name}-{number}", body=b"%d " % number * 500)))
        print(f"safe {name}-{number}", flush=True)

    for start in range(0, 1_000_000, 10):
        await asyncio.gather(*(one(start + n) for n in range(10)))

asyncio.run(main(*sys.argv[1:]))
"""


async def filled(spool: Spool, *, size: int) -> int:
    """How many went in before it refused."""
    for number in range(1000):
        try:
            await spool.put(spooled(number, size=size))
        except SpoolUnavailable as error:
            assert "full" in str(error)  # noqa: PT017  # of both kinds, its own and the disk's
            return number
    pytest.fail("it is never full")


async def test_what_goes_in_comes_out_in_order(tmp_path: Path) -> None:
    """Events of each source come back as they were, oldest first; once they are forgotten the disk is as before."""
    async with running(tmp_path) as spool:
        for number in range(20):
            await spool.put(spooled(number, archived=number % 3 == 0))
        await spool.put(spooled(99, source="other"))
        assert spool.state.events == 21
        assert await emptied(spool) == [spooled(n, archived=n % 3 == 0) for n in range(20)]
        assert await emptied(spool, source="other") == [spooled(99, source="other")]
        assert (spool.state.events, files(tmp_path)) == (0, [])
    assert files(tmp_path, "*") == []


async def test_depth_and_age_are_reported(tmp_path: Path) -> None:
    """How many wait, what they take on disk, and how old the oldest is."""
    async with running(tmp_path) as spool:
        await spool.put(spooled(1, size=100_000))
        await eventually(lambda: spool.state.oldest_seconds is not None)
        assert spool.state.events == 1
        assert spool.state.bytes >= 100_000
        await emptied(spool)
        await eventually(lambda: spool.state.oldest_seconds is None)
        assert spool.state.bytes == 0


async def test_what_is_forgotten_does_not_come_back(tmp_path: Path) -> None:
    """After a restart only what was not forgotten is there, in its order."""
    async with running(tmp_path) as spool:
        for number in range(10):
            await spool.put(spooled(number))
        await spool.forget("main", await spool.oldest("main", limit=4))
    async with running(tmp_path) as spool:
        await waits(spool, 6)
        assert await emptied(spool) == [spooled(n) for n in range(4, 10)]


async def test_it_is_bounded(tmp_path: Path) -> None:
    """Above its bound it refuses and says so; what is in it stays whole, and once there is room it takes again."""
    async with running(tmp_path, max_bytes=2 * MIB) as spool:
        taken = await filled(spool, size=50_000)
        assert 30 <= taken <= 42
        assert spool.state.detail == "full"
        assert sum(file.stat().st_size for file in files(tmp_path)) <= 2 * MIB
        assert len(await emptied(spool)) == taken
        assert spool.state.detail == ""
        await spool.put(spooled(1, size=50_000))


async def test_the_bound_is_of_the_whole_directory(tmp_path: Path) -> None:
    """What another living process has on disk counts too."""
    async with running(tmp_path) as other:
        for number in range(22):
            await other.put(spooled(number, size=50_000))
        async with running(tmp_path, max_bytes=MIB) as spool:
            await eventually(lambda: spool.state.bytes >= MIB)
            with pytest.raises(SpoolUnavailable, match="full"):
                await spool.put(spooled(1, size=50_000))
        assert len(await emptied(other)) == 22


async def test_living_processes_keep_their_own(tmp_path: Path) -> None:
    """Two at work over one directory: each has its own events, and none takes the other's for an orphan."""
    async with running(tmp_path) as first, running(tmp_path) as second:
        await first.put(spooled(1))
        await second.put(spooled(2))
        await eventually(lambda: first.state.oldest_seconds is not None and second.state.oldest_seconds is not None)
        assert (await emptied(first), await emptied(second)) == ([spooled(1)], [spooled(2)])


async def test_one_of_several_adopts_what_is_left(tmp_path: Path) -> None:
    """What a process leaves on disk, exactly one of those at work takes over; the folder goes when it is empty."""
    async with running(tmp_path) as first, running(tmp_path) as second:
        async with running(tmp_path) as leaving:
            for number in range(30):
                await leaving.put(spooled(number))
        await eventually(lambda: first.state.events + second.state.events == 30, within=15)
        assert {first.state.events, second.state.events} == {0, 30}
        assert await emptied(first) + await emptied(second) == [spooled(n) for n in range(30)]
        await eventually(lambda: len(files(tmp_path, "*")) == 2)


async def test_kill_9_loses_nothing_that_was_said_to_be_safe(tmp_path: Path) -> None:
    """Two processes killed -9 in mid-write, again and again: all events that they reported are there, whole, once."""
    logged: list[str] = []
    for turn in range(3):
        writers = [
            subprocess.Popen(  # noqa: S603, ASYNC220  # our own script, which outlives nothing
                [sys.executable, "-c", WRITER, str(tmp_path), f"{turn}-{name}"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("a", "b")
        ]
        for writer in writers:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(60)]
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.read().splitlines(keepends=True)
            logged += [line.split()[1] for line in lines if line.startswith("safe ") and line.endswith("\n")]
            writer.wait(timeout=10)
            writer.stdout.close()
    async with running(tmp_path) as spool:
        await eventually(lambda: spool.state.events >= len(logged), within=20)
        found = [item.event.receipt_id for item in await emptied(spool)]
        assert len(found) == len(set(found))
        assert set(logged) <= set(found)
        assert len(logged) >= 300
        assert not (tmp_path / CORRUPT).exists()


async def test_a_flipped_record_is_reported_and_stops_nobody(tmp_path: Path) -> None:
    """A bit flipped in a body: its receipt is reported, the bytes are laid aside, all others come, and all is gone."""
    file = await left_behind(tmp_path, 50)
    content = bytearray(file.read_bytes())
    content[content.index(b"%08d" % 17 * 3) + 5] ^= 4
    file.write_bytes(content)
    with capture_logs() as logs:
        async with running(tmp_path) as spool:
            await waits(spool, 50)
            assert await emptied(spool) == [spooled(n) for n in range(50) if n != 17]
            assert spool.state.events == 0
    assert [line["receipt_id"] for line in logs if line["event"] == "spool_record_lost"] == ["r-17"]
    [aside] = files(tmp_path, f"{CORRUPT}/*")
    assert b"%08d" % 16 not in aside.read_bytes()
    assert len(aside.read_bytes()) > 300


def torn(content: bytes) -> bytes:
    """The last third never reached the disk."""
    return content[: 2 * len(content) // 3 + 100]


def zeroed(content: bytes) -> bytes:
    """A page in the middle never reached the disk."""
    page = 4096 * (len(content) // 4096 // 2)
    return content[:page] + bytes(4096) + content[page + 4096 :]


@pytest.mark.parametrize("damage", [torn, zeroed])
async def test_a_damaged_file_is_read_as_far_as_it_can_be(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """A torn file: what can be read comes, as it was; the file is kept and reported; fresh events are taken."""
    file = await left_behind(tmp_path, 200)
    file.write_bytes(damage(file.read_bytes()))
    with capture_logs() as logs:
        async with running(tmp_path) as spool:
            await eventually(lambda: any(line["event"] == "spool_damaged" for line in logs), within=15)
            await spool.put(spooled(1000))
            found = {item.event.receipt_id: item for item in await emptied(spool)}
    assert found.pop("r-1000") == spooled(1000)
    assert len(found) > 100
    assert all(item == spooled(int(receipt.removeprefix("r-"))) for receipt, item in found.items())
    assert spool.state.detail == ""
    [aside] = files(tmp_path, "*/*")
    assert (aside.parent.name, aside.suffix) == (CORRUPT, ".db")


@pytest.mark.parametrize("at", [0, 30, 101, 4039, 4100, 7000, 12_289, 20_000, 30_000])
async def test_three_bytes_cost_one_event_at_most(tmp_path: Path, at: int) -> None:
    """Bytes overwritten anywhere, header, schema and inner pages too: all events but one come, as they were."""
    file = await left_behind(tmp_path, 60)
    content = bytearray(file.read_bytes())
    content[at : at + 3] = b"\xff\x00\x55"
    file.write_bytes(content)
    found: dict[str, Spooled] = {}
    async with running(tmp_path) as spool:

        async def nearly_all() -> bool:
            found.update((item.event.receipt_id, item) for item in await emptied(spool))
            return len(found) >= 59

        await eventually(nearly_all)
        await spool.put(spooled(1000))
        assert await emptied(spool) == [spooled(1000)]
    assert all(item == spooled(int(receipt.removeprefix("r-"))) for receipt, item in found.items())


async def test_a_file_damaged_while_it_is_in_use_is_mended(tmp_path: Path) -> None:
    """Pages overwritten beneath a living process: what can be read comes, and fresh events are taken."""
    async with running(tmp_path) as spool:
        for number in range(300):
            await spool.put(spooled(number, size=3000))
        [file] = files(tmp_path)
        content = file.read_bytes()
        middle = 4096 * (len(content) // 4096 // 2)
        with file.open("r+b") as raw:
            raw.seek(middle)
            raw.write(os.urandom(10 * 4096))
        with closing(sqlite3.connect(file)) as other:  # a change by another makes SQLite forget what it had read
            other.execute("PRAGMA user_version = 7")
        found: set[str] = set()

        async def most() -> bool:
            try:
                found.update(item.event.receipt_id for item in await emptied(spool))
            except SpoolUnavailable:
                return False
            return len(found) >= 280

        await eventually(most, within=20)
        await spool.put(spooled(1000))
        assert await emptied(spool) == [spooled(1000)]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
async def test_a_full_disk_is_reported_and_corrupts_nothing(tmp_path: Path) -> None:
    """No space left: puts are refused and it says so; what is on disk drains, though nothing can be written."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)  # noqa: S607, ASYNC221, S603
    try:
        async with running(tmp_path) as spool:
            taken = await filled(spool, size=20_000)
            assert 10 < taken < 60
            assert "full" in spool.state.detail
            rest = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
            (tmp_path / "stuffing").write_bytes(bytes(rest))
            assert [item.event.receipt_id for item in await emptied(spool)] == [f"r-{n}" for n in range(taken)]
            (tmp_path / "stuffing").unlink()
            await eventually(lambda: spool.state.detail == "")
            await spool.put(spooled(1))
            assert await emptied(spool) == [spooled(1)]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)  # noqa: S607, ASYNC221, S603


async def test_an_unusable_directory_is_reported_until_it_is_mended(tmp_path: Path) -> None:
    """A file where the directory should be: puts are refused, nothing fails; once it is away all is well."""
    directory = tmp_path / "spool"
    directory.write_text("in the way")
    async with running(directory) as spool:
        with pytest.raises(SpoolUnavailable):
            await spool.put(spooled(1))
        assert spool.state.detail
        directory.unlink()
        await eventually(lambda: not spool.state.detail, within=10)
        await spool.put(spooled(2))
        assert await emptied(spool) == [spooled(2)]


async def test_an_item_says_what_is_spooled(tmp_path: Path) -> None:
    """What is in flight stays on disk until it is forgotten."""
    async with running(tmp_path) as spool:
        await spool.put(spooled(1))
        first: list[Item] = await spool.oldest("main", limit=10)
        assert [item.spooled for item in await spool.oldest("main", limit=10)] == [item.spooled for item in first]
        assert spool.state.events == 1
