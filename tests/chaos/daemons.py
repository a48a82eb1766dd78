"""The product's processes: two of each kind, as an operator would run them, and what may befall them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import aiohttp

from tests.acceptance.conftest import API_KEY, ROOT, SECRET, SOURCE, free_ports, http
from tests.chaos.events import DOWNSTREAMS, PREFIX

DRAIN_SECONDS = 8.0
EXIT_SECONDS = DRAIN_SECONDS + 7  # beside the drain: the close of what hangs, on a busy machine
READY_SECONDS = 60.0


class Daemon:
    """One process, again and again."""

    def __init__(
        self, name: str, arguments: tuple[str, ...], settings: Mapping[str, str], *, folder: Path, guard: IO[bytes]
    ) -> None:
        self.name = name
        self.kind = name.partition("-")[0]
        self.port, self.admin_port = free_ports(2)
        self.process: asyncio.subprocess.Process | None = None
        part = "INTAKE" if self.kind == "intake" else "CONSUMER"
        own = {"INTAKE__PORT": str(self.port), f"{part}__ADMIN_PORT": str(self.admin_port)}
        self.program: tuple[str, ...] = ("-m", "zenoti_ingest")
        self._settings = {**settings, **own}
        self._arguments = arguments
        self.log = folder / f"{name}.log"
        self._guard = guard

    @property
    def door(self) -> str:
        """Where an intake takes webhooks."""
        return f"http://127.0.0.1:{self.port}/webhooks/{SOURCE}"

    async def start(self) -> None:
        """Start it; it may take a second until it works."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.program,
                *self._arguments,
                cwd=ROOT,
                env=_environ(self._settings),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard.write(b"%d\n" % self.process.pid)

    def change(self, settings: Mapping[str, str]) -> None:
        """It has these settings from its next start on."""
        self._settings |= settings

    async def ready(self) -> None:
        """Return once /readyz says so."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                try:
                    status, _, _ = await http("GET", f"http://127.0.0.1:{self.admin_port}/readyz")
                except (OSError, aiohttp.ClientError):
                    status = 0
                if status == 200:
                    return
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> str:
        """SIGTERM; returns what is wrong with how it ended, empty where nothing is."""
        try:
            status = await self._end(signal.SIGTERM)
        except TimeoutError:
            await self.kill()
            return f"{self.name} did not end within {EXIT_SECONDS:g} s after SIGTERM"
        return f"{self.name} ended with {status} after SIGTERM" if status else ""

    async def again(self) -> str:
        """SIGTERM, and a start; returns as `terminate`, once it is ready."""
        complaint = await self.terminate()
        await self.start()
        await self.ready()
        return complaint

    def freeze(self) -> None:
        """SIGSTOP."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def died(self) -> bool:
        """Whether it has ended without a request to end."""
        return self._running().returncode is not None

    def resident_kib(self) -> int:
        """The memory that it holds."""
        lines = Path(f"/proc/{self._running().pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    async def _end(self, number: signal.Signals) -> int:
        process = self._running()
        if process.returncode is None:
            process.send_signal(number)
        async with asyncio.timeout(EXIT_SECONDS):
            return await process.wait()

    def _running(self) -> asyncio.subprocess.Process:
        assert self.process is not None, f"{self.name} was never started"
        return self.process


COMMANDS = {
    "intake": ("intake",),
    "translate": ("consume", "--stage", "translate"),
    "enrich": ("consume", "--stage", "enrich"),
}


def settings_of(*, broker_url: str, api_url: str, folder: Path) -> dict[str, str]:
    """The configuration of every daemon: time-outs and delays are short."""
    return {
        "BROKER__URL": broker_url,
        "BROKER__PREFIX": PREFIX,
        "INTAKE__SPOOL_DIR": str(folder / "spool"),
        "INTAKE__DRAIN_SECONDS": str(DRAIN_SECONDS),
        "CONSUMER__DRAIN_SECONDS": str(DRAIN_SECONDS),
        "CONSUMER__LEASE_SECONDS": "1",
        "SOURCES__MAIN__WEBHOOK_SECRET": SECRET,
        "SOURCES__MAIN__API_KEY": API_KEY,
        "SOURCES__MAIN__BASE_URL": api_url,
        "SOURCES__MAIN__CALLS_PER_MINUTE": "60000",
        "SOURCES__MAIN__CALL_SECONDS": "2",
        "RETRY__DELAYS_SECONDS": "1,2",
        "ARCHIVE__MAX_BYTES": "50000000",
        **{f"DOWNSTREAM__{name}__EVENTS": events for name, events in DOWNSTREAMS.items()},
    }


async def declare(settings: Mapping[str, str], *, within: float = 60.0) -> list[str]:
    """`topology apply`, then the names of our queues that hold events (streams and batons are left out)."""
    await _run("topology", "apply", settings=settings, within=within)
    exported = json.loads(await _run("topology", "export", settings=settings, within=within))
    quorum = [queue["name"] for queue in exported["queues"] if queue["arguments"]["x-queue-type"] == "quorum"]
    return [name for name in quorum if not name.endswith(".turn")]


async def _run(*arguments: str, settings: Mapping[str, str], within: float) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "zenoti_ingest",
        *arguments,
        cwd=ROOT,
        env=_environ(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(within):
        said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"zenoti-ingest {' '.join(arguments)} ended with {process.returncode}")
    return said.decode()


def _environ(settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ZENOTI_INGEST_")}
    return inherited | {f"ZENOTI_INGEST_{key}": value for key, value in settings.items()}
