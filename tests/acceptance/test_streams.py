"""Commands whose stdin, stdout or stderr is not what it should be, and commands whose terminal goes."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import Iterator, Sequence

import pytest
from aio_pika import DeliveryMode, Message
from aiormq.abc import FieldValue

from tests.acceptance.conftest import ROOT, System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

WAYS = {
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "stdout closed": ">&- 2>>{log}",
    "stderr on a full disk": "2>/dev/full",
}
EVENTS = 20


@pytest.fixture(autouse=True)
def _hears_a_hang_up() -> Iterator[None]:
    """Processes heed `nohup`, so one under which the tests run must not be handed on to those started here."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


async def spawn(system: System, name: str, command: str) -> None:
    """Start a daemon by a shell's command, which becomes it."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f"exec {sys.executable} -m zenoti_ingest {command}", cwd=ROOT, env=system.environ
    )
    system.processes[name] = process


async def post(system: System, count: int = EVENTS) -> None:
    """Events at the door, each taken."""
    for number in range(count):
        body = json.dumps({"event_id": f"e-{number}", "event_type": "Guest.Created", "data": {"id": number}}).encode()
        assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202


async def lines_lost(admin_port: int) -> float:
    """What the daemon says of lines that it could not write."""
    _, _, body = await http("GET", f"http://127.0.0.1:{admin_port}/metrics")
    return float(body.decode().partition("\nzenoti_log_lines_lost_total ")[2].split()[0])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_daemons_run_on_without_their_streams(system: System, way: str) -> None:
    """They take and pass on every event, count the lines that are lost, and end with 0."""
    for name in ("consume", "intake"):
        await spawn(system, name, f"{name} {way.format(log=system.folder / name)}")
    for port in (system.intake_admin, system.consume_admin):
        await system.ready(port)
    await post(system)
    await system.take("out.all", EVENTS)
    for port in (system.intake_admin, system.consume_admin):
        assert (await lines_lost(port) > 0) == ("{log}" not in way)
    for name in ("consume", "intake"):
        assert await system.terminate(name) == 0
    spooled = [
        file for file in (system.folder / "spool").rglob("*") if file.is_file() and b"timestamp" in file.read_bytes()
    ]
    assert not spooled, "no line of a log went into another file"


async def test_a_reader_of_stderr_that_goes(system: System) -> None:
    """A log collector that has ended ends no daemon."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "zenoti_ingest", "intake", cwd=ROOT, env=system.environ, stderr=asyncio.subprocess.PIPE
    )
    system.processes["intake"] = process
    await system.ready(system.intake_admin)
    assert process.stderr is not None
    process.stderr._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001  # the reader has no other end
    await post(system)
    assert await eventually(lambda: lines_lost(system.intake_admin), within=5) >= 1
    assert await system.terminate("intake") == 0


@pytest.mark.parametrize(
    "turns", [[signal.SIGHUP], [signal.SIGHUP] * 3, [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]]
)
async def test_sighup_drains(system: System, turns: Sequence[signal.Signals]) -> None:
    """Like SIGTERM; a second SIGHUP, or a SIGHUP beside a SIGTERM, hurries nobody: shell and kernel both send it."""
    await system.start()
    await post(system)
    processes = [system.processes.pop(name) for name in ("intake", "consume")]
    for number in turns:
        for process in processes:
            process.send_signal(number)
    async with asyncio.timeout(20):
        assert [await process.wait() for process in processes] == [0, 0]
    for name in ("intake", "consume"):
        assert {"stopping", "stopped"} <= {json.loads(line)["event"] for line in system.log(name).splitlines()}
    assert await system.depth("out.all") == EVENTS


async def test_nohup_stays(system: System) -> None:
    """Where SIGHUP was ignored from the start, it is."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f"trap '' HUP; exec {sys.executable} -m zenoti_ingest intake", cwd=ROOT, env=system.environ
    )
    system.processes["intake"] = process
    await system.ready(system.intake_admin)
    process.send_signal(signal.SIGHUP)
    await post(system, 1)
    assert process.returncode is None
    assert await system.terminate("intake") == 0


async def test_sighup_ends_the_simulator(system: System) -> None:
    """It says what it counted."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "zenoti_ingest",
            "simulate",
            "--port",
            str(system.simulator_port),
            "--visits",
            "0",
            "--json",
        ),
        cwd=ROOT,
        env=system.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    system.processes["simulate"] = process
    assert process.stderr is not None
    while b"simulator_listening" not in await process.stderr.readline():
        pass
    process.send_signal(signal.SIGHUP)
    out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert "counters" in json.loads(out)


STEER = "\x1b]0;owned\x07\x1b[31m\x9b31m\u202e\u2066\r\x7f"


async def letters(system: System, count: int) -> None:
    """Dead letters whose body and headers would steer a terminal."""
    system.settings["LOG__LEVEL"] = "info"
    assert (await system.run("topology", "apply"))[0] == 0
    async with system.connection.channel() as channel:
        for number in range(count):
            headers: dict[str, FieldValue] = {"stage": "translate", "source": "main", "receipt_id": f"r-{number}"}
            headers |= {"reason": f"refused{STEER}", "detail": f"d{STEER}\nforged line", "event_id": f"e{STEER}"}
            headers["event_type"] = f"t{STEER}"
            body = f"body {STEER}\n\tline".encode() + b"\xff"
            letter = Message(body, headers=headers, delivery_mode=DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(letter, routing_key=f"{system.prefix}.dead")


async def on_a_terminal(system: System, *arguments: str) -> bytes:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "zenoti_ingest", *arguments),
        cwd=ROOT,
        env=system.environ | {"TERM": "xterm", "COLUMNS": "300"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = bytearray()

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the last writer is gone
                return
            if not part:
                return
            written.extend(part)

    await asyncio.gather(asyncio.to_thread(read), process.wait())
    os.close(ours)
    return bytes(written)


LOOKS = [
    ("dead", "list"), ("dead", "show", "r-0"), ("trace", "r-0"), ("status",), ("dead", "discard", "--all", "--dry-run"),
    ("dead", "redrive", "--source", "main", "--dry-run"),
]  # fmt: skip


async def test_nothing_from_strangers_steers_a_terminal(system: System) -> None:
    """Control characters and bidirectional overrides are spelled out, on a terminal and in a pipe; JSON keeps them."""
    await letters(system, 3)
    body = json.dumps({"event_id": f"e{STEER}", "event_type": f"t{STEER}", "data": {}}, ensure_ascii=False).encode()
    await spawn(system, "intake", "intake 2>/dev/null")
    await system.ready(system.intake_admin)
    assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202
    for look in (*LOOKS, ("archive", "list", "--since", "1h")):
        shown = (await on_a_terminal(system, *look)).decode()
        for forbidden in ("\x1b]0;owned", "\x07", "\x1b[31mx", "\x9b", "\u202e", "\u2066", "\x7f", "\r\x7f"):
            assert forbidden not in shown, (look, forbidden)
        assert "\nforged line" not in shown.replace("\r", "")
        _, out, err = await system.run(*look)
        assert all(line.replace("\t", "").isprintable() for line in (out + err).splitlines()), look
        assert out.count("\n") == len(out.splitlines())
    _, out, _ = await system.run("dead", "show", "r-0")
    assert r"body \x1b]0;owned\x07\x1b[31m\x9b31m\u202e\u2066\x0d\x7f" in out
    assert "line\\xff" in out
    for words in (("dead", "list"), ("dead", "show", "r-0"), ("archive", "list", "--since", "0001-01-01")):
        _, out, _ = await system.run(*words, "--json")
        assert all(line.isprintable() for line in out.splitlines())
        assert STEER in json.dumps(json.loads(out), ensure_ascii=False).encode().decode(
            "unicode_escape", "ignore"
        ) or any(STEER in text for text in texts(json.loads(out)))


def texts(document: object) -> list[str]:
    """Every text in it."""
    if isinstance(document, str):
        return [document]
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return [text for each in inner for text in texts(each)]


async def shell(system: System, command: str) -> tuple[int, str, str]:
    """A shell's command with `$CMD` as ours: status, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"set -o pipefail; {command}",
        cwd=ROOT, env=system.environ | {"CMD": f"{sys.executable} -m zenoti_ingest"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 40)
    return process.returncode or 0, out.decode(), err.decode()


NOWHERE = [
    ("$CMD dead list --json | head -1", 1),
    ("$CMD dead list | head -1", None),
    ("$CMD dead show r-0 | true", 1),
    ("$CMD dead list >&-", 1),
    ("$CMD dead list --json >/dev/full", 1),
    ("$CMD status 2>&-", 0),
    ("$CMD status 2>/dev/full", 0),
    ("$CMD dead list --since 2>/dev/full", 2),
    ("ZENOTI_INGEST_LOG__LEVEL=x $CMD dead list 2>&-", 2),
    ("PYTHONIOENCODING=ascii LC_ALL=C $CMD status", 0),
    ("PYTHONIOENCODING=latin-1 $CMD dead list --json | python3 -c 'import json, sys; json.load(sys.stdin)'", 0),
]


async def test_output_that_goes_nowhere(system: System) -> None:
    """No traceback, no complaint of Python's, one line at most; and a status that shows it."""
    await letters(system, 400)
    for command, status in NOWHERE:
        code, _, err = await shell(system, command)
        assert "Traceback" not in err, command
        assert "Exception ignored" not in err, command
        assert len([line for line in err.splitlines() if "usage" not in line]) <= 1, command
        assert status in (None, code), command


SINCE = {"0001-01-01": 1, "4000w": 1, "999999999999d": 1, "0001-01-01T00:00+23:59": 1, "9999-12-31T23:59-23:59": 0}


async def test_since_ever(system: System) -> None:
    """Times before 1970 mean from the beginning; none is a traceback."""
    await spawn(system, "intake", "intake 2>/dev/null")
    await system.ready(system.intake_admin)
    await post(system, 3)
    system.settings["LOG__LEVEL"] = "info"
    for since, found in SINCE.items():
        _, listed, complaint = await system.run("archive", "list", f"--since={since}", "--json")
        assert (json.loads(listed)["count"], complaint) == (3 * found, "")
        code, traced, complaint = await system.run("trace", "e-1", f"--since={since}", "--json")
        assert (code, len(json.loads(traced)["steps"]), complaint) == (1 - found, found, "")
    _, replayed, complaint = await system.run("archive", "replay", "--dry-run", "--since=0001-01-01", "--json")
    assert (json.loads(replayed)["matched"], complaint) == (3, "")
