"""What processes spend and hold, read from /proc; and a helper process that we talk to line by line."""

import asyncio
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests.acceptance.conftest import ROOT

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
LISTENING = "0A"
END_SECONDS = 10.0


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that processes have spent so far, in steps of 10 ms."""
    return sum(_ticks(pid) for pid in pids) / TICKS_A_SECOND


def resident_mib(pid: int) -> float:
    """The memory that a process holds."""
    found = re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


class Withheld:
    """The share of the CPU that a hypervisor has given to others since it was made: runs with much of it say little."""

    def __init__(self) -> None:
        self._before = self._read()

    def percent(self) -> float:
        """So far."""
        stolen, all_of_it = (now - then for now, then in zip(self._read(), self._before, strict=True))
        return 100 * stolen / max(1, all_of_it)

    @staticmethod
    def _read() -> tuple[int, int]:
        user, nice, system, idle, waiting, *interrupts, stolen = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        return stolen, sum((user, nice, system, idle, waiting, stolen, *interrupts))


def listener(port: int) -> int | None:
    """The process that listens on a port of this machine; None if it cannot be found."""
    wanted = {
        f"socket:[{fields[9]}]"
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(link.readlink()) in wanted for link in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue  # it has ended, or is somebody else's
    return None


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Helper:
    """A process that answers a line by a line, from being entered until it is left."""

    def __init__(self, module: str, *words: str, environ: Mapping[str, str] | None = None) -> None:
        self._command = (sys.executable, "-m", f"tests.bench.speed.{module}", *words)
        self._environ = dict(os.environ) | dict(environ or {})
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._talking().pid

    async def __aenter__(self) -> Self:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, env=self._environ, stdin=pipe, stdout=pipe, limit=2**26
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        process = self._talking()
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(END_SECONDS):
            await process.wait()

    async def hear(self, *, within: float) -> str:
        """Its next line; fails where it says nothing, or has ended."""
        process = self._talking()
        assert process.stdout is not None
        async with asyncio.timeout(within):
            line = await process.stdout.readline()
        assert line, f"it ended: {' '.join(self._command)}"
        return line.decode().strip()

    async def ask(self, line: str, *, within: float) -> str:
        """Say something, and hear what it answers."""
        process = self._talking()
        assert process.stdin is not None
        process.stdin.write(line.encode() + b"\n")
        return await self.hear(within=within)

    def _talking(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process
