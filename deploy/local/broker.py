#!/usr/bin/env python3
"""Runs a command with a RabbitMQ broker at hand: `broker.py [--verbose] -- COMMAND ARG…`.

Takes the first of: the configured broker, if it answers; a private node of an installed rabbitmq-server; the same
after installing Debian's package (root only). COMMAND finds the broker in ZENOTI_INGEST_BROKER__URL, and works there
under a prefix of its own. Exits with COMMAND's status, 128 + n where signal n ended it, 1 where there is no broker.

The law: what this starts it stops, however it ends itself; a broker that was there before is only ever greeted.
Standard library only, as it runs before anything else works.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = "ZENOTI_INGEST_CONFIG"
URL = "ZENOTI_INGEST_BROKER__URL"
URL_FILE = "ZENOTI_INGEST_BROKER__URL_FILE"
DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/"

GREETING_SECONDS = 3.0
START_SECONDS = 120.0
STOP_SECONDS = 20.0
INSTALL_SECONDS = 600.0

# Beneath those that Linux and macOS give to connections: a node listens only seconds after its port was chosen, and
# by then a connection of anybody's may have been given it.
PORTS = range(6_000, 12_000)

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME, CONNECTION_START = b"\x01", b"\x00\x0a\x00\x0a"  # AMQP 0-9-1: frame type 1; class 10, method 10

# For small machines: little free disk, and 64 MB instead of 512 of write-ahead log, which is held in memory as well.
NODE_CONFIG = "disk_free_limit.absolute = 50MB\nraft.wal_max_size_bytes = 67108864\n"

# Acts when the pipe to it closes, and has a session of its own, out of reach of what may kill this process.
# It sleeps so that what it killed writes no more into the folder it removes.
GUARD = 'while read -r group; do groups="$groups -$group"; done; kill -9 $groups; sleep 1; rm -rf "$1"'

ADVICE = f"""broker: no broker answers, rabbitmq-server is not installed, and installing it here takes apt-get and root.
Do one of these, then try again:
  install rabbitmq-server (apt-get install rabbitmq-server, brew install rabbitmq)
  set {URL} to the URL of a broker that runs
  docker run --rm -p 5672:5672 rabbitmq:4"""


class Signals:
    """SIGINT and SIGTERM: remembered until COMMAND runs, from then on passed on to it; never lost."""

    def __init__(self) -> None:
        self._early: list[int] = []
        self._command: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._command is None:
            self._early.append(number)
        elif number != signal.SIGINT or not in_foreground():
            self._command.send_signal(number)

    def check(self) -> None:
        """Raise SystemExit(128 + n) if signal n has come; asked before COMMAND runs."""
        if self._early:
            raise SystemExit(128 + self._early[0])

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run COMMAND to its end, however long it takes; return its exit status, 128 + n if signal n ended it."""
        self.check()
        try:
            self._command = subprocess.Popen(command, env=environ)  # noqa: S603  running what the caller names is the job
        except OSError as error:
            raise SystemExit(f"broker: cannot run {command[0]}: {error.strerror}") from error
        for number in self._early:
            self._command.send_signal(number)
        status = self._command.wait()
        return status if status >= 0 else 128 - status


def in_foreground() -> bool:
    """Whether SIGINT means Ctrl-C at our terminal, which sends it to COMMAND as well: twice would be too much."""
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is no terminal
        return False


def say(line: str) -> None:
    """Tell the operator one step, on stderr: stdout is COMMAND's."""
    print(f"broker: {line}", file=sys.stderr, flush=True)


def configured_broker(environ: Mapping[str, str]) -> tuple[list[str], bool]:
    """Return the broker URLs the worker would use, and whether somebody named them. Raises SystemExit if unreadable."""
    section: dict[str, Any] = {"url": environ.get(URL), "url_file": environ.get(URL_FILE)}
    try:
        if not any(section.values()) and (config := environ.get(CONFIG)):
            section = tomllib.loads(Path(config).read_text()).get("broker", {})
        file = section.get("url_file")
        given = section.get("url") or (Path(file).read_text() if file else "")
        text = ",".join(given) if isinstance(given, list) else given.replace("\n", ",")
        urls = [url.strip() for url in text.split(",") if url.strip()]
    except (OSError, ValueError, TypeError, AttributeError) as error:  # no file, no TOML, no text, no table
        raise SystemExit(f"broker: cannot read the broker's URL: {error}; correct {CONFIG} or set {URL}") from error
    return urls or [DEFAULT_URL], bool(urls)


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a broker URL. Raises SystemExit, without showing the URL: it holds a password."""
    try:
        parts = urlsplit(url)
        port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    except ValueError:
        raise SystemExit(f"broker: a URL in {URL} or {CONFIG} is not amqp[s]://user:password@host:port/vhost") from None
    return parts.hostname or "127.0.0.1", port


def silence_of(url: str, *, within: float = GREETING_SECONDS) -> str:
    """Return why no AMQP 0-9-1 broker greets us at a URL within about so many seconds; "" if one does."""
    host, port = address_of(url)
    try:
        with contextlib.ExitStack() as connections:
            connection = connections.enter_context(socket.create_connection((host, port), timeout=within))
            if url.startswith("amqps:"):
                context = ssl.create_default_context()
                connection = connections.enter_context(context.wrap_socket(connection, server_hostname=host))
            connection.sendall(PROTOCOL_HEADER)
            greeting = connections.enter_context(connection.makefile("rb")).read(11)
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    if greeting[:1] == METHOD_FRAME and greeting[7:] == CONNECTION_START:
        return ""
    return f"{host}:{port}: not AMQP 0-9-1"


def spawn(command: Sequence[str], environ: Mapping[str, str], output: IO[Any]) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own: what our terminal sends, Ctrl-C above all, is not for it."""
    return subprocess.Popen(  # noqa: S603  our own words, and programs found in the usual places
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], *, grace: float) -> None:
    """End a spawned process and its children: SIGTERM, and SIGKILL for what is left after so many seconds."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)


def any_ports() -> Iterator[int]:
    """Return PORTS in an order of chance, each once."""
    return iter(secrets.SystemRandom().sample(PORTS, len(PORTS)))


def free_ports(count: int, candidates: Iterator[int]) -> list[int]:
    """Return so many different TCP ports of 127.0.0.1 that nobody listens on: the first free ones of the candidates."""
    found: list[int] = []
    while len(found) < count:
        port = next(candidates)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


@contextlib.contextmanager
def guarded_home() -> Iterator[tuple[Path, IO[bytes]]]:
    """Yield a new folder, and the guard's pipe: a process written there does not outlive us, nor does the folder."""
    home = PROJECT / "var" / "broker" / secrets.token_hex(4)
    guard = subprocess.Popen(  # noqa: S603  our own words
        ["/bin/sh", "-c", GUARD, "guard", str(home)], bufsize=0, stdin=subprocess.PIPE, start_new_session=True
    )
    assert guard.stdin is not None  # noqa: S101  it is PIPE, which the type does not know
    with guard:
        home.mkdir(mode=0o700, parents=True)
        try:
            yield home, guard.stdin
        finally:
            shutil.rmtree(home)
            guard.kill()


def node_environment(home: Path, ports: Sequence[int], path: str, *, config: str = NODE_CONFIG) -> dict[str, str]:
    """Write a node's files into its home; return its environment, by which it shares nothing with another node."""
    port, dist_port, epmd_port = (str(port) for port in ports)
    (home / "plugins").write_text("[].\n")
    (home / "rabbitmq.conf").write_text(config)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    return inherited | {
        "HOME": str(home),  # of the Erlang cookie
        "PATH": path,
        "ERL_EPMD_PORT": epmd_port,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"zenoti-{home.name}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": dist_port,
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "logs"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        # These do not exist: named so that the machine's own under /etc are not read.
        "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
        # The start script then becomes the node instead of fathering it, so that our signals reach the node.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_START_ARGS": "-noinput",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
    }


@contextlib.contextmanager
def private_node(server: str, signals: Signals, *, verbose: bool, config: str = "") -> Iterator[str]:
    """Start a node of our own, with these lines more of rabbitmq.conf, and yield its URL.

    Afterwards no process and no file of it is left.

    Raises:
        SystemExit: it died or did not answer within 120 s (its last log lines are in the message), or a signal came.
    """
    # Homebrew's Erlang is in the bin beside its sbin, which need not be on PATH.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(server).parent.parent / "bin")])
    epmd = shutil.which("epmd", path=path)
    if epmd is None:
        raise SystemExit("broker: rabbitmq-server is here, Erlang's epmd is not: put Erlang's bin folder on PATH")
    with contextlib.ExitStack() as undo:
        home, guard = undo.enter_context(guarded_home())
        undo.callback(say, "stopped")
        ports = free_ports(3, any_ports())
        say(f"starting a private RabbitMQ node (port {ports[0]}, in {home.relative_to(PROJECT)}) …")
        started = time.monotonic()
        log = undo.enter_context((home / "log").open("wb"))
        environ = node_environment(home, ports, path, config=NODE_CONFIG + config)
        processes = []
        # Left to itself the node would start epmd, Erlang's name server, as a daemon and leave it behind.
        for command in ([epmd, "-port", str(ports[2]), "-address", "127.0.0.1"], [server]):
            process = spawn(command, environ, sys.stderr if verbose else log)
            undo.callback(stop, process, grace=0)  # nothing of it is kept, and while it boots it heeds no SIGTERM
            guard.write(b"%d\n" % process.pid)
            processes.append(process)
        url = f"amqp://guest:guest@127.0.0.1:{ports[0]}/"
        while silence_of(url):
            signals.check()
            died = any(process.poll() is not None for process in processes)
            if died or time.monotonic() > started + START_SECONDS:
                what = "died" if died else f"does not answer after {START_SECONDS:.0f} s"
                lines = (home / "log").read_text(errors="replace").splitlines()[-20:]
                raise SystemExit("\n".join([f"broker: the private node {what}; its log ends:", *lines]))
            time.sleep(0.05)
        say(f"ready after {time.monotonic() - started:.1f} s")
        yield url


def run_hidden(command: Sequence[str], signals: Signals, *, deadline: float, verbose: bool) -> None:
    """Run a command of the system, its output shown only if it fails. Raises SystemExit then, and when late.

    A signal takes effect before or after: a package half installed would need repair by hand.
    """
    signals.check()
    with tempfile.TemporaryFile() as output:
        process = spawn(command, os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, sys.stderr if verbose else output)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        stop(process, grace=STOP_SECONDS)
        if process.returncode != 0:
            output.seek(0)
            shown = output.read().decode(errors="replace")
            raise SystemExit(f"broker: `{' '.join(command)}` ended with {process.returncode}:\n{shown}")


@contextlib.contextmanager
def services_held_back() -> Iterator[None]:
    """Keep Debian from starting the services it installs meanwhile; a policy that is there already is left alone."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    try:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)


def install_server(signals: Signals, *, verbose: bool) -> None:
    """Install Debian's rabbitmq-server without starting or enabling its service. Raises SystemExit if it cannot."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(ADVICE)
    say("installing Debian's package rabbitmq-server (its service stays off; not interrupted by Ctrl-C) …")
    deadline = time.monotonic() + INSTALL_SECONDS
    commands = [
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "rabbitmq-server"],
    ]
    if shutil.which("systemctl"):  # the package enables its service for the next boot
        commands.append(["systemctl", "disable", "--quiet", "rabbitmq-server"])
    with services_held_back():
        for command in commands:
            run_hidden(command, signals, deadline=deadline, verbose=verbose)


def usual_places() -> str:
    """Return where to look for rabbitmq-server, as a PATH; Debian's wrapper on PATH is for its service's user only."""
    return os.pathsep.join(
        ["/usr/lib/rabbitmq/bin", os.environ.get("PATH", os.defpath), "/opt/homebrew/sbin", "/usr/local/sbin"]
    )


@contextlib.contextmanager
def broker(signals: Signals, *, places: str, verbose: bool) -> Iterator[str]:
    """Yield the URL of a broker, which lasts as long as the context. Raises SystemExit."""
    urls, named = configured_broker(os.environ)
    silences = [silence_of(url) for url in urls]
    if "" in silences:
        host, port = address_of(urls[silences.index("")])
        say(f"using the one at {host}:{port}")
        yield ",".join(urls)
        return
    if named:
        say(f"the configured one does not answer ({'; '.join(silences)})")
    if shutil.which("rabbitmq-server", path=places) is None:
        install_server(signals, verbose=verbose)
    server = shutil.which("rabbitmq-server", path=places)
    if server is None:
        raise SystemExit(ADVICE)
    with private_node(server, signals, verbose=verbose) as url:
        yield url


def main(arguments: Sequence[str] | None = None, *, places: str | None = None) -> int:
    """Run COMMAND beside a broker; return its status. `places`: a PATH to look for rabbitmq-server in."""
    parser = argparse.ArgumentParser(prog="broker.py", description="Run COMMAND with a RabbitMQ broker at hand.")
    parser.add_argument("--verbose", action="store_true", help="show what the node and the installer say")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --, with its arguments")
    options = parser.parse_args(arguments)
    signals = Signals()
    with broker(signals, places=usual_places() if places is None else places, verbose=options.verbose) as url:
        inherited = {name: value for name, value in os.environ.items() if name != URL_FILE}  # twice is refused
        return signals.run(options.command, inherited | {URL: url})


if __name__ == "__main__":
    sys.exit(main())
