"""Virtual time, and processes that are killed or frozen in it."""

import asyncio
import time

import pytest

from tests.simulation.virtual_time import SimulatedProcess, StandsStill, run_in_virtual_time

DAY = 86_400.0


def test_a_day_takes_no_time() -> None:
    """A thousand sleeps of a day pass at once, each as long as it should be."""

    async def main() -> float:
        began = asyncio.get_running_loop().time()
        for _ in range(1000):
            await asyncio.sleep(DAY)
        return asyncio.get_running_loop().time() - began

    began = time.monotonic()
    assert run_in_virtual_time(main()) == pytest.approx(1000 * DAY)
    assert time.monotonic() - began < DAY / 1000


def test_timers_come_in_order() -> None:
    """Sleeps and time-outs interleave by their moments."""
    seen: list[str] = []

    async def after(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        seen.append(name)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds, name in ((3, "c"), (1, "a"), (2, "b")):
                group.create_task(after(seconds, name))
        try:
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("d")

    run_in_virtual_time(main())
    assert seen == ["a", "b", "c", "d"]


def test_a_world_in_which_nothing_can_happen_ends() -> None:
    """Waiting for what nobody does is an error, not a hang."""
    with pytest.raises(StandsStill):
        run_in_virtual_time(asyncio.Event().wait())


def test_a_killed_process_runs_no_finally() -> None:
    """After a kill nothing of the process runs, and others do not notice."""
    seen: list[str] = []

    async def work(name: str) -> None:
        try:
            for number in range(4):
                await asyncio.sleep(1)
                seen.append(f"{name}{number}")
        finally:
            seen.append(f"{name} cleans up")

    async def main() -> None:
        first, second = SimulatedProcess("first"), SimulatedProcess("second")
        first.start(work("a"))
        second.start(work("b"))
        await asyncio.sleep(2.5)
        first.kill()
        await asyncio.sleep(9)
        assert [word for word in seen if word.startswith("a")] == ["a0", "a1"]
        assert seen[-1] == "b cleans up"

    run_in_virtual_time(main())
    assert seen[-1] == "a cleans up"  # once the world is over


def test_a_frozen_process_goes_on_after_the_thaw() -> None:
    """While it is frozen nothing of it runs, and its timers that came due meanwhile fire at once after the thaw."""
    seen: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            seen.append(loop.time())

    async def main() -> float:
        process, loop = SimulatedProcess("p"), asyncio.get_running_loop()
        began = loop.time()
        process.start(work())
        await asyncio.sleep(1.5)
        process.freeze()
        await asyncio.sleep(10)
        process.thaw()
        await asyncio.sleep(1.2)
        return began

    began = run_in_virtual_time(main())
    assert [round(at - began, 1) for at in seen] == [1.0, 11.5, 12.5]
