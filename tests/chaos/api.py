"""A stand-in for the invoice API that can fail in each of the ways in which an API fails."""

import asyncio
import time
from contextlib import suppress

from aiohttp import web

from tests.acceptance.conftest import free_ports, invoice_body
from tests.chaos.events import LARGE, SICK

USUAL_SECONDS, SLOW_SECONDS = 0.05, 1.0
LARGE_BYTES = 40_000
_GATEWAY = "<html><title>404</title>There is nothing behind this gateway.</html>"
_NO_GRACE = 0.05


class Api:
    """Answers by its `mode`: ok, slow, hang, half, garbage, gateway, or a status; `down` closes its port.

    For sick invoices it answers 500 whatever the mode, and large invoices are longer by LARGE_BYTES.

    Attributes:
        times: of every call, by the monotonic clock.
        latest: the time of the latest call by the process with that name as the first part of its base URL.
    """

    def __init__(self) -> None:
        (self._port,) = free_ports(1)
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()
        self.mode = "ok"
        self.times: list[float] = []
        self.latest: dict[str, float] = {}
        self.url = f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get("/v1/invoices/{id}", self._handle)
        app.router.add_get("/{who}/v1/invoices/{id}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_NO_GRACE)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        """Close the port and break off what is connected."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def become(self, mode: str) -> None:
        """Fail so from now on; `ok` heals, and lets go of those that hang."""
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode == "down":
            await self.stop()
        elif self._runner is None:
            await self.start()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.times.append(time.monotonic())
        self.latest[request.match_info.get("who", "")] = self.times[-1]
        invoice_id = request.match_info["id"]
        body = invoice_body(invoice_id)
        if invoice_id.startswith(LARGE):  # within the invoice: what is around it stays behind
            body = body.replace(b'{ "id"', b"{" + b" " * LARGE_BYTES + b'"id"')
        if self.mode == "half":
            return await _half(request, body)
        await asyncio.sleep(SLOW_SECONDS if self.mode == "slow" else USUAL_SECONDS)
        if self.mode == "hang":
            await self._changed.wait()
        if self.mode == "gateway":
            return web.Response(status=404, text=_GATEWAY, content_type="text/html")
        if invoice_id.startswith(SICK):
            return web.Response(status=500, body=b'{"Message": "an error"}', content_type="application/json")
        if self.mode.isdecimal():
            return web.Response(status=int(self.mode), headers={"Retry-After": "1"})
        whole = self.mode in {"ok", "slow"}
        return web.Response(body=body if whole else body[: len(body) // 2], content_type="application/json")


async def _half(request: web.Request, body: bytes) -> web.StreamResponse:
    """Headers that promise all of it, half of the body, and the connection breaks off."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    with suppress(ConnectionError):
        await answer.prepare(request)
        await answer.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.abort()
    return answer
