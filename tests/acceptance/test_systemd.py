"""The daemons under systemd, played from its pages sd_notify(3) and sd_listen_fds(3)."""

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, System, free_ports, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

WATCHDOG_SECONDS = 0.6


class Manager:
    """What systemd has heard."""

    def __init__(self, heard: socket.socket) -> None:
        self._socket = heard
        self.states: list[tuple[str, str, float]] = []

    def heard(self, name: str) -> list[str]:
        """The values of a state so far, in order."""
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except BlockingIOError:
                return [value for state, value, _ in self.states if state == name]
            self.states += [(*line.partition("=")[::2], time.monotonic()) for line in text.split("\n")]


@contextmanager
def manager(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Listen at an address as systemd spells it; processes spawned meanwhile get it."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as heard:
        heard.bind("\0" + address[1:] if address.startswith("@") else address)
        heard.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_SECONDS * 1e6)))
        yield Manager(heard)


@pytest.mark.parametrize(("daemon", "address"), [("intake", "{folder}/notify"), ("consume", "@zi-test-{name}")])
async def test_a_daemon_notifies_the_service_manager(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daemon: str, address: str
) -> None:
    """READY once, when it is ready; a line of status; the watchdog's food in time; STOPPING when it stops."""
    with manager(address.format(folder=tmp_path, name=system.prefix), monkeypatch) as notified:
        await system.spawn(daemon, daemon)
        await eventually(lambda: notified.heard("READY"), within=20)
        await eventually(lambda: any(status.startswith("ready") for status in notified.heard("STATUS")))
        fed = len(notified.heard("WATCHDOG"))
        began = time.monotonic()
        await eventually(lambda: len(notified.heard("WATCHDOG")) >= fed + 4)
        assert time.monotonic() - began < 4 * WATCHDOG_SECONDS
        assert "STOPPING" not in {name for name, _, _ in notified.states}
        assert await system.terminate(daemon) == 0
        assert notified.heard("STOPPING") == ["1"]
        assert notified.heard("READY") == ["1"]


async def test_not_ready_is_not_sent_as_ready(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer without a broker says why it is not ready, in one line, and is fed to the watchdog all the same."""
    (nobody,) = free_ports(1)
    own, system.settings["BROKER__URL"] = system.settings["BROKER__URL"], f"amqp://guest:guest@127.0.0.1:{nobody}/"
    with manager(f"{tmp_path}/notify", monkeypatch) as notified:
        await system.spawn("consume", "consume")
        await eventually(lambda: len(notified.heard("WATCHDOG")) > 2, within=20)
        assert notified.heard("STATUS")[-1].startswith("not ready: publisher: ")
        assert notified.heard("READY") == []
        assert await system.terminate("consume") == 0
    system.settings["BROKER__URL"] = own


async def spawn_with(system: System, listening: socket.socket) -> None:
    """An intake that is handed a listening socket as its file 3, as systemd does it."""
    number = listening.fileno()
    hand_over = (
        f"import os, sys; {number} == 3 or os.dup2({number}, 3); os.set_inheritable(3, True); "
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='door'); "
        "os.execv(sys.executable, [sys.executable, '-m', 'zenoti_ingest', 'intake'])"
    )
    with (system.folder / "intake.log").open("ab") as log:
        system.processes["intake"] = await asyncio.create_subprocess_exec(
            sys.executable, "-c", hand_over, cwd=ROOT, env=system.environ, stdout=log, stderr=log, pass_fds=[number]
        )


async def test_a_restart_loses_no_connection(system: System) -> None:
    """The door takes over systemd's socket; who connects while no process runs is answered by the next."""
    body = b'{"event_id":"e1","event_type":"Guest.Created"}'
    with socket.create_server(("127.0.0.1", 0)) as listening:
        door = f"http://127.0.0.1:{listening.getsockname()[1]}/webhooks/main"
        await spawn_with(system, listening)
        await system.ready(system.intake_admin)
        assert (await http("POST", door, body=body, headers=signed(body)))[0] == 202
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", system.port)
        assert await system.terminate("intake") == 0
        meanwhile = asyncio.create_task(http("POST", door, body=body, headers=signed(body)))
        await spawn_with(system, listening)
        assert (await meanwhile)[0] == 202
        await system.ready(system.intake_admin)

        async def both() -> bool:
            return await system.depth("raw.main") == 2

        await eventually(both, within=10)  # the second by way of the spool, where the broker came later
