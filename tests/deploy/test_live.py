"""Prometheus beside the running system: alerts fired by causing their fault, every query of the dashboard answered.

The rules are deployed as they are, but for the time that an alert waits (`for`), which promtool's tests are about.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from yarl import URL

from tests.acceptance.conftest import System, free_ports, http, invoice_body
from tests.acceptance.signing import signed
from tests.deploy.conftest import documents, needed
from tests.deploy.expressions import DASHBOARD, RULES, panels
from tests.eventually import eventually
from tests.proxy import Proxy

pytestmark = pytest.mark.timeout(180)


class Prometheus:
    """A server that scrapes this system every half second."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def series(self, query: str) -> list[dict[str, Any]]:
        """What a query answers."""
        at = str(URL(f"{self._url}/api/v1/query").with_query(query=query))
        status, _, body = await http("GET", at, headers={"Accept-Encoding": "identity"})
        assert status == 200, f"{query}: {body.decode()}"
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return found

    async def firing(self) -> set[str]:
        """The alerts that fire."""
        return {alert["metric"]["alertname"] for alert in await self.series('ALERTS{alertstate="firing"}')}


@asynccontextmanager
async def watching(system: System, folder: Path) -> AsyncIterator[Prometheus]:
    """Prometheus with the deployed rules, looking at intake and consumers."""
    program = needed("prometheus")
    [rules] = documents(RULES)
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    jobs = {"zenoti-intake": system.intake_admin, "zenoti-consume": system.consume_admin}
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    [port] = free_ports(1)
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await eventually(lambda: _answers(f"http://127.0.0.1:{port}/-/ready"), within=30)
        yield server
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


async def _with_quota(invoice_id: str) -> web.Response:
    """An invoice, and what the vendor says of the quota."""
    quota = {"RateLimit-Limit": "60;w=60;b=60", "RateLimit-Remaining": "42", "RateLimit-Reset": "1"}
    return web.Response(body=invoice_body(invoice_id), content_type="application/json", headers=quota)


async def _answers(url: str) -> bool:
    try:
        return (await http("GET", url))[0] == 200
    except aiohttp.ClientError:
        return False


async def post(system: System, number: int, **data: object) -> None:
    """One signed event."""
    event = {"event_id": f"live-{number}", "event_type": "Guest.Created", "data": {"id": "a-guest"}} | data
    body = json.dumps(event).encode()
    assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202


async def test_alerts_fire_and_every_panel_shows(system: System, broker_url: str, tmp_path: Path) -> None:
    """Dead letters, the broker away and no consumer fire their alerts; the dashboard is whole on a working system."""
    needed("prometheus")
    system.api.answer = _with_quota
    async with Proxy(broker_url) as proxy:
        system.settings["BROKER__URL"] = proxy.url
        await system.start()
        async with watching(system, tmp_path) as prometheus:
            await eventually(lambda: prometheus.series('sum(up{job=~"zenoti-.*"}) == 2'), within=20)
            for number in range(4):
                invoice = {"invoice": {"id": f"invoice-{number}"}}
                await post(system, number, event_type="Invoice.Closed", data=invoice)
                await post(system, 100 + number)
            # Without their `for`, alerts fire before the first scrape is looked at, and where one takes half a second.
            await eventually(lambda: _is_quiet(prometheus), within=20)

            await _all_lit(prometheus)

            body = b"no JSON"
            assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202
            await eventually(lambda: _fires(prometheus, "ZenotiDeadLetters"), within=40)

            proxy.refusing = True
            proxy.cut()
            await eventually(lambda: _fires(prometheus, "ZenotiBrokerAway"), within=20)
            await post(system, 999)
            await eventually(lambda: prometheus.series("sum(zenoti_spool_events) > 0"), within=10)

            system.processes["consume"].kill()
            await eventually(lambda: _fires(prometheus, "ZenotiConsumersDown"), within=20)
        system.settings["BROKER__URL"] = broker_url


async def _is_quiet(prometheus: Prometheus) -> bool:
    """None of the alerts to come fires yet."""
    return not await prometheus.firing() & {"ZenotiDeadLetters", "ZenotiBrokerAway", "ZenotiConsumersDown"}


async def _all_lit(prometheus: Prometheus) -> None:
    """Every query of the dashboard has answered with at least one series."""
    dark = dict(enumerate(panels([DASHBOARD])))  # the other has metrics that only trouble makes

    async def left() -> bool:
        for number, (_, expr) in list(dark.items()):
            if await prometheus.series(expr):
                del dark[number]
        return not dark

    try:
        await eventually(left, within=40)
    except pytest.fail.Exception:
        pytest.fail(f"no series for {list(dark.values())}")


async def _fires(prometheus: Prometheus, alert: str) -> bool:
    return alert in await prometheus.firing()
