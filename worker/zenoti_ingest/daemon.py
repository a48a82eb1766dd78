"""What every daemon has apart from its work: /healthz, /readyz, /metrics, its announced state, systemd notification.

It works on what `app` gives it, and knows neither stages nor settings.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry

from zenoti_ingest import __version__
from zenoti_ingest.adapters.admin_http import AdminHttp, Check
from zenoti_ingest.adapters.clock import utc_now
from zenoti_ingest.adapters.event_loop import LoopWatch, loop_name
from zenoti_ingest.adapters.garbage_collector import collect_garbage
from zenoti_ingest.adapters.systemd import Notify
from zenoti_ingest.telemetry import log, log_repeats
from zenoti_schemas.state import DaemonState, ReceiverState, SourceState, SpoolState

DEFECT_PAUSE_SECONDS: Final = 5.0
READINESS_POLL_SECONDS: Final = 1.0  # how exactly /readyz says since when


class Readiness:
    """The verdict of /readyz.

    Args:
        stop: once set, nothing is ready.
        checks: the dependencies as they stand.
        spools: whether a spool can take what the broker cannot, and the other way round.
    """

    def __init__(self, *, stop: asyncio.Event, checks: Callable[[], Mapping[str, Check]], spools: bool) -> None:
        self._stop, self._checks, self._spools = stop, checks, spools
        self._since: dict[str, tuple[bool, str, str]] = {}

    def __call__(self) -> tuple[bool, Mapping[str, Check]]:
        """The verdict, and the dependencies it rests on, each with since when it is as it is."""
        stopping = self._stop.is_set()
        running = Check(ok=not stopping, state="stopping" if stopping else "running")
        checks = {name: self._dated(name, check) for name, check in {**self._checks(), "process": running}.items()}
        failing = {name for name, check in checks.items() if not check.ok}
        if self._spools and ("spool" not in failing or failing == {"spool"}):
            failing -= {"broker", "topology", "spool"}  # either of broker and spool can take what comes
        return not failing, checks

    def _dated(self, name: str, check: Check) -> Check:
        ok, state, since = self._since.get(name, (None, "", ""))
        if (ok, state) != (check.ok, check.state):
            since = utc_now()
            self._since[name] = (check.ok, check.state, since)
        return msgspec.structs.replace(check, since=since)


class Daemon:
    """One process, as it presents itself.

    Args:
        name: `intake` or `consume`.
        host: of the admin listener.
        port: of the admin listener; if it is taken, one of the next ports.
        ready: the verdict and its dependencies.
        sources: as this process sees them.
        metrics: of the process.
        spool: of an intake.
        receivers: of a consumer, those that do not take their events.
        stranger_refuses: of a consumer.
        clocks: seconds that other processes' clocks are ahead of ours, where they differ.

    Attributes:
        port: of the admin listener, as it is once it runs.
    """

    def __init__(
        self,
        name: str,
        *,
        host: str,
        port: int,
        ready: Callable[[], tuple[bool, Mapping[str, Check]]],
        sources: Callable[[], dict[str, SourceState]],
        metrics: CollectorRegistry,
        spool: Callable[[], SpoolState | None] = lambda: None,
        receivers: Callable[[], dict[str, ReceiverState]] = dict,
        stranger_refuses: Callable[[], bool] = bool,
        clocks: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self._name, self._host, self.port = name, host, port
        self._ready, self._sources, self._metrics, self._spool = ready, sources, metrics, spool
        self._receivers, self._stranger_refuses, self._clocks = receivers, stranger_refuses, clocks
        self._started_at = utc_now()
        self._loop = LoopWatch()
        self._systemd = Notify(os.environ)

    def describe(self) -> DaemonState:
        """The daemon's state as it stands."""
        ready, checks = self._ready()
        troubles = [f"{name}: {check.detail or check.state}" for name, check in checks.items() if not check.ok]
        return DaemonState(
            daemon=self._name,
            instance=instance(),
            version=__version__,
            started_at=self._started_at,
            at=utc_now(),
            ready=ready,
            detail="; ".join(troubles),
            admin_port=self.port,
            sources=self._sources(),
            spool=self._spool(),
            receivers=self._receivers(),
            stranger_refuses=self._stranger_refuses(),
            clocks_ahead_seconds=self._clocks(),
        )

    @asynccontextmanager
    async def running(self, *endless: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.TaskGroup]:
        """Announce it, and run what never ends, while the body runs; a failure of either ends both."""
        http = AdminHttp(self._ready, loop=self._loop, registry=self._metrics)
        try:
            self.port = await http.listen(host=self._host, port=self.port)
            at = {"host": self._host, "port": self.port}
            log.info("admin_listening", daemon=self._name, **at, version=__version__, event_loop=loop_name())
            systemd = self._systemd.run(is_ready=lambda: self._ready()[0], status=self._one_line)
            own = (self._loop.run(), collect_garbage(), systemd, self._check())
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(coroutine) for coroutine in (*endless, *own)]
                try:
                    yield group
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            await http.close()
            log_repeats(at_the_end=True)
        log.info("stopped", daemon=self._name)

    def stopping(self) -> None:
        """It takes nothing more."""
        log.info("stopping", daemon=self._name)
        self._systemd.notify(STOPPING="1", STATUS="finishing what is in hand")

    async def _check(self) -> None:
        while True:
            self._ready()
            log_repeats()
            await asyncio.sleep(READINESS_POLL_SECONDS)

    def _one_line(self) -> str:
        said = self.describe()
        parts = ["ready" if said.ready else f"not ready: {said.detail}"]
        if said.spool is not None and said.spool.events:
            parts.append(f"{said.spool.events} in the spool")
        parts += [f"{name}: circuit {source.circuit}" for name, source in said.sources.items() if source.circuit]
        return "; ".join(parts)


async def kept_up(
    work: Callable[[], Coroutine[Any, Any, None]], *, name: str, ended_by: tuple[type[Exception], ...] = ()
) -> None:
    """Run what never ends, again after whatever nobody foresaw: no error of the broker's side ends a daemon.

    Args:
        work: what to run.
        name: of it, in the log.
        ended_by: the kinds of error that are meant to end the daemon.

    Raises:
        Exception: of a kind in `ended_by`.
    """
    task = asyncio.current_task()
    while True:
        try:
            await work()
        except ended_by:
            raise
        except asyncio.CancelledError:
            if task is not None and task.cancelling() > 0:
                raise
            log.exception("defect", stage=name)  # a library has cancelled what was not its own
        except Exception:  # noqa: BLE001  # see above
            log.exception("defect", stage=name)
        await asyncio.sleep(DEFECT_PAUSE_SECONDS)


def instance() -> str:
    """This process among all."""
    return f"{socket.gethostname()}-{os.getpid()}"
