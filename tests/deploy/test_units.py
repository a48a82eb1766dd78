"""The units of deploy/systemd as systemd would run them: their command, environment, socket and times, played here."""

import asyncio
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.conftest import API_KEY, SECRET, System, http
from tests.acceptance.signing import signed
from tests.deploy.conftest import DEPLOY, ROOT
from tests.eventually import eventually

UNITS = DEPLOY / "systemd"
HAND_OVER = (
    "import os, sys; sys.argv[1] == '3' or os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
)


def lines(unit: str, key: str, folder: Path) -> list[str]:
    """The values of a key in a unit, its places moved beneath a folder; the instance is 1."""
    text = (UNITS / unit).read_text().replace("%i", "1")
    for place in ("/etc/zenoti-ingest", "/var/lib/zenoti-ingest"):
        text = text.replace(place, f"{folder}{place}")
    text = text.replace("/opt/zenoti-ingest/bin", str(Path(sys.executable).parent))
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def environment(unit: str, system: System, more: Mapping[str, str]) -> dict[str, str]:
    """The unit's environment; beside it what keeps this installation apart from others on the machine."""
    ours = dict(line.split("=", 1) for line in lines(unit, "Environment", system.folder))
    apart = {"BROKER__PREFIX", "INTAKE__ADMIN_PORT", "CONSUMER__ADMIN_PORT", "SOURCES__MAIN__BASE_URL"}
    apart_from_others = {f"ZENOTI_INGEST_{key}": value for key, value in system.settings.items() if key in apart}
    return {"PATH": "/usr/bin:/bin", **ours, **apart_from_others, **more}


def install(system: System) -> None:
    """Configuration and secrets, where the units look for them."""
    secrets = system.folder / "etc/zenoti-ingest/secrets"
    secrets.mkdir(parents=True)
    (secrets.parent / "zenoti.toml").write_text((DEPLOY / "zenoti.toml").read_text())
    broker = system.settings["BROKER__URL"]
    credentials = {
        "broker_url_intake": broker,
        "broker_url_consumers": broker,
        "webhook_secret": SECRET,
        "api_key": API_KEY,
    }
    for name, text in {**credentials, "webhook_token": "test-token"}.items():
        (secrets / name).write_text(f"{text}\n")


async def start(unit: str, system: System, manager: socket.socket, listening: socket.socket | None) -> None:
    """As the service manager does it; returns once the daemon has said that it is ready."""
    (command,), (seconds,) = lines(unit, "ExecStart", system.folder), lines(unit, "WatchdogSec", system.folder)
    assert lines(unit, "Type", system.folder) == ["notify"]
    notify = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": str(int(seconds) * 1_000_000)}
    words = command.split()
    given = (sys.executable, "-c", HAND_OVER, str(listening.fileno())) if listening else ()
    with (system.folder / f"{unit}.log").open("ab") as log:
        system.processes[unit] = await asyncio.create_subprocess_exec(
            *(*given, *words),
            cwd=ROOT,
            env=environment(unit, system, notify),
            stdout=log,
            stderr=log,
            pass_fds=[listening.fileno()] if listening else (),
        )
    heard: list[str] = []

    def is_ready() -> bool:
        try:
            heard.append(manager.recv(65536).decode())
        except BlockingIOError:
            return False
        return "READY=1" in heard[-1].split("\n")

    await eventually(is_ready, within=30)


async def test_the_units_work_together(system: System) -> None:
    """The door by its socket unit and a consumer of the template: a webhook comes out, and both stop in their time."""
    install(system)
    system.settings["DOWNSTREAM__CRM__EVENTS"] = "guest.#"
    for key in (
        "DOWNSTREAM__ALL__EVENTS",
        "DOWNSTREAM__INVOICES__EVENTS",
        "RETRY__DELAYS_SECONDS",
        "ARCHIVE__MAX_BYTES",
    ):
        del system.settings[key]  # the topology is to be that of deploy's own configuration
    system.settings["DOWNSTREAM__ACCOUNTING__EVENTS"] = "invoice.*"
    assert (await system.run("topology", "apply"))[0] == 0
    (address,) = lines("zenoti-ingest-intake.socket", "ListenStream", system.folder)
    host = address.rpartition(":")[0]
    with (
        socket.create_server((host, 0)) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(system.folder / "notify"))
        manager.setblocking(False)
        await start("zenoti-ingest-intake.service", system, manager, listening)
        await start("zenoti-ingest-consume@.service", system, manager, None)
        body = b'{"event_id":"e1","event_type":"Guest.Created","data":{"id":"g"}}'
        door = f"http://{host}:{listening.getsockname()[1]}/webhooks/main?token=test-token"
        assert (await http("POST", door, body=body, headers=signed(body)))[0] == 202
        (message,) = await system.take("out.crm", 1)
        assert message.headers["ce-eventid"] == "e1"
        for unit in ("zenoti-ingest-intake.service", "zenoti-ingest-consume@.service"):
            (seconds,) = lines(unit, "TimeoutStopSec", system.folder)
            assert await system.terminate(unit, within=float(seconds)) == 0
    assert list((system.folder / "var/lib/zenoti-ingest/spool").glob("*/*")) == []
