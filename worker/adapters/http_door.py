"""The door over HTTP (aiohttp): reads a bounded body within its deadline, asks the stage, answers.

Bodies stay as they came over the wire: aiohttp's own inflating is off. Errors are problem details (RFC 9457).
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

from schemas.door import Accepted, Pong, Problem
from worker.telemetry import door_requests, log

METHODS = frozenset({"POST", "PUT", "PATCH"})
BODY_SECONDS = 8.0  # Zenoti itself gives up after 10 s
MAX_IN_FLIGHT = 512
RETRY_AFTER_SECONDS = 30  # Zenoti's own first retry
KEEPALIVE_SECONDS = 75.0


class Arrival(msgspec.Struct, frozen=True):
    """One request as the stage sees it: header values as they came, the type in the path, tokens of the query."""

    source: str
    path_type: str
    headers: CIMultiDictProxy[str]
    tokens: tuple[str, ...]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """What to answer: a status, and for 202 the receipt, for errors the detail."""

    status: int
    receipt_id: str = ""
    detail: str = ""


Receive = Callable[[Arrival], Awaitable[Answer]]
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class HttpDoor:
    """The public listener.

    Args:
        receive: the stage.
        sources: names that exist; any other is a 404.
        max_body_bytes: larger bodies get 413, chunked or not.
    """

    def __init__(self, receive: Receive, *, sources: frozenset[str], max_body_bytes: int) -> None:
        self._receive = receive
        self._sources = sources
        self._max_body_bytes = max_body_bytes
        self._in_flight = 0
        self._runner: web.AppRunner | None = None

    async def listen(self, *, host: str, port: int, drain_seconds: float) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(middlewares=[_problems], client_max_size=self._max_body_bytes)
        app.router.add_route("*", "/webhooks/{source}", self._handle)
        app.router.add_route("*", r"/webhooks/{source}/{event_type:[\s\S]*}", self._handle)
        app.on_response_prepare.append(_no_banner)
        self._runner = web.AppRunner(
            app,
            access_log=None,  # aiohttp's halves the throughput, and shows the token in the query
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=drain_seconds,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=1024).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Take no more connections, finish the requests in hand, close."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        source = request.match_info["source"]
        if source not in self._sources:
            return _problem(404, "there is no such source")
        if request.method not in METHODS:
            return _problem(405, "POST, PUT or PATCH", {"Allow": "POST, PUT, PATCH"})
        response = await self._counted(request, source)
        door_requests.labels(source, response.status).inc()
        return response

    async def _counted(self, request: web.Request, source: str) -> web.Response:
        if self._in_flight >= MAX_IN_FLIGHT:
            return _unavailable("too many requests in flight")
        self._in_flight += 1
        try:
            return await self._answer(request, source)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request, source: str) -> web.Response:
        if (request.content_length or 0) > self._max_body_bytes:
            return _problem(413, f"at most {self._max_body_bytes} bytes", {"Connection": "close"})
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            return _problem(408, f"the body did not come within {BODY_SECONDS:g} s", {"Connection": "close"})
        arrival = Arrival(
            source=source,
            path_type=request.match_info.get("event_type", ""),
            headers=request.headers,
            tokens=tuple(request.query.getall("token", ())),
            body=body,
        )
        answer = await self._receive(arrival)
        if answer.receipt_id:
            return _json(answer.status, Accepted(receipt_id=answer.receipt_id))
        if answer.status == web.HTTPOk.status_code:
            return _json(answer.status, Pong())
        if answer.status == web.HTTPServiceUnavailable.status_code:
            return _unavailable(answer.detail)
        return _problem(answer.status, answer.detail)


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn aiohttp's own errors into problem details, and a defect as a 500 that tells the stranger nothing."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _problem(error.status, "see the title")
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:  # noqa: BLE001  # the last line of defence: told in the log, not to the stranger
        log.exception("defect", stage="door")
        return _problem(500, "a defect of ours; it has been logged")


async def _no_banner(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "zenoti-ingest"


def _json(status: int, content: Accepted | Pong) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")


def _unavailable(detail: str) -> web.Response:
    return _problem(503, detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(Problem(title=TITLES.get(status, "Error"), status=status, detail=detail))
    return web.Response(status=status, body=body, headers=headers, content_type="application/problem+json")
