"""An event loop whose clock jumps to the next timer when nothing is ready, and processes that can be killed or frozen.

Nothing sleeps, and no socket or thread is used, so the same program takes the same steps each time.
"""

import asyncio
import contextvars
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

MAX_TURNS_WITHOUT_TIME = 200_000
MAX_CANCELS = 10
DISSOLVE_SECONDS = 100.0
BEGINNING_SECONDS = 1_000.0


class StandsStill(Exception):
    """Nothing can happen any more, or so much happens that no time passes."""


class SimulatedProcess:
    """A process: its callbacks run, are dropped once it was killed, or wait while it is frozen.

    What is on the wire belongs to no process, and still arrives.

    Attributes:
        name: for traces.
        is_killed: nothing of it runs any more, not even a `finally`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_killed = False
        self._is_frozen = False
        self._held: deque[tuple[Callable[..., Any], tuple[Any, ...], contextvars.Context]] = deque()
        self._tasks: list[asyncio.Task[Any]] = []  # kept, or the collector would run the `finally` of killed tasks
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            loop.processes.append(self)
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this process."""
        task = asyncio.get_running_loop().create_task(work, context=self.context.copy())
        self._tasks.append(task)
        return task

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Remember a task that the process has begun by itself."""
        self._tasks.append(task)

    def kill(self) -> None:
        """As kill -9 does: nothing of it runs any more. What would have run is kept for the end of the world."""
        self.is_killed = True

    def raise_from_the_dead(self) -> None:
        """At the end of the world: let everything run that was dropped or held, so that its tasks can end."""
        self.is_killed = False
        self.thaw()

    def freeze(self) -> None:
        """As SIGSTOP does."""
        self._is_frozen = True

    def thaw(self) -> None:
        """As SIGCONT does: what has waited runs in the order in which it came."""
        self._is_frozen = False
        held, self._held = self._held, deque()
        loop = asyncio.get_running_loop()
        for callback, arguments, context in held:
            loop.call_soon(callback, *arguments, context=context)

    def run(self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: contextvars.Context) -> None:
        """Run a callback of this process, unless it was killed; later, while it is frozen."""
        if self._is_frozen or self.is_killed:
            self._held.append((callback, arguments, context))
        else:
            callback(*arguments)


_PROCESS: contextvars.ContextVar[SimulatedProcess | None] = contextvars.ContextVar("process", default=None)
WIRE = contextvars.Context()  # of no process


class _NoFiles(selectors.BaseSelector):
    """Waits for nothing but time."""

    def __init__(self) -> None:
        self.loop: VirtualLoop | None = None
        self._turns = 0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """The loop's own wake-up pipe, which nobody uses."""
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As the standard library's."""
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As the standard library's."""
        return self._keys

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let the time until the next timer pass at once.

        Raises:
            StandsStill: there is no timer and nothing is ready; or nothing but turns without time.
        """
        assert self.loop is not None
        if timeout is None:
            raise StandsStill("nothing is left to happen")
        self._turns = 0 if timeout > 0 else self._turns + 1
        if self._turns > MAX_TURNS_WITHOUT_TIME:
            raise StandsStill(f"{self._turns} turns of the event loop at one moment")
        if timeout > 0:
            self.loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        selector = _NoFiles()
        self._now = BEGINNING_SECONDS
        self.processes: list[SimulatedProcess] = []
        super().__init__(selector)
        selector.loop = self
        self._clock_resolution = 1e-6  # more than the rounding of a float that counts years
        self.set_task_factory(_task)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Jump to the next timer; `seconds` is the distance as asyncio has rounded it."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # sums of floats drift
        self._now = max(self._now, timers[0].when()) if timers else self._now + seconds

    def call_soon(  # type: ignore[override]  # typeshed's is generic
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, by the gate of the callback's process."""
        context = contextvars.copy_context() if context is None else context  # an empty one is false
        process = context.get(_PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(process.run, callback, args, context, context=context)

    def call_at(  # type: ignore[override]  # likewise
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, by the gate of the callback's process."""
        context = contextvars.copy_context() if context is None else context  # an empty one is false
        process = context.get(_PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, process.run, callback, args, context, context=context)

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]  # likewise
        """There are no threads.

        Raises:
            StandsStill: always.
        """
        raise StandsStill("a thread in a simulated world")


def _task(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    context = options.get("context")
    process = (contextvars.copy_context() if context is None else context).get(_PROCESS)
    if process is not None:
        process.keep(task)
    return task


def run_in_virtual_time(main: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end of `main` in virtual time; what still runs then is forgotten."""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda *_: None)  # of tasks that are destroyed with the world
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_dissolve(loop))
        loop.close()


async def _dissolve(loop: VirtualLoop) -> None:
    """End every task, those of killed processes too: left to the collector, their `finally` would run in a later world.

    Nobody looks at the world any more, so it does no harm that the dead clean up.
    """
    own = asyncio.current_task()
    for _ in range(MAX_CANCELS):
        left = [task for task in asyncio.all_tasks(loop) if task is not own]
        if not left:
            return
        for task in left:
            task.cancel()
        for process in loop.processes:
            process.raise_from_the_dead()
        await asyncio.wait(left, timeout=DISSOLVE_SECONDS)
    raise StandsStill(f"{len(left)} tasks do not end")
