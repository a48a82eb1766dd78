"""Those that are compared: the product and the reference loops, each under a prefix of its own on one broker.

All have the same queues, declared by the product. A reference is a process that says `ready` once it consumes.
"""

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aio_pika.abc import AbstractConnection

from tests.acceptance.conftest import System, ZenotiApi, free_ports
from tests.bench.speed.processes import Helper, cpu_seconds, resident_mib
from tests.bench.speed.queues import Queues

START_SECONDS = 30.0
CALLS_AT_A_TIME = 200  # as many as the references, whose prefetch is their bound
CALLS_PER_MINUTE = 60_000  # the most that can be set: quota off


class Side(ABC):
    """One of them: its queues, and what it has running."""

    def __init__(self, name: str, system: System) -> None:
        self.name = name
        self.system = system
        self.queues = Queues(system.connection, system.prefix)
        self.pids: list[int] = []

    @property
    def port(self) -> int:
        """Of its door."""
        return self.system.port

    def cpu_seconds(self) -> float:
        """What all its processes have spent so far."""
        return cpu_seconds(self.pids)

    def resident_mib(self) -> float:
        """What the largest of its processes holds."""
        return max(map(resident_mib, self.pids))

    def freeze(self) -> None:
        """Hold its processes, so that work can pile up before them."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator["Side"]:
        """Processes, ready: each word is `intake`, `consume`, `enrich`, or `pass-on` (translate alone; no call)."""
        own = list[int]()
        async with AsyncExitStack() as ending:
            for number, word in enumerate(words):
                pid = await self._start(f"{word}-{number}", word, ending)
                own.append(pid)
                self.pids.append(pid)
                ending.callback(self.pids.remove, pid)
            try:
                yield self
            finally:
                for pid in own:
                    os.kill(pid, signal.SIGCONT)

    @abstractmethod
    async def _start(self, name: str, word: str, ending: AsyncExitStack) -> int:
        """Start one process, to be ended with the rest; its number."""


class Ours(Side):
    """The product, all features on, settings as they come but for the quota."""

    async def _start(self, name: str, word: str, ending: AsyncExitStack) -> int:
        system, admin_port = self.system, free_ports(1)[0]
        system.settings |= {"INTAKE__ADMIN_PORT": str(admin_port), "CONSUMER__ADMIN_PORT": str(admin_port)}
        stages = {"pass-on": "translate", "enrich": "enrich"}
        command = ("consume", "--stage", stages[word]) if word in stages else (word,)
        process = await system.spawn(name, *command)
        ending.push_async_callback(_ended, system, name)
        await system.ready(admin_port, within=START_SECONDS)
        return process.pid


class Reference(Side):
    """A loop of ours to compare with, in a module of its own."""

    async def _start(self, name: str, word: str, ending: AsyncExitStack) -> int:
        del name
        environ = {
            "BENCH_BROKER": self.system.settings["BROKER__URL"],
            "BENCH_PREFIX": self.system.prefix,
            "BENCH_PORT": str(self.port),
            "BENCH_API": self.system.settings["SOURCES__MAIN__BASE_URL"],
        }
        helper = await ending.enter_async_context(Helper(self.name, word, environ=environ))
        assert await helper.hear(within=START_SECONDS) == "ready"
        return helper.pid


async def _ended(system: System, name: str) -> None:
    await system.terminate(name)


@asynccontextmanager
async def side(
    kind: type[Side], name: str, *, broker_url: str, folder: Path, api: str, connection: AbstractConnection
) -> AsyncIterator[Side]:
    """A side with everything declared and nothing running; afterwards nothing of it is left on the broker."""
    (folder / name).mkdir()
    system = System(broker_url=broker_url, folder=folder / name, api=ZenotiApi(), connection=connection)
    del system.settings["DOWNSTREAM__INVOICES__EVENTS"]
    system.settings |= {
        "LOG__LEVEL": "info",
        "SOURCES__MAIN__BASE_URL": api,
        "SOURCES__MAIN__CALLS_PER_MINUTE": str(CALLS_PER_MINUTE),
        "SOURCES__MAIN__MAX_IN_FLIGHT": str(CALLS_AT_A_TIME),
    }
    try:
        assert (await system.run("topology", "apply"))[0] == 0
        yield kind(name, system)
    finally:
        async with asyncio.timeout(START_SECONDS * 2):
            await system.stop()
