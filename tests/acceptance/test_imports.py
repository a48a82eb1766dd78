import pytest

from tests.acceptance.conftest import System

# What is here costs a start time and a process memory, and is for somebody else. A name stands for all beneath it.
OPERATORS = ("rich.", "pygments", "zenoti_ingest.operations", "zenoti_ingest.simulator")
NOT_NEEDED = {
    "intake": (
        *OPERATORS,
        "zenoti_ingest.app.consume",
        "zenoti_ingest.stages.enrich",
        "zenoti_ingest.stages.translate",
        "zenoti_schemas.webhook",
    ),
    "consume": (
        *OPERATORS,
        "zenoti_ingest.app.intake",
        "zenoti_ingest.adapters.http_door",
        "zenoti_ingest.adapters.spool",
        "sqlite3",
    ),
}


@pytest.mark.parametrize("daemon", NOT_NEEDED)
async def test_what_a_daemon_does_not_need(system: System, monkeypatch: pytest.MonkeyPatch, daemon: str) -> None:
    """Until it is ready, and as it stops, a daemon imports nothing that only others need."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    await system.spawn(daemon, daemon)
    await system.ready(system.intake_admin if daemon == "intake" else system.consume_admin)
    assert await system.terminate(daemon) == 0
    lines = [line for line in system.log(daemon).splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "zenoti_ingest.cli" in imported
    assert {module for module in imported if module.startswith(NOT_NEEDED[daemon])} == set()
