"""The suite's own RabbitMQ nodes, single or as a cluster, to be killed, stopped, frozen and parted from each other."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO

from deploy.local import broker as local
from tests.proxy import Proxy

BOOT_SECONDS = 150.0
STOP_SECONDS = 60.0
COMMAND_SECONDS = 60.0
QUERY = "?heartbeat=3"  # a connection that hangs is noticed after 12 s instead of 33
_COOKIE = "zenotiingestchaos"
_WRONG_COOKIE = "parted"


class Node:
    """One node: its process comes and goes, its data stay."""

    def __init__(self, name: str, environ: dict[str, str], programs: Path, *, log: Path, guard: IO[bytes]) -> None:
        self.name = name
        self.erlang_name = environ["RABBITMQ_NODENAME"]
        self.url = f"amqp://guest:guest@127.0.0.1:{environ['RABBITMQ_NODE_PORT']}/{QUERY}"
        self._environ = environ
        self._programs = programs
        self._log = log
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it on its data; returns once it greets."""
        with self._log.open("ab") as log:
            self._process = local.spawn([str(self._programs / "rabbitmq-server")], self._environ, log)
        self._guard.write(b"%d\n" % self._process.pid)
        async with asyncio.timeout(BOOT_SECONDS):
            while await asyncio.to_thread(local.silence_of, self.url):
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} died as it started: see {self._log}")
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """SIGKILL, to it and all its children."""
        self._signal(signal.SIGKILL)
        await self._ended(STOP_SECONDS)

    async def stop(self) -> None:
        """SIGTERM: it closes its queues in order."""
        self._signal(signal.SIGTERM)
        try:
            await self._ended(STOP_SECONDS)
        except TimeoutError:  # in a cluster without a majority it may wait for ever
            await self.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def control(self, *arguments: str) -> str:
        """Run rabbitmqctl; returns what it printed."""
        command = [str(self._programs / "rabbitmqctl"), "-q", *arguments]
        process = await asyncio.create_subprocess_exec(
            *command, env=self._environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            raise
        if process.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]} on {self.name}: {said.decode(errors='replace')[-400:]}")
        return said.decode()

    async def part_from(self, others: Sequence["Node"]) -> None:
        """Let it talk to the others no more: Erlang refuses a stranger's cookie."""
        await self.control("eval", _each(others, f"erlang:set_cookie(N, '{_WRONG_COOKIE}'), erlang:disconnect_node(N)"))

    async def join_again(self, others: Sequence["Node"]) -> None:
        """Undo that."""
        await self.control("eval", _each(others, f"erlang:set_cookie(N, '{_COOKIE}'), net_kernel:connect_node(N)"))

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    async def _ended(self, within: float) -> None:
        async with asyncio.timeout(within):
            while self._process is not None and self._process.poll() is None:
                await asyncio.sleep(0.02)


class Broker:
    """The nodes, and before each of them a proxy: the product goes by the proxies, the suite's own hands do not."""

    def __init__(self, nodes: Sequence[Node], proxies: Sequence[Proxy]) -> None:
        self.nodes = nodes
        self.proxies = proxies

    @property
    def urls(self) -> list[str]:
        """The nodes directly."""
        return [node.url for node in self.nodes]

    def urls_by_proxy(self, first: int) -> str:
        """The setting `broker.url`, with the nodes in turn from the given node."""
        urls = [proxy.url for proxy in self.proxies]
        at = first % len(urls)
        return ",".join(urls[at:] + urls[:at])


@asynccontextmanager
async def running(
    count: int, *, programs: Path, folder: Path, config: str = "", advanced: str = ""
) -> AsyncIterator[Broker]:
    """Start so many nodes, a cluster where they are several; afterwards no process and no file of theirs is left.

    Args:
        count: of nodes.
        programs: the folder with rabbitmq-server and rabbitmqctl.
        folder: where their logs go.
        config: lines for rabbitmq.conf.
        advanced: the text of advanced.config.
    """
    path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath), str(programs.parent / "bin")])
    epmd = shutil.which("epmd", path=path)
    if epmd is None:
        raise SystemExit("chaos: Erlang's epmd is not on PATH; put the bin folder of RabbitMQ's Erlang there")
    async with AsyncExitStack() as undo:
        home, guard = undo.enter_context(local.guarded_home())
        epmd_port, *ports = local.free_ports(1 + 2 * count, local.any_ports())
        names = [f"{home.name}-{number + 1}" for number in range(count)]
        nodes = []
        with (folder / "epmd.log").open("ab") as log:
            server = local.spawn([epmd, "-port", str(epmd_port), "-address", "127.0.0.1"], os.environ, log)
        guard.write(b"%d\n" % server.pid)
        undo.callback(local.stop, server, grace=0)
        for number, name in enumerate(names):
            node_home = home / name
            node_home.mkdir(mode=0o700)
            environ = local.node_environment(node_home, (*ports[2 * number : 2 * number + 2], epmd_port), path)
            _configure(node_home, config=config + _cluster(names), advanced=advanced)
            log_file = folder / f"node-{number + 1}.log"
            node = Node(f"node {number + 1}", environ, programs, log=log_file, guard=guard)
            nodes.append(node)
            undo.push_async_callback(node.kill)
        await asyncio.gather(*(node.start() for node in nodes))
        if count > 1:
            await nodes[0].control("await_online_nodes", str(count))
        proxies = [await undo.enter_async_context(Proxy(node.url)) for node in nodes]
        yield Broker(nodes, proxies)


def _configure(home: Path, *, config: str, advanced: str) -> None:
    cookie = home / ".erlang.cookie"
    cookie.write_text(_COOKIE)
    cookie.chmod(0o400)
    with (home / "rabbitmq.conf").open("a") as file:
        file.write(config)
    if advanced:
        (home / "advanced.config").write_text(advanced)


def _cluster(names: Sequence[str]) -> str:
    """Who belongs together, and that a minority pauses instead of going its own way."""
    if len(names) == 1:
        return ""
    members = [
        f"cluster_formation.classic_config.nodes.{number + 1} = zenoti-{name}@localhost"
        for number, name in enumerate(names)
    ]
    lines = ["cluster_formation.peer_discovery_backend = classic_config", *members]
    return "\n".join([*lines, "cluster_partition_handling = pause_minority", ""])


def _each(nodes: Sequence[Node], action: str) -> str:
    names = ", ".join(f"'{node.erlang_name}'" for node in nodes)
    return f"[begin {action} end || N <- [{names}]]."
