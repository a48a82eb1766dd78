"""The wrapper deploy/local/broker.py, run as it is run: as a process of its own."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import broker

ROOT = Path(__file__).resolve().parents[2]
WRAPPER = [sys.executable, "deploy/local/broker.py", "--"]
SHOW = """
import json, os, sys
from deploy.local import broker
url = os.environ[broker.URL]
print(json.dumps({"url": url, "silence": broker.silence_of(url.split(",")[0])}))
sys.exit(7)
"""
WAIT = """
import signal
def leave(number, _):
    print("got", signal.Signals(number).name)
    raise SystemExit(3)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, leave)
print("runs", flush=True)
while True:
    signal.pause()
"""
WITHOUT_THE_USUAL_PLACES = """
import sys
from deploy.local import broker
sys.exit(broker.main(sys.argv[2:], places=sys.argv[1]))
"""

needs_server = pytest.mark.skipif(
    shutil.which("rabbitmq-server", path=broker.usual_places()) is None,
    reason="a private node needs rabbitmq-server, and tests install nothing",
)


def eventually(holds: Callable[[], object], *, within: float) -> None:
    """Return once it holds; fail after so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s"
        threading.Event().wait(0.02)


def python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs this code."""
    return [sys.executable, "-c", code, *arguments]


def nowhere() -> str:
    """Return a broker URL at which nobody listens, and whose password nobody must see."""
    [port] = broker.free_ports(1, broker.any_ports())
    return f"amqp://guest:hunter2@127.0.0.1:{port}/"


@dataclass
class Run:
    """A wrapper that runs; what it and its COMMAND have written so far."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def wait(self) -> int:
        """Return the exit status, due within 60 s."""
        return self.process.wait(60)

    def home(self) -> Path:
        """Return the folder of the private node, which the wrapper has named."""
        named = re.search(r"in (var/broker/[0-9a-f]+)", self.err.read_text())
        assert named is not None, self.err.read_text()
        return ROOT / named[1]

    def left(self) -> list[str]:
        """Return what is left of the private node: its folder, and processes that bear its name."""
        home = str(self.home())
        return [*filter(os.path.exists, [home]), *(each for each in processes() if home in each)]


def processes() -> list[str]:
    """Return every process's arguments and environment, as far as we may see them."""
    if not Path("/proc/self/environ").exists():  # macOS
        return subprocess.check_output(["/bin/ps", "axeww"], text=True, timeout=10).splitlines()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
            found.append("".join((process / name).read_text(errors="replace") for name in ("cmdline", "environ")))
    return found


@contextlib.contextmanager
def wrapped(command: Sequence[str], folder: Path, *, wrapper: Sequence[str] = WRAPPER, **environ: str) -> Iterator[Run]:
    """Run COMMAND under the wrapper, with these variables changed; end it at the end if it still runs."""
    out, err = folder / "out", folder / "err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(  # noqa: S603  our own words
            [*wrapper, *command],
            cwd=ROOT,
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
            start_new_session=True,  # without a terminal, as a Ctrl-C there would be COMMAND's already
        )
    try:
        yield Run(process, out, err)
    finally:
        process.terminate()
        process.wait(60)


def test_uses_a_broker_that_answers(tmp_path: Path) -> None:
    """A broker that was there before is COMMAND's too."""
    with wrapped(python(SHOW), tmp_path) as run:
        assert run.wait() == 7, run.err.read_text()
    printed = json.loads(run.out.read_text())
    assert printed["silence"] == ""
    assert printed["url"] == os.environ[broker.URL]


@needs_server
def test_starts_a_node_where_none_answers_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    """Where nobody answers COMMAND gets a node of its own, gone with all its processes and files when it ends."""
    url = nowhere()
    with wrapped(python(SHOW), tmp_path, **{broker.URL: url}) as run:
        assert run.wait() == 7, run.err.read_text()
    printed = json.loads(run.out.read_text())
    assert printed["silence"] == ""
    assert printed["url"] != url
    eventually(lambda: not run.left(), within=2)
    assert "does not answer" in run.err.read_text()
    assert "hunter2" not in run.err.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_passes_signals_on(tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT and SIGTERM reach COMMAND, whose way of ending is the wrapper's."""
    with wrapped(python(WAIT), tmp_path) as run:
        eventually(lambda: "runs" in run.out.read_text(), within=30)
        run.process.send_signal(number)
        assert run.wait() == 3
    assert f"got {number.name}" in run.out.read_text()


@needs_server
def test_a_signal_ends_command_first_then_the_node(tmp_path: Path) -> None:
    """A SIGTERM to a wrapper with a node of its own ends COMMAND, then the node, and leaves nothing."""
    with wrapped(python(WAIT), tmp_path, **{broker.URL: nowhere()}) as run:
        eventually(lambda: "runs" in run.out.read_text(), within=130)
        assert run.left() != []
        run.process.terminate()
        assert run.wait() == 3
    eventually(lambda: not run.left(), within=2)


@needs_server
def test_a_signal_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    """A SIGTERM that comes before COMMAND runs ends the half-started node; COMMAND never runs."""
    with wrapped(python(WAIT), tmp_path, **{broker.URL: nowhere()}) as run:
        eventually(lambda: "starting" in run.err.read_text() and run.left(), within=30)
        run.process.terminate()
        assert run.wait() == 128 + signal.SIGTERM
    eventually(lambda: not run.left(), within=2)
    assert run.out.read_text() == ""


@needs_server
def test_a_killed_wrapper_leaves_nothing(tmp_path: Path) -> None:
    """Even a wrapper that is killed outright takes its node with it."""
    with wrapped(["sleep", "30"], tmp_path, **{broker.URL: nowhere()}) as run:
        eventually(lambda: "ready" in run.err.read_text(), within=130)
        run.process.kill()
        run.wait()
    eventually(lambda: not run.left(), within=10)


def test_shows_by_which_signal_the_command_died(tmp_path: Path) -> None:
    """COMMAND's death by signal n is exit status 128 + n, as a shell has it."""
    with wrapped(["/bin/sh", "-c", "kill -9 $$"], tmp_path) as run:
        assert run.wait() == 128 + signal.SIGKILL


def test_hands_command_its_arguments_as_they_are(tmp_path: Path) -> None:
    """Options and a second `--` after the first are COMMAND's."""
    with wrapped(["printf", "%s ", "--verbose", "--", "-x"], tmp_path) as run:
        assert run.wait() == 0
    assert run.out.read_text() == "--verbose -- -x "


def test_says_that_command_cannot_run(tmp_path: Path) -> None:
    """A COMMAND that is not there is one line and exit 1, no traceback."""
    with wrapped(["no-such-command"], tmp_path) as run:
        assert run.wait() == 1
    assert "broker: cannot run no-such-command" in run.err.read_text()
    assert "Traceback" not in run.err.read_text()


def test_without_any_way_to_a_broker_says_what_to_do(tmp_path: Path) -> None:
    """No broker, no rabbitmq-server and no apt-get: exit 1 with the ways out, COMMAND not run."""
    wrapper = python(WITHOUT_THE_USUAL_PLACES, "", "--")
    with wrapped(["printf", "ran"], tmp_path, wrapper=wrapper, **{broker.URL: nowhere(), "PATH": str(tmp_path)}) as run:
        assert run.wait() == 1
    assert run.out.read_text() == ""
    for way in ("install rabbitmq-server", broker.URL, "docker run --rm -p 5672:5672 rabbitmq:4"):
        assert way in run.err.read_text()


@needs_server
def test_shows_the_log_of_a_node_that_dies(tmp_path: Path) -> None:
    """A node that dies while it starts is exit 1 with the end of its log, and leaves nothing."""
    server = tmp_path / "rabbitmq-server"
    server.write_text("#!/bin/sh\nseq 100 130\necho this is why\nexit 1\n")
    server.chmod(0o755)
    wrapper = python(WITHOUT_THE_USUAL_PLACES, str(tmp_path), "--")
    with wrapped(["printf", "ran"], tmp_path, wrapper=wrapper, **{broker.URL: nowhere()}) as run:
        assert run.wait() == 1
    lines = run.err.read_text().splitlines()
    assert lines[-1] == "this is why"
    assert "112" in lines
    assert "111" not in lines
    eventually(lambda: not run.left(), within=2)
    assert run.out.read_text() == ""


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("", {}, ([broker.DEFAULT_URL], False)),
        ("", {broker.URL: "amqp://a, amqp://b"}, (["amqp://a", "amqp://b"], True)),
        ('broker.url = "amqp://c"', {}, (["amqp://c"], True)),
        ('broker.url = ["amqp://c", "amqp://d"]', {}, (["amqp://c", "amqp://d"], True)),
        ('broker.url = "amqp://c"', {broker.URL: "amqp://a"}, (["amqp://a"], True)),
        ('broker.url_file = "FILE"', {}, (["amqp://d", "amqp://e"], True)),
        ("", {broker.URL_FILE: "FILE"}, (["amqp://d", "amqp://e"], True)),
    ],
)
def test_reads_the_configured_broker(
    tmp_path: Path, toml: str, environ: dict[str, str], expected: tuple[list[str], bool]
) -> None:
    """The environment goes before the file, the file before the default; url_file is read."""
    secret, config = tmp_path / "secret", tmp_path / "config.toml"
    secret.write_text("amqp://d\namqp://e\n")
    config.write_text(toml.replace("FILE", str(secret)))
    environ = {name: value.replace("FILE", str(secret)) for name, value in environ.items()}
    assert broker.configured_broker({broker.CONFIG: str(config)} | environ) == expected


@pytest.mark.parametrize("toml", ["broker = 3", "broker.url = 3", "no toml", 'broker.url_file = "/no/such/file"'])
def test_refuses_a_configuration_it_cannot_read(tmp_path: Path, toml: str) -> None:
    """What cannot be read is one line that says so, not a guess at another broker."""
    config = tmp_path / "config.toml"
    config.write_text(toml)
    with pytest.raises(SystemExit, match="cannot read the broker's URL"):
        broker.configured_broker({broker.CONFIG: str(config)})


def test_never_shows_a_url_it_cannot_read() -> None:
    """A URL that makes no sense may hold a password anywhere: it is not quoted."""
    with pytest.raises(SystemExit, match=r"is not amqp") as refused:
        broker.address_of("amqp://guest:hunter2/@127.0.0.1")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("greeting", "reason"), [(b"", "timed out"), (b"HTTP/1.1 400 Bad Request", "not AMQP 0-9-1")])
def test_only_a_brokers_greeting_counts(greeting: bytes, reason: str) -> None:
    """A port that is open but mute, or speaks another protocol, is no broker, and is known as such in time."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as threads:
        silence = threads.submit(broker.silence_of, f"amqp://127.0.0.1:{server.getsockname()[1]}/", within=0.3)
        with server.accept()[0] as connection:
            connection.sendall(greeting)
            assert silence.result(timeout=5).endswith(reason)


def test_a_port_is_free_and_none_that_a_connection_is_given() -> None:
    """A port that is taken is passed over, and none is of the kernel's own range."""
    first, second, third = broker.free_ports(3, broker.any_ports())
    with socket.create_server(("127.0.0.1", second)), socket.create_server(("127.0.0.1", 0)) as given:
        assert broker.free_ports(2, iter([first, second, third])) == [first, third]
        assert max(broker.PORTS) < given.getsockname()[1]
