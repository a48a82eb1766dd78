"""The port `Spools`: one contract for the fake of the tests and for the spool on a disk."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from tests.eventually import eventually
from tests.fakes import FakeSpool
from tests.integration.spools import running, spooled
from tests.simulation.disk import Disk
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.core.failures.errors import SpoolUnavailable
from zenoti_ingest.core.intake.spool_record import Spooled
from zenoti_ingest.stages.ports import Spools


class Port(msgspec.Struct):
    """A spool, and a spool that has no room."""

    spool: Spools
    full: Spools


@pytest.fixture
def fake_port() -> Port:
    """The fake of the tests."""
    full = FakeSpool()
    full.is_full = True
    return Port(FakeSpool(), full)


@pytest.fixture
async def real_port(tmp_path: Path) -> AsyncIterator[Port]:
    """The spool on a disk."""
    async with running(tmp_path / "spool") as spool:
        yield Port(spool, Spool(tmp_path / "full", max_bytes=1))


@pytest.fixture
async def simulated_port() -> AsyncIterator[Port]:
    """The spool on the disk of the simulated world."""
    draw = Random(1).random  # noqa: S311  # that it can be repeated is the point
    with Disk(draw) as disk, Disk(draw, max_bytes=1) as full:
        spool = disk.spool()
        task = asyncio.create_task(spool.run())
        await eventually(lambda: not spool.state.detail)
        yield Port(spool, full.spool())
        task.cancel()
        await asyncio.wait([task], timeout=10)


@pytest.fixture(params=["fake", "real", "simulated"])
def port(request: pytest.FixtureRequest) -> Port:
    """Each of them."""
    found: Port = request.getfixturevalue(f"{request.param}_port")
    return found


async def test_what_is_put_comes_out_in_order(port: Port) -> None:
    """The oldest of a source first, no more than asked for, and again until they are forgotten."""
    for number in range(5):
        await port.spool.put(spooled(number, archived=number % 2 == 0))
    await port.spool.put(spooled(99, source="other"))
    for _ in range(2):
        found = await port.spool.oldest("main", limit=3)
        assert [item.spooled for item in found] == [spooled(n, archived=n % 2 == 0) for n in range(3)]
    assert [item.spooled for item in await port.spool.oldest("other", limit=3)] == [spooled(99, source="other")]
    assert await port.spool.oldest("nobody", limit=3) == []


async def test_only_what_is_forgotten_goes(port: Port) -> None:
    """Each item goes by itself; a second time takes nothing, though the same place may be taken by another by then."""
    for number in range(3):
        await port.spool.put(spooled(number))
    batch = await port.spool.oldest("main", limit=3)
    await port.spool.forget("main", [batch[1]])
    assert [item.spooled for item in await port.spool.oldest("main", limit=3)] == [spooled(0), spooled(2)]
    await port.spool.forget("main", batch)
    for number in range(10, 13):
        await port.spool.put(spooled(number))
    await port.spool.forget("main", batch)
    await port.spool.forget("main", [])
    assert [item.spooled for item in await port.spool.oldest("main", limit=9)] == [spooled(n) for n in range(10, 13)]


async def test_it_wakes_the_task_that_waits_for_a_source(port: Port) -> None:
    """An event of the source ends the waiting, one of another source does not."""
    waiting = asyncio.create_task(port.spool.wait_for("main"))
    await port.spool.put(spooled(1, source="other"))
    assert not waiting.done()
    await port.spool.put(spooled(2))
    async with asyncio.timeout(5):
        await waiting


async def test_what_is_set_aside_leaves_a_note(port: Port) -> None:
    """The event is no longer among those of its source; the note, which names its file, waits where it says."""
    for number in range(3):
        await port.spool.put(spooled(number))
    [_, second, _] = await port.spool.oldest("main", limit=3)
    named: list[Path] = []

    def note(path: Path) -> Spooled:
        named.append(path)
        return spooled(77, source="notes")

    await port.spool.set_aside("main", second, note)
    assert [item.spooled for item in await port.spool.oldest("main", limit=3)] == [spooled(0), spooled(2)]
    assert [item.spooled for item in await port.spool.oldest("notes", limit=3)] == [spooled(77, source="notes")]
    assert len(named) == 1


async def test_a_full_one_refuses(port: Port) -> None:
    """What cannot be taken is refused at once."""
    with pytest.raises(SpoolUnavailable):
        await port.full.put(spooled(1))
