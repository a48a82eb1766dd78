"""A reverse proxy between the workers and the API: notes when each call begins and ends, and whose it is."""

import time

import aiohttp
from aiohttp import web

from tests.bench.closing_time.quota_use import Call

PATIENCE = aiohttp.ClientTimeout(total=15)
PASSED_ON = ("Content-Type", "Retry-After")


class Recorder:
    """A port for each worker process, so that a call shows whose it is."""

    def __init__(self, upstream: str) -> None:
        self.calls: list[Call] = []
        self._upstream = upstream
        self._ports: list[int] = []
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self, processes: int) -> list[str]:
        """Listen; returns an address for each process."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._pass_on)
        self._session = aiohttp.ClientSession(self._upstream, timeout=PATIENCE)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        for _ in range(processes):
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._ports = [address[1] for address in self._runner.addresses]
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    async def stop(self) -> None:
        """Close everything."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.Response:
        assert self._session is not None
        at, status = time.time(), 0
        try:
            headers = {"Authorization": request.headers.get("Authorization", "")}
            async with self._session.get(request.rel_url, headers=headers) as answer:
                status, body = answer.status, await answer.read()
                kept = {name: value for name, value in answer.headers.items() if _is_kept(name)}
                return web.Response(status=status, body=body, headers=kept)
        finally:
            invoice_id = request.path.rpartition("/")[2]
            self.calls.append(Call(at, time.time(), invoice_id, self._process(request), status))

    def _process(self, request: web.Request) -> int:
        assert request.transport is not None, "gone before its answer"
        return self._ports.index(request.transport.get_extra_info("sockname")[1])


def _is_kept(name: str) -> bool:
    return name in PASSED_ON or "ratelimit" in name.lower()
