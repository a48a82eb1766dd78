"""What the admin listener says of a process, and how it knows: in-process, over HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.eventually import eventually
from zenoti_ingest.adapters import event_loop
from zenoti_ingest.adapters.admin_http import AdminHttp, Check
from zenoti_ingest.adapters.event_loop import LoopWatch
from zenoti_ingest.adapters.systemd import Notify, given_sockets
from zenoti_ingest.daemon import Readiness
from zenoti_ingest.telemetry.metrics import exposed


@asynccontextmanager
async def admin(*, ready: Readiness) -> AsyncIterator[tuple[LoopWatch, str]]:
    """An admin listener on any port; the watch of its loop, and its address."""
    loop = LoopWatch()
    http = AdminHttp(ready, loop=loop, registry=exposed("intake", version="1.2.3", values={}))
    port = await http.listen(host="127.0.0.1", port=0)
    watching = asyncio.create_task(loop.run())
    try:
        yield loop, f"http://127.0.0.1:{port}"
    finally:
        watching.cancel()
        await http.close()


async def get(url: str) -> tuple[int, Any]:
    """Status and JSON document (or text)."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text


async def test_a_hung_loop_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """/healthz shows the lag of the loop, and answers 503 once it exceeded the bound; the metric shows it too."""
    monkeypatch.setattr(event_loop, "HUNG_SECONDS", 0.3)
    ready = Readiness(stop=asyncio.Event(), checks=dict, spools=False)
    async with admin(ready=ready) as (loop, url):
        status, shown = await get(f"{url}/healthz")
        assert (status, shown["status"]) == (200, "ok")
        time.sleep(0.7)  # noqa: ASYNC251  # the hang
        await eventually(lambda: loop.lag_seconds > 0.3)
        status, shown = await get(f"{url}/healthz")
        assert (status, shown["status"]) == (503, "hung")
        assert shown["lag_seconds"] >= 0.4
        _, metrics = await get(f"{url}/metrics")
        lag = next(line for line in metrics.splitlines() if line.startswith("zenoti_event_loop_lag_seconds "))
        assert float(lag.split()[1]) >= 0.4


async def test_readiness_shows_since_when() -> None:
    """Each dependency has its state and since when; that changes only with the state, and metrics show the same."""
    checks = {"broker": Check(ok=False, state="away", detail="refused"), "circuit main": Check(ok=True, state="closed")}
    async with admin(ready=Readiness(stop=asyncio.Event(), checks=lambda: checks, spools=False)) as (_, url):
        status, first = await get(f"{url}/readyz")
        assert (status, first["status"]) == (503, "unready")
        assert first["checks"]["broker"].items() >= {"ok": False, "state": "away", "detail": "refused"}.items()
        checks["broker"] = Check(ok=True, state="usable")
        checks["circuit main"] = Check(ok=True, state="closed", detail="3 failures in a row")
        status, second = await get(f"{url}/readyz")
        assert (status, second["status"]) == (200, "ready")
        assert second["checks"]["broker"]["since"] > first["checks"]["broker"]["since"]
        assert second["checks"]["circuit main"]["since"] == first["checks"]["circuit main"]["since"]
        _, metrics = await get(f"{url}/metrics")
    assert "zenoti_ready 1.0" in metrics
    assert 'zenoti_dependency_ok{dependency="broker"} 1.0' in metrics
    assert 'zenoti_build_info{version="1.2.3"} 1.0' in metrics
    assert "process_open_fds" in metrics
    assert "zenoti_api_calls" not in metrics, "a metric of another daemon"


@pytest.mark.parametrize(
    ("against", "ready"),
    [({"broker"}, True), ({"broker", "topology"}, True), ({"spool"}, True), ({"broker", "spool"}, False)],
)
def test_a_door_is_ready_with_broker_or_spool(against: set[str], *, ready: bool) -> None:
    """One of the two is enough; a process that stops is not ready whatever holds."""
    stop = asyncio.Event()
    checks = {name: Check(ok=name not in against) for name in ("broker", "topology", "spool")}
    verdict = Readiness(stop=stop, checks=lambda: checks, spools=True)
    assert verdict()[0] is ready
    stop.set()
    assert verdict()[0] is False


def test_a_service_manager_that_wants_nothing() -> None:
    """Without its variables, or with another process's, nothing is reported, fed or taken over."""
    assert Notify({}).watchdog_seconds is None
    assert Notify({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_seconds is None
    assert Notify({"WATCHDOG_USEC": "1000000"}).watchdog_seconds == 1.0
    Notify({}).notify(READY="1")
    Notify({"NOTIFY_SOCKET": "/nobody/listens"}).notify(READY="1")
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "door"}
    assert given_sockets(environ) == []
    assert environ == {}
