import asyncio
import re
import sys

import pytest

from tests.acceptance.conftest import ROOT


@pytest.mark.xdist_group("heavy")  # one of them at a time
async def test_a_crowd_shuts_nobody_out(broker_url: str) -> None:
    """With more slow and idle connections than there are places each good request gets its 202, in little memory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.crowd", "--broker", broker_url, "--crowd", "300"),
        *("--max-connections", "200", "--seconds", "2", "--turns", "1"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said = (await process.communicate())[0].decode()
    rows = re.findall(r"\| (quiet|crowd) \| [\d.]+ \| [\d.]+ \| (\d+) \| (\d+) \|", said)
    assert [(which, failed) for which, failed, _ in rows] == [("quiet", "0"), ("crowd", "0")], said
    assert all(int(mib) < 150 for *_, mib in rows), said
