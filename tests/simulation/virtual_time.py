"""An event loop whose clock jumps to the next timer when nothing is ready, and processes that can be killed or frozen.

Nothing sleeps, and no socket or thread is used, so the same program takes the same steps each time.
"""

import asyncio
import contextvars
import gc
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

MAX_TURNS_WITHOUT_TIME = 200_000
MAX_CANCELS = 10
DISSOLVE_SECONDS = 100.0
BEGINNING_SECONDS = 1_000.0


class StandsStill(Exception):
    """Nothing can happen any more, or so much happens that no time passes."""


class Defect(Exception):
    """Something that the event loop complains of."""


class SimulatedProcess:
    """A process: its callbacks run, are dropped once it was killed, or wait while it is frozen.

    What is on the wire belongs to no process, and still arrives.

    Attributes:
        name: for traces.
        is_killed: nothing of it runs any more, not even a `finally`.
        stands_still: it was killed, or is frozen.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_killed = False
        self._is_frozen = False
        self.stands_still = False
        self._held: deque[asyncio.Handle] = deque()
        self._tasks: list[asyncio.Task[Any]] = []  # kept, or the collector would run the `finally` of killed tasks
        self._loop = asyncio.get_running_loop()
        if isinstance(self._loop, VirtualLoop):
            self._loop.processes.append(self)
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this process."""
        task = self._loop.create_task(work, context=self.context.copy())
        self._tasks.append(task)
        return task

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Remember a task that the process has begun by itself."""
        self._tasks.append(task)

    def kill(self) -> None:
        """As kill -9 does: nothing of it runs any more. What would have run is kept for the end of the world."""
        self.is_killed = self.stands_still = True

    def raise_from_the_dead(self) -> None:
        """At the end of the world: let everything run that was dropped or held, so that its tasks can end."""
        self.is_killed = False
        self.thaw()

    def freeze(self) -> None:
        """As SIGSTOP does."""
        self._is_frozen = self.stands_still = True

    def thaw(self) -> None:
        """As SIGCONT does: what has waited runs in the order in which it came."""
        self._is_frozen = False
        self.stands_still = self.is_killed
        held, self._held = self._held, deque()
        if isinstance(self._loop, VirtualLoop):
            self._loop.run_again(held)

    def keep_for_later(self, handle: asyncio.Handle) -> None:
        """Keep a callback that came while the process stood still."""
        self._held.append(handle)


_PROCESS: contextvars.ContextVar[SimulatedProcess | None] = contextvars.ContextVar("process", default=None)
WIRE = contextvars.Context()  # of no process


class DirectExecutor(Executor):
    """Runs every action in the caller's thread; one that waits for the result blocks nobody."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As the standard library's; the future is done."""
        done: Future[R] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # the future raises it
            done.set_exception(error)
        return done

    def run_on(self, loop: asyncio.AbstractEventLoop, action: Callable[[], R]) -> asyncio.Future[R]:
        """What `run_in_executor` of a loop in virtual time returns: here, done at once."""
        return asyncio.wrap_future(self.submit(action), loop=loop)


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time: where nothing is ready, the clock jumps to the next timer.

    Callbacks of a process that was killed or is frozen are kept instead of run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[SimulatedProcess] = []
        self._now = BEGINNING_SECONDS
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []  # those of one moment in the order they came in
        self._numbers = itertools.count()
        self._turns = 0
        self.set_task_factory(_task)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now

    def call_soon(  # type: ignore[override]  # typeshed's is generic
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's."""
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # likewise
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`: there are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]  # likewise
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]  # likewise
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def run_again(self, handles: Iterable[asyncio.Handle]) -> None:
        """Let callbacks run that were kept."""
        self._soon.extend(handles)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], R], *args: *Ts
    ) -> asyncio.Future[R]:
        """As asyncio's, for executors without threads.

        Raises:
            StandsStill: it is another executor.
        """
        if not isinstance(executor, DirectExecutor):
            raise StandsStill("a thread in a simulated world")
        return executor.run_on(self, lambda: func(*args))

    def _run_once(self) -> None:
        """One turn: what is ready now, and not what it makes ready."""
        timers, soon = self._timers, self._soon
        self._turns += 1
        if not soon:
            while timers and timers[0][2]._cancelled:  # noqa: SLF001  # half the time of a call
                heapq.heappop(timers)
            if not timers:
                raise StandsStill("nothing is left to happen")
            if timers[0][0] > self._now:
                self._now, self._turns = timers[0][0], 0
        if self._turns > MAX_TURNS_WITHOUT_TIME:
            raise StandsStill(f"{self._turns} turns of the event loop at one moment")
        while timers and timers[0][0] <= self._now:
            soon.append(heapq.heappop(timers)[2])
        for _ in range(len(soon)):
            handle = soon.popleft()
            if handle._cancelled:  # noqa: SLF001  # likewise
                continue
            process = handle._context.get(_PROCESS)  # type: ignore[attr-defined]  # noqa: SLF001  # nothing public says it
            if process is not None and process.stands_still:
                process.keep_for_later(handle)
            else:
                handle._run()  # noqa: SLF001  # as asyncio's own loop does

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """As asyncio's; a cancelled timer goes when its time comes."""


def _task(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    context = options.get("context")
    process = (contextvars.copy_context() if context is None else context).get(_PROCESS)
    if process is not None:
        process.keep(task)
    return task


def run_in_virtual_time(main: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end of `main` in virtual time; what still runs then is forgotten.

    Raises:
        BaseException: of `main`, or the first that a callback or a forgotten task has raised meanwhile.
    """
    loop = VirtualLoop()
    found: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: found.append(context.get("exception") or Defect(context["message"])))
    gc.disable()  # a tenth of the time, and a world is small
    try:
        result = loop.run_until_complete(main)
        if found:
            raise found[0]
        return result
    finally:
        loop.set_exception_handler(lambda *_: None)  # of tasks that are destroyed with the world
        loop.run_until_complete(_dissolve(loop))
        loop.close()
        gc.enable()


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
