"""A RabbitMQ of our own: users and rights as `topology export --users` prints them, TLS as deploy/rabbitmq has it."""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import pytest
from yarl import URL

from deploy.local import broker
from tests.acceptance.conftest import ROOT, System, ZenotiApi, free_ports

PREFIX = "zi.users"
ROLES = ("intake", "consumers", "operator")
SOURCE = {"SOURCES__MAIN__WEBHOOK_SECRET": "test-secret", "DOWNSTREAM__ALL__EVENTS": "#"}
# A CA says that it may sign: Python verifies strictly from 3.13 on.
STEPS = """
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -addext keyUsage=keyCertSign -keyout ca.key -out ca.pem
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -addext keyUsage=keyCertSign -keyout another.key -out another.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr
openssl x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out server.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=client -keyout client.key -out client.csr
openssl x509 -req -days 2 -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out client.pem
openssl x509 -req -days 2 -in client.csr -CA another.pem -CAkey another.key -CAcreateserial -out stranger.pem
"""


@dataclass
class Guarded:
    """A broker that knows three users, and takes TLS with client certificates beside plain connections."""

    url: URL
    tls_port: int
    passwords: dict[str, str]
    tls: Path

    def url_of(self, role: str) -> str:
        """The address as one of the users."""
        return str(self.url.with_user(f"{PREFIX}-{role}").with_password(self.passwords[role]))

    def tls_url_of(self, role: str, *, host: str = "localhost", ca: str = "ca", certificate: str = "client") -> str:
        """The same by TLS; without a client certificate if its name is empty."""
        files = {"cafile": str(self.tls / f"{ca}.pem")}
        if certificate:
            files |= {"certfile": str(self.tls / f"{certificate}.pem"), "keyfile": str(self.tls / "client.key")}
        at = URL(self.url_of(role)).with_scheme("amqps").with_host(host).with_port(self.tls_port)
        return str(at.with_query(files))


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs them all: they share a broker, and with it a node's name."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("guarded"))


class _Unsignalled(broker.Signals):
    """Signals are the test runner's."""

    def __init__(self) -> None:
        self._early = []


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The broker, for all of these tests: users and rights as exported, TLS as deployed."""
    server = shutil.which("rabbitmq-server", path=broker.usual_places())
    if server is None or shutil.which("openssl") is None:
        pytest.skip("a broker of its own needs rabbitmq-server, its certificates openssl; tests install nothing")
    folder = tmp_path_factory.mktemp("guarded")
    folder.chmod(0o755)
    passwords = {role: secrets.token_urlsafe(24) for role in ROLES}
    for role, password in passwords.items():
        (folder / role).write_text(f"{password}\n")
    (folder / "definitions.json").write_text(exported(folder))
    (folder / "names").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    for step in filter(None, STEPS.splitlines()):
        subprocess.run(step.split(), cwd=folder, check=True, capture_output=True, timeout=60)  # noqa: S603  our own words
    [tls_port] = free_ports(1)
    config = (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text()
    for ours, deployed in (
        (str(folder), "/etc/rabbitmq/tls"),
        (str(folder), "/etc/rabbitmq"),
        (f"127.0.0.1:{tls_port}", "5671"),
        ("", "listeners.tcp = none"),  # plain connections too: most of these tests are not about TLS
    ):
        assert deployed in config
        config = config.replace(deployed, ours)
    with broker.private_node(server, _Unsignalled(), verbose=False, config=config) as url:
        yield Guarded(URL(url), tls_port, passwords, folder)


def exported(folder: Path, **settings: str) -> str:
    """What `topology export --users` prints."""
    environ = {"PATH": os.environ["PATH"], "ZENOTI_INGEST_BROKER__PREFIX": PREFIX}
    environ |= {f"ZENOTI_INGEST_{key}": value for key, value in (SOURCE | settings).items()}
    command = [sys.executable, "-m", "zenoti_ingest", "topology", "export", "--users", str(folder)]
    done = subprocess.run(  # noqa: S603  our own words
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["users"]
    return done.stdout


class Installation(System):
    """An installation whose daemons and commands each have a user of their own, and may declare nothing."""

    guarded: Guarded

    async def as_role(self, role: str, *arguments: str) -> tuple[int, str, str]:
        """Run a command as one of the users."""
        self.settings["BROKER__URL"] = self.guarded.url_of(role)
        return await self.run(*arguments)

    async def spawn_as(self, role: str, command: str) -> asyncio.subprocess.Process:
        """Start a daemon as its user, whose password it has from a file."""
        secret = self.folder / f"{role}.url"
        secret.write_text(self.guarded.url_of(role))
        self.settings.pop("BROKER__URL", None)
        self.settings["BROKER__URL_FILE"] = str(secret)
        process = await self.spawn(command, command)
        del self.settings["BROKER__URL_FILE"]
        return process

    async def stop(self) -> None:
        """End every process; the broker ends with the tests."""
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
async def installation(guarded: Guarded, tmp_path: Path) -> AsyncIterator[Installation]:
    """Nothing of it runs yet; the connection is the operator's; its queues are empty."""
    api = ZenotiApi()
    await api.start()
    connection = await aio_pika.connect(guarded.url_of("operator"))
    made = Installation(broker_url="", folder=tmp_path, api=api, connection=connection)
    made.guarded, made.prefix = guarded, PREFIX
    del made.settings["DOWNSTREAM__INVOICES__EVENTS"]
    made.settings |= {"BROKER__PREFIX": PREFIX, "BROKER__DECLARE": "false"}
    made.settings |= {"RETRY__DELAYS_SECONDS": "5,30,120,600", "ARCHIVE__MAX_BYTES": str(10 * 1024**3)}
    try:
        yield made
    finally:
        await made.stop()
        await connection.close()
        await api.stop()
