"""The system as a stranger sees it: spawned processes, HTTP, AMQP. Nothing of `zenoti_ingest` is imported here."""

import asyncio
import itertools
import json
import os
import secrets
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aiohttp import web

from deploy.local import broker
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
SECRET = "test-secret"
API_KEY = "key-of-the-tests"
SOURCE = "main"
_RUNNER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = itertools.cycle(range(12_000 + 2_000 * (_RUNNER % 10), 14_000 + 2_000 * (_RUNNER % 10)))


class ZenotiApi:
    """A stand-in for the invoice API: answers what a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], list[str]]] = []
        self.answer: Callable[[str], Awaitable[web.Response]] = self.invoice
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen on any port."""
        app = web.Application()
        app.router.add_get("/v1/invoices/{id}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def invoice(self, invoice_id: str) -> web.Response:
        """An invoice with numbers and a field that must come through as they are spelled."""
        return web.Response(body=invoice_body(invoice_id), content_type="application/json")

    async def _handle(self, request: web.Request) -> web.Response:
        invoice_id = request.match_info["id"]
        self.asked.append((invoice_id, dict(request.headers), request.query.getall("expand", [])))
        return await self.answer(invoice_id)


def invoice_document(invoice_id: str) -> bytes:
    """The API's invoice object, as bytes that a re-encoder would change."""
    parts = b'"invoice_items":[],"transactions":[],"appointments":[]'
    odd = b'"total_price":{"sum_total":0.10,"tax":1.0},"new_field":[1e2]'
    return b'{ "id":"%s", %s,%s }' % (invoice_id.encode(), odd, parts)


def invoice_body(invoice_id: str) -> bytes:
    """The API's whole answer."""
    return b'{"invoice": ' + invoice_document(invoice_id) + b', "error": null}'


def event_id(message: AbstractIncomingMessage) -> str:
    """The envelope's own id of what came out; of what has none, the message's."""
    return str(message.headers.get("ce-eventid", message.message_id))


class System:
    """One installation under a prefix of its own: settings, processes, and what the outside does with them."""

    def __init__(self, *, broker_url: str, folder: Path, api: ZenotiApi, connection: AbstractConnection) -> None:
        self.prefix = f"zi-a{secrets.token_hex(4)}"
        self.api = api
        self.connection = connection
        self.folder = folder
        self.port, self.intake_admin, self.consume_admin, self.simulator_port = free_ports(4)
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.door = f"http://127.0.0.1:{self.port}/webhooks/{SOURCE}"
        self.settings = {
            "BROKER__URL": broker_url,
            "BROKER__PREFIX": self.prefix,
            "INTAKE__PORT": str(self.port),
            "INTAKE__ADMIN_PORT": str(self.intake_admin),
            "INTAKE__SPOOL_DIR": str(folder / "spool"),
            "CONSUMER__ADMIN_PORT": str(self.consume_admin),
            "SOURCES__MAIN__WEBHOOK_SECRET": SECRET,
            "SOURCES__MAIN__API_KEY": API_KEY,
            "SOURCES__MAIN__BASE_URL": api.url,
            "SOURCES__MAIN__CALLS_PER_MINUTE": "60000",
            "DOWNSTREAM__ALL__EVENTS": "#",
            "DOWNSTREAM__INVOICES__EVENTS": "invoice.#",
            "RETRY__DELAYS_SECONDS": "1",
            "ARCHIVE__MAX_BYTES": "50000000",
            "LOG__LEVEL": "debug",
        }

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a process of the system."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ZENOTI_INGEST_")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is installed: compiled, which is a quarter of a start
        return inherited | {f"ZENOTI_INGEST_{key}": value for key, value in self.settings.items()}

    async def spawn(
        self, name: str, *arguments: str, program: Sequence[str] = ("-m", "zenoti_ingest")
    ) -> asyncio.subprocess.Process:
        """Start a command that stays; its output goes to a file."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *program, *arguments, cwd=ROOT, env=self.environ, stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    async def start(self) -> None:
        """Intake and consumers, ready."""
        await self.spawn("consume", "consume")
        await self.spawn("intake", "intake")
        await self.ready(self.consume_admin)
        await self.ready(self.intake_admin)

    async def ready(
        self, admin_port: int, *, status: int = 200, whole: bool = True, within: float = 20.0
    ) -> dict[str, Any]:
        """Wait until /readyz answers so, and if it is ready every check holds (`whole`); returns what it said."""

        async def said() -> dict[str, Any] | None:
            try:
                found, _, body = await http("GET", f"http://127.0.0.1:{admin_port}/readyz")
            except aiohttp.ClientError:
                return None
            content: dict[str, Any] = json.loads(body)
            if "checks" not in content:
                return None  # somebody else's answer: the port is not ours yet
            holds = all(check["ok"] for check in content["checks"].values())
            return content if found == status and (holds or status != 200 or not whole) else None

        return await eventually(said, within=within) or {}

    async def run(self, *arguments: str, within: float = 30.0) -> tuple[int, str, str]:
        """Run a command to its end: status, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "zenoti_ingest",
            *arguments,
            cwd=ROOT,
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(within):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def terminate(self, name: str, *, within: float = 28.0) -> int:
        """SIGTERM; returns the exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(within):
            return await process.wait()

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text()

    async def take(self, queue: str, count: int, *, within: float = 15.0) -> list[AbstractIncomingMessage]:
        """Take so many messages out of `<prefix>.<queue>`, and not one more."""
        assert count > 0
        found: list[AbstractIncomingMessage] = []
        async with self.connection.channel() as channel:

            async def keep(message: AbstractIncomingMessage) -> None:
                found.append(message)

            await channel.set_qos(prefetch_count=count)
            source = await channel.get_queue(f"{self.prefix}.{queue}")
            await source.consume(keep)
            await eventually(lambda: len(found) >= count, within=within)
            await found[count - 1].ack(multiple=True)
        return found[:count]

    async def depth(self, queue: str) -> int:
        """Messages ready in `<prefix>.<queue>`."""
        async with self.connection.channel() as channel:
            declared = await channel.declare_queue(f"{self.prefix}.{queue}", passive=True)
            return declared.declaration_result.message_count or 0

    async def stop(self) -> None:
        """End every process, and remove what was declared."""
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()
        code, out, _ = await self.run("topology", "export")
        assert code == 0
        topology = json.loads(out)
        async with self.connection.channel() as channel:
            for queue in topology["queues"]:
                await channel.queue_delete(queue["name"])
            for exchange in topology["exchanges"]:
                await channel.exchange_delete(exchange["name"])


async def http(
    method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None, data: Any = None
) -> tuple[int, Mapping[str, str], bytes]:
    """One request: status, headers, body."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15), auto_decompress=False) as session,
        session.request(method, url, data=body if data is None else data, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, each given once; each test runner has a range of its own."""
    return broker.free_ports(count, _PORTS)


@pytest.fixture
async def system(broker_url: str, tmp_path: Path) -> AsyncIterator[System]:
    """An installation; nothing of it runs yet."""
    api = ZenotiApi()
    await api.start()
    connection = await aio_pika.connect(broker_url)
    made = System(broker_url=broker_url, folder=tmp_path, api=api, connection=connection)
    try:
        yield made
    finally:
        await made.stop()
        await connection.close()
        await api.stop()
