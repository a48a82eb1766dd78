import asyncio
import json
import shutil
import sys

import pytest

from deploy.local import broker as local
from tests.acceptance.conftest import ROOT

SEED = 20
WITHIN_SECONDS = 300.0
FAULTS = (
    *("kill intake", "kill translate", "kill enrich", "deploy", "kill node", "memory alarm"),
    *("freeze connections", "refuse connections", "API down", "API hang", "API half", "API 500"),
    *("duplicates", "malformed body", "unreadable message"),
)


@pytest.mark.xdist_group("heavy")  # one of them at a time
@pytest.mark.timeout(WITHIN_SECONDS + 20)
async def test_what_was_accepted_arrives_whatever_dies() -> None:
    """Under fifteen faults on a node of its own nothing accepted is lost, and no good event is a dead letter."""
    if shutil.which("rabbitmq-server", path=local.usual_places()) is None:
        pytest.fail("This test kills a broker of its own: install rabbitmq-server (apt-get install rabbitmq-server).")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos", "--seed", str(SEED), "--nodes", "1", "--rate", "20"),
        *("--each", "--only", ",".join(FAULTS)),
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
    report = json.loads((ROOT / "var" / "chaos" / str(SEED) / "report.json").read_text())
    assert sorted(fault["fault"] for fault in report["faults"]) == sorted(FAULTS)
    assert report["accepted"] > 500
    assert report["lost"] == {}
    assert report["wrong"] == []
