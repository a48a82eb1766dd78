"""The disk of a simulated host: the real spool, its processes killed, its disk full, slow, damaged and lost."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import TypeVar

import pytest

from tests.integration.spools import spooled
from tests.simulation.disk import Disk
from tests.simulation.virtual_time import SimulatedProcess, run_in_virtual_time
from zenoti_ingest.adapters.spool import Spool
from zenoti_ingest.core.failures.errors import SpoolUnavailable

R = TypeVar("R")
POLLS_SECONDS = 10.0  # several polls of a spool
DAMAGES = 30
MIXES = 30


class Host:
    """A host with a disk, and the process that runs on it now."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  # that it can be repeated is the point
        self.disk = Disk(self.random.random)
        self.delivered: list[str] = []
        self.start()

    def start(self) -> None:
        """A new process."""
        self.process = SimulatedProcess("intake")
        self.spool = self.disk.spool()
        self.process.start(self.spool.run())

    def kill(self) -> Spool:
        """As kill -9 does."""
        self.process.kill()
        self.disk.killed(self.spool)
        return self.spool

    async def put(self, *numbers: int) -> None:
        """Events, one after the other."""
        for number in numbers:
            await self.spool.put(spooled(number))

    async def drained(self) -> list[str]:
        """The receipts of all that was delivered until now, oldest first: what waits is delivered and forgotten."""
        while items := await self.spool.oldest("main", limit=7):
            self.delivered += [item.spooled.event.receipt_id for item in items]
            await self.spool.forget("main", items)
        return self.delivered


def on_a_host(story: Callable[[Host], Coroutine[None, None, R]], *, seed: int = 1) -> R:
    """Live a story in virtual time."""

    async def main() -> R:
        host = Host(seed)
        with host.disk:
            await asyncio.sleep(1)
            return await story(host)

    result: R = run_in_virtual_time(main())
    return result


def receipts(count: int, *, first: int = 0) -> list[str]:
    """Of as many events."""
    return [f"r-{number}" for number in range(first, first + count)]


def test_what_is_put_comes_out_in_order_and_leaves_no_file() -> None:
    """Events wait on the disk until they are forgotten, and each action takes a moment of virtual time."""

    async def story(host: Host) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await host.put(*range(20))
        assert 0 < loop.time() - began < 1
        assert host.disk.waiting() == 20
        assert await host.drained() == receipts(20)
        assert host.disk.waiting() == 0
        assert not [*host.disk.directory.glob("*/*.db")]

    on_a_host(story)


def test_a_world_leaves_nothing_behind() -> None:
    """Its directory is gone with it, and so is what its spools had open."""

    async def story(host: Host) -> Disk:
        await host.put(1)
        return host.disk

    assert not on_a_host(story).directory.parent.exists()


def test_the_next_process_adopts_what_a_killed_process_left() -> None:
    """Nothing of a killed process runs on, and what it had on disk is delivered by the next process."""

    async def story(host: Host) -> None:
        await host.put(*range(5))
        dead = host.kill()
        await asyncio.sleep(3)
        host.start()
        await host.put(5)
        await asyncio.sleep(POLLS_SECONDS)
        assert await host.drained() == receipts(6)
        assert dead.state.events == 5  # it has not noticed

    on_a_host(story)


def test_a_put_that_was_killed_may_have_been_done() -> None:
    """Of events whose put never ended, some are on disk and others are not."""

    async def story(host: Host) -> int:
        host.process.start(host.put(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0.00005)
        host.kill()
        return host.disk.waiting()

    assert {on_a_host(story, seed=seed) for seed in range(8)} == {0, 1}


def test_two_processes_keep_apart() -> None:
    """Two processes share the directory, and neither takes what the other has."""

    async def story(host: Host) -> None:
        first = host.spool
        await host.put(*range(3))
        host.start()
        await asyncio.sleep(POLLS_SECONDS)
        await host.put(*range(3, 6))
        assert await host.drained() == receipts(3, first=3)
        host.spool = first
        assert await host.drained() == [*receipts(3, first=3), *receipts(3)]

    on_a_host(story)


@pytest.mark.parametrize("room_bytes", [0, 600, 8192])
def test_a_full_disk_refuses_until_it_has_room(room_bytes: int) -> None:
    """What it cannot take is refused, what it has can be read, and it takes again when there is room."""

    async def story(host: Host) -> None:
        await host.put(*range(40))
        host.disk.is_full, host.disk.room_bytes = True, room_bytes
        with pytest.raises(SpoolUnavailable):
            await host.put(40)
        assert len(await host.spool.oldest("main", limit=100)) == 40
        await asyncio.sleep(POLLS_SECONDS)
        assert host.spool.state.detail
        host.disk.heal()
        await asyncio.sleep(POLLS_SECONDS)
        assert not host.spool.state.detail
        await host.put(41)
        assert await host.drained() == [*receipts(40), "r-41"]

    on_a_host(story)


def test_what_was_published_on_a_full_disk_does_not_come_back() -> None:
    """A full disk refuses deletions, too; they are made up for."""

    async def story(host: Host) -> None:
        await host.put(*range(10))
        items = await host.spool.oldest("main", limit=4)
        host.disk.is_full = True
        await host.spool.forget("main", items)
        assert host.disk.waiting() == 10
        host.disk.heal()
        assert await host.drained() == receipts(6, first=4)

    on_a_host(story)


def test_a_slow_disk_takes_its_time_and_a_hanging_disk_takes_none() -> None:
    """A slow disk delays a put; a put on a hanging disk ends with its deadline, and may have been done."""

    async def story(host: Host) -> None:
        loop = asyncio.get_running_loop()
        host.disk.slow_seconds = 1.0
        began = loop.time()
        await host.put(1)
        assert 1.0 <= loop.time() - began < 5.0
        host.disk.heal()
        await asyncio.sleep(POLLS_SECONDS)
        host.disk.hangs = True
        began = loop.time()
        with pytest.raises(SpoolUnavailable):
            await host.put(2)
        assert loop.time() - began == pytest.approx(5.0)
        host.disk.heal()
        await asyncio.sleep(POLLS_SECONDS)
        await host.put(3)
        assert (await host.drained())[-1] == "r-3"

    on_a_host(story)


def test_a_frozen_process_gets_its_results_after_the_thaw() -> None:
    """What the disk did meanwhile waits for it."""

    async def story(host: Host) -> None:
        task = host.process.start(host.put(1))
        await asyncio.sleep(0)
        host.process.freeze()
        await asyncio.sleep(60)
        assert not task.done()
        host.process.thaw()
        await asyncio.sleep(1)
        assert task.done()

    on_a_host(story)


@pytest.mark.parametrize("is_killed", [False, True])
def test_damage_costs_nothing_that_it_did_not_strike(is_killed: bool) -> None:  # noqa: FBT001  # a parameter
    """Each event of a damaged file is delivered or reported, and many are delivered; other events do not suffer."""

    async def story(host: Host) -> tuple[int, int]:
        await host.put(*range(40))
        assert host.disk.damage()
        assert set(host.disk.event_bodies_at_risk()) == set(receipts(40))
        if is_killed:
            host.kill()
            host.start()
        await asyncio.sleep(POLLS_SECONDS)
        await host.put(*range(40, 50))
        for _ in range(5):
            await asyncio.sleep(POLLS_SECONDS)
            with suppress(SpoolUnavailable):  # while the file is mended
                await host.drained()
        await asyncio.sleep(POLLS_SECONDS)
        found = set(host.delivered)
        assert found >= set(receipts(10, first=40))
        missing = set(receipts(50)) - found
        assert not [receipt for receipt in missing if not host.disk.is_reported(receipt)]
        return len(found), len(missing)

    for seed in range(DAMAGES):
        delivered, _ = on_a_host(story, seed=seed)
        assert delivered >= 10


def test_a_lost_folder_is_replaced_and_its_events_are_saved() -> None:
    """The process has its removed file open, saves its events and takes new events."""

    async def story(host: Host) -> None:
        await host.put(*range(5))
        assert host.disk.lose_folder(host.spool)
        assert host.disk.waiting() == 0
        assert set(host.disk.event_bodies_at_risk()) == set(receipts(5))
        await asyncio.sleep(POLLS_SECONDS)
        await host.put(5)
        assert sorted(await host.drained()) == receipts(6)

    on_a_host(story)


def test_a_folder_that_is_lost_with_a_damaged_file_is_not_saved_for_ever() -> None:
    """What can be read of the removed file is saved; the rest is reported once, and nothing stays in trouble."""

    async def story(host: Host) -> int:
        await host.put(*range(40))
        host.disk.damage()
        host.disk.lose_folder(host.spool)
        await asyncio.sleep(POLLS_SECONDS)
        assert host.spool.state.trouble == ""
        await host.put(40)
        with suppress(SpoolUnavailable):
            await host.drained()
        await asyncio.sleep(POLLS_SECONDS)
        delivered = await host.drained()
        assert "r-40" in delivered
        return len(delivered)

    delivered = [on_a_host(story, seed=seed) for seed in range(DAMAGES)]
    assert sum(delivered) > len(delivered) * 20


async def strike(host: Host) -> None:
    """A fault of the disk, or the end of those that last."""
    match host.random.choice(("kill", "damage", "lose", "full", "hang", "slow", "heal", "heal", "heal")):
        case "kill":
            host.kill()
            host.start()
        case "damage":
            host.disk.damage()
        case "lose":
            host.disk.lose_folder(host.spool)
        case "full":
            host.disk.is_full, host.disk.room_bytes = True, host.random.choice((0, 600, 5000, 9000, 20_000))
        case "hang":
            host.disk.hangs = True
        case "slow":
            host.disk.slow_seconds = 3 * host.random.random()
        case _:
            host.disk.heal()


def test_any_mix_of_faults_loses_only_what_it_struck() -> None:
    """What was put is delivered, or was in a file that was lost, or was damaged and is reported. Then all is calm."""

    async def story(host: Host) -> int:
        safe: set[str] = set()
        for number in range(150):
            if number % 4 == 0:
                await strike(host)
            with suppress(SpoolUnavailable, TimeoutError):
                async with asyncio.timeout(30):
                    await (host.drained() if number % 10 == 0 else host.put(number))
                    safe |= {f"r-{number}"} if number % 10 else set()
            await asyncio.sleep(host.random.random() * host.random.choice((0.01, 1, 5)))
        host.disk.heal()
        for _ in range(6):
            await asyncio.sleep(POLLS_SECONDS)
            with suppress(SpoolUnavailable):
                await host.drained()
        await asyncio.sleep(POLLS_SECONDS)
        lost = {row.receipt_id for damage in host.disk.damages if damage.kind == "lost" for row in damage.rows}
        missing = safe - set(host.delivered)
        assert missing <= set(host.disk.event_bodies_at_risk())
        assert not [receipt for receipt in missing - lost if not host.disk.is_reported(receipt)]
        assert (host.spool.state.detail, host.spool.state.trouble, host.disk.waiting()) == ("", "", 0)
        return len(missing)

    missing = [on_a_host(story, seed=seed) for seed in range(MIXES)]
    assert any(missing)  # the faults are not all harmless


def test_the_same_seed_takes_the_same_steps() -> None:
    """Names, moments and bytes of the files are the same twice, and others with another seed."""

    async def story(host: Host) -> str:
        seen = hashlib.sha256()
        for _ in range(30):
            match host.random.randrange(6):
                case 0:
                    host.kill()
                    host.start()
                case 1:
                    host.disk.damage()
                case 2:
                    host.disk.lose_folder(host.spool)
                case _:
                    try:
                        await host.put(host.random.randrange(1000))
                    except SpoolUnavailable as error:
                        seen.update(str(error).replace(str(host.disk.directory), "").encode())
            await asyncio.sleep(host.random.random() * 3)
            for path in sorted(host.disk.directory.rglob("*")):
                seen.update(str(path.relative_to(host.disk.directory)).encode())
                seen.update(path.read_bytes() if path.is_file() else b"")
            seen.update(repr(asyncio.get_running_loop().time()).encode())
        return seen.hexdigest()

    digests = [on_a_host(story, seed=seed) for seed in (1, 2, 3)]
    assert digests == [on_a_host(story, seed=seed) for seed in (1, 2, 3)]
    assert len(set(digests)) == 3
