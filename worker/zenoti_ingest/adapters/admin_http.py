"""The admin listener: /healthz, /readyz, /metrics. On loopback by default; it shows no customer data."""

import errno
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from zenoti_ingest.telemetry import metrics

PORTS_TRIED = 20


class Check(msgspec.Struct, frozen=True):
    """One dependency.

    Attributes:
        ok: whether the dependency works.
        state: its state, as a word.
        since: when it entered this state, to the second (RFC 3339, UTC).
        detail: why it does not work, or what else an operator should know.
    """

    ok: bool
    state: str = ""
    since: str = ""
    detail: str = ""


class Loop(Protocol):
    """The state of the event loop."""

    @property
    def lag_seconds(self) -> float:
        """The longest recent delay of the event loop, in seconds."""

    @property
    def is_hung(self) -> bool:
        """Whether the delay is so long that the process is useless."""


class AdminHttp:
    """The listener.

    Args:
        ready: returns whether the process is ready, and the dependencies that decide this.
        loop: the state of the event loop.
        registry: holds the metrics.
    """

    def __init__(
        self, ready: Callable[[], tuple[bool, Mapping[str, Check]]], *, loop: Loop, registry: CollectorRegistry
    ) -> None:
        self._ready = ready
        self._loop = loop
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def listen(self, *, host: str, port: int) -> int:
        """Listen on the first free of PORTS_TRIED ports, from `port` on; return its number.

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
        hung, lag = self._loop.is_hung, self._loop.lag_seconds
        return _json({"status": "hung" if hung else "ok", "lag_seconds": round(lag, 3)}, ok=not hung)

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, checks = self._ready()
        return _json({"status": "ready" if ready else "unready", "checks": checks}, ok=ready)

    async def _metrics(self, _: web.Request) -> web.Response:
        ready, checks = self._ready()
        metrics.ready.set(ready)
        for name, check in checks.items():
            metrics.dependency_ok.labels(name).set(check.ok)
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(content: dict[str, Any], *, ok: bool) -> web.Response:
    status = web.HTTPOk.status_code if ok else web.HTTPServiceUnavailable.status_code
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")
