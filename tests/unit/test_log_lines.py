import json
import subprocess
import sys

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
