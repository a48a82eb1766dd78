"""Where a run's rows go, and what they were measured with."""

import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import aio_pika

from tests.acceptance.conftest import ROOT
from tests.bench.speed.figures import Figure, table

DOCUMENT = ROOT / "docs" / "benchmarks.md"
NEWEST, EARLIER = "## The newest run\n\n", "## Earlier runs\n\n"
PACKAGES = ("aio-pika", "aiormq", "aiohttp", "msgspec", "uvloop")


async def broker_version(broker_url: str) -> str:
    """As the broker says."""
    async with await aio_pika.connect(broker_url, timeout=10) as connection:
        assert connection.transport is not None
        said = connection.transport.connection.server_properties.get("version", b"?")
    return said.decode() if isinstance(said, bytes) else str(said)


def conditions(broker: str, *, withheld: float) -> str:
    """What the figures depend on: commit, versions, machine; percent of the CPU that its hypervisor withheld."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"commit {commit()}; {python}, {versions}, RabbitMQ {broker}; {machine()}, {withheld:.0f} % withheld"


def machine() -> str:
    """Cores and processor."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cores = len(re.findall(r"^processor\s", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    return f"{cores} cores, {cpu[1] if cpu else platform.machine()}"


def commit() -> str:
    """The commit that was measured; with a `+` where the tree differs from it."""
    short = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{short}+" if _git("status", "--porcelain", "--untracked-files=no", "--", "worker", "schemas") else short


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607
    except OSError:
        return ""
    return done.stdout.strip()


def record(figures: Sequence[Figure], *, said: str, document: Path = DOCUMENT) -> None:
    """Make a run the document's newest: its day, its conditions, its rows. The run before it leads the earlier runs."""
    day = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    run = f"### {day}\n\n{said}. `make bench {' '.join(sys.argv[1:])}".rstrip(" `") + f"`\n\n{table(figures)}\n\n"
    opening, newest, rest = document.read_text().partition(NEWEST)
    last, heading, others = rest.partition("\n## ")
    between, earlier, runs = others.partition(EARLIER)
    document.write_text(f"{opening}{newest}{run.rstrip()}\n{heading}{between}{earlier}{last}\n{runs}".rstrip() + "\n")
