import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT

SEED = 20
WITHIN_SECONDS = 300.0


@pytest.mark.timeout(WITHIN_SECONDS + 20)
async def test_what_was_accepted_arrives_whatever_dies() -> None:
    """Under a dozen faults on a node of its own nothing accepted is lost, and no good event is a dead letter."""
    report = ROOT / "var" / "chaos" / str(SEED) / "report.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos", "--seed", str(SEED), "--nodes", "1", "--minutes", "0", "--faults", "12"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, said.decode()
    told = json.loads(Path(report).read_text())
    assert len(told["faults"]) >= 12
    assert told["accepted"] > 500
    assert told["lost"] == {}
    assert told["wrong"] == []
