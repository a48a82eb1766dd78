"""Garbage is found in short steps, and none stays for ever."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.eventually import eventually
from zenoti_ingest.adapters import garbage_collector
from zenoti_ingest.adapters.garbage_collector import collect_all, collect_garbage, collect_newest, resident_bytes

MANY = 300_000


class Cycle:
    """An object that refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself: Cycle | None = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Only what a test asks for is collected; afterwards all is as it was."""
    threshold = gc.get_threshold()
    gc.disable()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    gc.enable()


@pytest.fixture
async def collecting() -> AsyncIterator[None]:
    """The daemon's task runs, and has set aside what there was."""
    task = asyncio.create_task(collect_garbage())
    await asyncio.sleep(0)
    yield
    task.cancel()


@pytest.mark.usefixtures("collecting")
async def test_new_garbage_goes_in_the_next_step() -> None:
    """A cycle that nobody uses any more is freed within a fraction of a second."""
    garbage = weakref.ref(Cycle())
    await eventually(lambda: garbage() is None, within=5)


@pytest.mark.usefixtures("collecting")
async def test_garbage_set_aside_goes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle that was in use when it was looked at, and is not any more, is freed by the next full run."""
    used = Cycle()
    garbage = weakref.ref(used)
    collect_newest()
    del used
    collect_newest()
    assert garbage() is not None
    monkeypatch.setattr(garbage_collector, "FULL_SECONDS", 0.0)
    await eventually(lambda: garbage() is None, within=10)


@pytest.mark.usefixtures("collecting")
async def test_garbage_set_aside_goes_when_memory_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is as soon as the process takes much more memory than after the last full run."""
    used = Cycle()
    garbage = weakref.ref(used)
    collect_newest()
    del used
    monkeypatch.setattr(garbage_collector, "resident_bytes", lambda: 10 * resident_bytes())
    await eventually(lambda: garbage() is None, within=10)


def test_a_step_does_not_look_at_what_is_set_aside() -> None:
    """However much is in use, a step costs next to nothing of what a full run costs."""
    kept = [Cycle() for _ in range(MANY)]
    collect_newest()
    began = time.thread_time()
    collect_newest()
    step, began = time.thread_time() - began, time.thread_time()
    collect_all()
    assert step < (time.thread_time() - began) / 10
    assert len(kept) == MANY


def test_memory_is_read() -> None:
    """The memory of this process grows by what is written to."""
    before = resident_bytes()
    written = b"x" * (64 * 1024 * 1024)
    assert resident_bytes() - before > len(written) // 2


def test_memory_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no /proc, the most that the process ever took stands in."""
    monkeypatch.setattr(garbage_collector, "_STATM", tmp_path / "none")
    assert resident_bytes() > 1024 * 1024
