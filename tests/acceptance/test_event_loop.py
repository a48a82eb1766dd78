"""The daemons run on uvloop where it is installed, and as well without."""

import asyncio
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
    """Intake and consumers log which loop they run on; every event comes out; SIGTERM ends both with 0.

    The first node takes connections and closes them before a word, as one does that starts or stops: it is away.
    """
    if event_loop == "asyncio":
        (tmp_path / "sitecustomize.py").write_text(HIDDEN)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    turned_away: list[asyncio.StreamWriter] = []

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turned_away.append(writer)
        writer.close()

    closing = await asyncio.start_server(close, "127.0.0.1", 0)
    node = f"amqp://guest:guest@127.0.0.1:{closing.sockets[0].getsockname()[1]}/"
    system.settings["BROKER__URL"] = f"{node},{system.settings['BROKER__URL']}"
    await system.start()
    closing.close()
    assert turned_away
    for name in ("intake", "consume"):
        [line] = (json.loads(line) for line in system.log(name).splitlines() if "admin_listening" in line)
        assert line["event_loop"] == event_loop
    for number in range(EVENTS):
        body = json.dumps({"event_id": f"e-{number}", "event_type": "Guest.updated", "data": {"id": "g"}}).encode()
        status, _, _ = await http("POST", system.door, body=body, headers=signed(body))
        assert status == 202
    assert len(await system.take("out.all", EVENTS)) == EVENTS
    assert [await system.terminate(name) for name in ("intake", "consume")] == [0, 0]
