"""The admin listener: /healthz, /readyz, /metrics. On loopback by default; it says nothing of customers."""

import errno
from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

PORTS_TRIED = 20


class Check(msgspec.Struct, frozen=True):
    """One dependency: whether it holds, since when (Unix seconds), and what stands against it."""

    ok: bool
    since: float | None = None
    detail: str = ""


class AdminHttp:
    """The listener.

    Args:
        ready: the verdict, and the dependencies it rests on.
        registry: of the metrics.
    """

    def __init__(self, ready: Callable[[], tuple[bool, Mapping[str, Check]]], *, registry: CollectorRegistry) -> None:
        self._ready = ready
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def listen(self, *, host: str, port: int) -> int:
        """Listen on the port, or the next free of PORTS_TRIED; returns which.

        Raises:
            OSError: none of them is free.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        last = port if port == 0 else min(port + PORTS_TRIED - 1, 65535)
        for candidate in range(port, last + 1):
            try:
                await web.TCPSite(self._runner, host, candidate).start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE or candidate == last:
                    raise
            else:
                break
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(body=b'{"status":"ok"}', content_type="application/json")

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, checks = self._ready()
        body = msgspec.json.encode({"status": "ready" if ready else "unready", "checks": checks})
        return web.Response(status=200 if ready else 503, body=body, content_type="application/json")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
