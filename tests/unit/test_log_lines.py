import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import warnings
from zenoti_ingest.telemetry import configure, log
configure(level="info", fmt="json")
warnings.warn("of a guest called Smith", RuntimeWarning)
log.info("started", daemon="test")
"""


def test_pythons_warnings_are_lines_like_all_others() -> None:
    """A parser of the log meets no other text, and nothing that the warning quotes."""
    command = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stderr  # noqa: S603  # ours
    logged = [json.loads(line) for line in said.splitlines()]
    assert [(line["event"], line.get("error")) for line in logged] == [("library", "RuntimeWarning"), ("started", None)]
    assert "Smith" not in said


LOGGING = """
import sys
from pathlib import Path
from zenoti_ingest.telemetry import configure, log, log_canonical
configure(level=sys.argv[1], fmt=sys.argv[2])
for how in (log.info, log_canonical):
    how("delivery", stage="enrich", detail="\\ud800", seconds=0.5)
try:
    log_canonical("no_such_event")
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("level", "fmt", "lines"), [("info", "json", 2), ("info", "console", 2), ("warning", "json", 0)]
)
def test_a_canonical_line_is_like_all_others(level: str, fmt: str, lines: int) -> None:
    """The quick way writes what the usual one writes, at the same levels, and refuses what is not registered."""
    command = [sys.executable, "-c", LOGGING, level, fmt]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603  # ours
    logged = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "AT", line) for line in done.stderr.splitlines()]
    assert len(logged) == lines
    assert len(set(logged)) == min(lines, 1)
    assert all("delivery" in line and "AT" in line for line in logged)
    assert ("no_such_event" in done.stdout) == bool(lines)


LOSING = """
import os, sys
from zenoti_ingest.telemetry import configure, log, log_canonical, log_repeats
from zenoti_ingest.telemetry.metrics import lines_lost
out = os.dup(2)
configure(level="info", fmt=sys.argv[1])

def to(place):
    os.dup2(os.open(place, os.O_RDWR), 2)

def turn(how):
    how("started", daemon=how.__name__)
    log_repeats()

for place in sys.argv[2:]:
    if place == "closed":
        os.close(2)
    elif place == "pipe":
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(reader)
    else:
        to(place)
    turn(log.info), turn(log_canonical)
os.dup2(out, 2)
turn(log.info), turn(log_canonical)
print(lines_lost._value.get())
"""


@pytest.mark.parametrize("fmt", ["json", "console"])
@pytest.mark.parametrize("places", [["closed"], ["/dev/full"], ["pipe"], ["closed", "/dev/full", "pipe"]], ids=str)
def test_lines_that_stderr_does_not_take(fmt: str, places: list[str]) -> None:
    """Nothing fails; lost lines are counted, and reported in a line once stderr takes lines again."""
    command = [sys.executable, "-c", LOSING, fmt, *places]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603  # ours
    lines = done.stderr.splitlines()
    assert [("started" in line, "lines_lost" in line) for line in lines] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert re.search(rf"times\W+{2 * len(places)}\b", lines[1])
    assert float(done.stdout) == 2 * len(places)


TEARING = """
import os, resource, signal
from zenoti_ingest.telemetry import configure, log, log_repeats
from zenoti_ingest.telemetry.metrics import lines_lost
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
configure(level="info", fmt="json")
out, path = os.dup(2), os.environ["FULL"]
os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (30, resource.RLIM_INFINITY))
log.info("started", daemon="torn")
log.info("started", daemon="refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.info("started", daemon="whole")
log_repeats()
print(lines_lost._value.get())
"""


def test_a_line_of_which_only_a_part_is_taken(tmp_path: Path) -> None:
    """A disk that is almost full takes what fits: the next line does not become part of it."""
    full = tmp_path / "full"
    command = [sys.executable, "-c", TEARING]
    done = subprocess.run(  # noqa: S603  # ours
        command, capture_output=True, text=True, timeout=30, check=True, env=os.environ | {"FULL": str(full)}
    )
    torn, *lines = full.read_text().splitlines()
    assert len(torn) == 30
    assert [(logged["event"], logged.get("daemon"), logged.get("times")) for logged in map(json.loads, lines)] == [
        ("started", "whole", None),
        ("lines_lost", None, 2),
    ]
    assert float(done.stdout) == 2


STEERING = """
import sys
from pathlib import Path
from zenoti_ingest.telemetry import configure, log, log_canonical
configure(level="info", fmt=sys.argv[1])
for how in (log.info, log_canonical):
    how("delivery", detail="a\\x1b[31m\\x9b\\u202e\\x7f\\nb", sources=["\\x1b"])
"""


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_nothing_in_a_line_steers_a_terminal(fmt: str) -> None:
    """What strangers have sent is spelled out, in a line of its own kind; the colours are ours."""
    command = [sys.executable, "-c", STEERING, fmt]
    said = subprocess.run(command, capture_output=True, timeout=30, check=True).stderr.decode()  # noqa: S603  # ours
    lines = said.splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    if fmt == "json":
        assert {json.loads(line)["detail"] for line in lines} == {"a\x1b[31m\x9b\u202e\x7f\nb"}
