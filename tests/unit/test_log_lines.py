import json
import re
import subprocess
import sys

import pytest

PROGRAM = """
import warnings
from worker.telemetry import configure, log
configure(level="info", fmt="json")
warnings.warn("of a guest called Smith", RuntimeWarning)
log.info("started", daemon="test")
"""


def test_pythons_warnings_are_lines_like_all_others() -> None:
    """Whoever parses the log meets no other text, and nothing of what the warning quotes."""
    command = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stderr  # noqa: S603  # ours
    told = [json.loads(line) for line in said.splitlines()]
    assert [(line["event"], line.get("error")) for line in told] == [("library", "RuntimeWarning"), ("started", None)]
    assert "Smith" not in said


TELLING = """
import sys
from worker.telemetry import configure, log, tell
configure(level=sys.argv[1], fmt=sys.argv[2])
for how in (log.info, tell):
    how("delivery", stage="enrich", detail="\\ud800", seconds=0.5)
try:
    tell("no_such_event")
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("level", "fmt", "lines"), [("info", "json", 2), ("info", "console", 2), ("warning", "json", 0)]
)
def test_a_canonical_line_is_like_all_others(level: str, fmt: str, lines: int) -> None:
    """The quick way writes what the usual one writes, at the same levels, and refuses what is not registered."""
    command = [sys.executable, "-c", TELLING, level, fmt]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603  # ours
    told = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "AT", line) for line in done.stderr.splitlines()]
    assert len(told) == lines
    assert len(set(told)) == min(lines, 1)
    assert all("delivery" in line and "AT" in line for line in told)
    assert ("no_such_event" in done.stdout) == bool(lines)
