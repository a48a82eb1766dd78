"""The daemons run on uvloop where it is installed, and as well without."""

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed

EVENTS = 20
HIDDEN = "import sys\nsys.modules['uvloop'] = None\n"


@pytest.mark.parametrize("event_loop", ["uvloop", "asyncio"])
async def test_the_way_of_events(
    system: System, event_loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intake and consumers tell which loop they run on; every event comes out; SIGTERM ends both with 0."""
    if event_loop == "asyncio":
        (tmp_path / "sitecustomize.py").write_text(HIDDEN)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    await system.start()
    for name in ("intake", "consume"):
        [line] = (json.loads(line) for line in system.log(name).splitlines() if "admin_listening" in line)
        assert line["event_loop"] == event_loop
    for number in range(EVENTS):
        body = json.dumps({"event_id": f"e-{number}", "event_type": "Guest.updated", "data": {"id": "g"}}).encode()
        status, _, _ = await http("POST", system.door, body=body, headers=signed(body))
        assert status == 202
    assert len(await system.take("out.all", EVENTS)) == EVENTS
    assert [await system.terminate(name) for name in ("intake", "consume")] == [0, 0]
