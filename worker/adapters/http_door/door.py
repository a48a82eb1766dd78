"""One request: its route, its head, its body, the stage's answer."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import HttpVersion11, web
from multidict import CIMultiDictProxy

from schemas.door import Accepted, Pong
from worker.adapters.http_door.answers import Taken, problem, unavailable
from worker.adapters.http_door.bodies import Bodies, BodyGivenUp, BodyTooLarge, BodyTooSlow
from worker.adapters.http_door.connections import Connection, Connections
from worker.adapters.http_door.limits import Limits, connections_possible
from worker.telemetry import log
from worker.telemetry.metrics import door_in_flight, door_requests, stage_seconds

BACKLOG = 1024
METHODS = frozenset({"POST", "PUT", "PATCH"})
NO_SOURCE = "-"  # the label of what was sent to no source


class Arrival(msgspec.Struct, frozen=True):
    """One request as the stage sees it: header values as they came, the type in the path, tokens of the query."""

    source: str
    path_type: str
    headers: CIMultiDictProxy[str]
    tokens: tuple[str, ...]
    body: bytes
    method: str = "POST"


class Answer(msgspec.Struct, frozen=True):
    """What to answer: a status, and for 202 the receipt, for errors the detail; `kept`: in the broker or the spool."""

    status: int
    receipt_id: str = ""
    detail: str = ""
    kept: str = ""
    trace_id: str = ""


_ANSWER, _BYTES = web.RequestKey("answer", Answer), web.RequestKey("bytes", int)  # what a request's line tells
Receive = Callable[[Arrival], Awaitable[Answer]]


class HttpDoor:
    """The public listener.

    Args:
        receive: the stage.
        sources: names that exist; any other is a 404.
        limits: how much of us a stranger may use.
        answered: hears of every answer to a webhook of a source: its name, the status.
    """

    def __init__(
        self, receive: Receive, *, sources: frozenset[str], limits: Limits, answered: Callable[[str, int], None]
    ) -> None:
        self._receive = receive
        self._sources = sources
        self._limits = limits
        self._answered = answered
        self._in_flight = 0
        self._bodies = Bodies(
            max_body_bytes=limits.max_body_bytes,
            max_buffered_bytes=limits.max_buffered_bytes,
            seconds=limits.body_seconds,
        )
        self._connections: Connections | None = None
        self._runner: web.ServerRunner | None = None

    async def listen(
        self,
        *,
        host: str,
        port: int,
        drain_seconds: float,
        reuse_port: bool = False,
        sockets: Sequence[socket.socket] = (),
    ) -> int:
        """Listen, and return the port.

        Args:
            host: where.
            port: where; 0: any.
            drain_seconds: how long requests in hand may take once it closes.
            reuse_port: other processes may listen on it too.
            sockets: that listen already, instead of host and port; whoever gave them goes on listening when we close.

        Raises:
            OSError: the port is taken.
        """
        possible = connections_possible(self._limits.max_connections)
        self._connections = Connections(self._handle, limits=self._limits, max_connections=possible)
        self._runner = web.ServerRunner(self._connections, shutdown_timeout=drain_seconds)
        await self._runner.setup()
        own = [] if sockets else [web.TCPSite(self._runner, host, port, backlog=BACKLOG, reuse_port=reuse_port)]
        for site in (*own, *(web.SockSite(self._runner, given, backlog=BACKLOG) for given in sockets)):
            await site.start()
        address = self._runner.addresses[0]
        return 0 if isinstance(address, str) else int(address[1])  # text: a socket in the file system

    async def close(self) -> None:
        """Take no more connections, finish the requests in hand, close."""
        if self._runner is not None and self._connections is not None:
            await self._runner.cleanup()
            self._connections.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        response, source = await self._routed(request)
        self._tell(request, response, source, seconds=time.monotonic() - began)
        whole = request.content.is_eof()
        if not whole:
            response.force_close()
        _connection(request).answered(whole=whole)
        return response

    def _tell(self, request: web.BaseRequest, response: web.StreamResponse, source: str, *, seconds: float) -> None:
        """One line for each request, and its metrics."""
        status, answer = response.status, request.get(_ANSWER)
        door_requests.labels(source, status).inc()
        if source != NO_SOURCE:
            stage_seconds.labels("intake", source).observe(seconds)
        told: dict[str, Any] = {"source": source, "status": status}
        if answer is not None:
            fields = {
                "receipt_id": answer.receipt_id,
                "trace_id": answer.trace_id,
                "kept": answer.kept,
                "detail": answer.detail,
            }
            told |= {name: value for name, value in fields.items() if value} | {"bytes": request[_BYTES]}
        tell = log.info if status < web.HTTPBadRequest.status_code else log.warning
        tell("door_request", **told, seconds=round(seconds, 4))

    async def _routed(self, request: web.BaseRequest) -> tuple[web.StreamResponse, str]:
        """The answer, and of which source."""
        response: web.StreamResponse
        # Split before percent-decoding: an encoded slash is none.
        _, route, source, path_type, *_ = (*request.rel_url.raw_path.split("/", 3), "", "", "")
        if route != "webhooks" or source not in self._sources:
            response, source = problem(404, "there is no such source"), NO_SOURCE
        elif request.method not in METHODS:
            response, source = problem(405, "POST, PUT or PATCH", {"Allow": "POST, PUT, PATCH"}), NO_SOURCE
        else:
            response = await self._guarded(request, source, unquote(path_type, errors="surrogateescape"))
            self._answered(source, response.status)
        return response, source

    async def _guarded(self, request: web.BaseRequest, source: str, path_type: str) -> web.StreamResponse:
        """Every request gets an answer, a broken one or one that meets a defect of ours too."""
        try:
            return await self._answer(request, source, path_type)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except web.RequestPayloadError:
            return problem(400, "the body is not as its headers say")
        except BodyTooSlow:
            return problem(408, f"the body did not come within {self._limits.body_seconds:g} s")
        except BodyTooLarge:
            return self._too_large()
        except BodyGivenUp:
            return unavailable("too much is on its way in")
        except Exception:  # noqa: BLE001  # the last line of defence: told in the log, not to the stranger
            log.exception("defect", stage="door")
            return problem(500, "a defect of ours; it has been logged")

    async def _answer(self, request: web.BaseRequest, source: str, path_type: str) -> web.StreamResponse:
        limits = self._limits
        if sum(len(name) + len(value) for name, value in request.raw_headers) > limits.max_header_bytes:
            return problem(431, f"at most {limits.max_header_bytes} bytes of headers")
        if (request.content_length or 0) > limits.max_body_bytes:
            return self._too_large()
        if self._in_flight >= limits.max_in_flight:
            return unavailable("too many requests in flight")
        await _continue(request)
        async with self._bodies.read(request.content) as body:
            if self._in_flight >= limits.max_in_flight:
                return unavailable("too many requests in flight")
            _connection(request).at_work()
            tokens = tuple(request.query.getall("token", ()))
            arrival = Arrival(
                source=source,
                path_type=path_type,
                headers=request.headers,
                tokens=tokens,
                body=body,
                method=request.method,
            )
            answer = await self._counted(arrival)
            request[_ANSWER], request[_BYTES] = answer, len(body)
            return _response(answer)

    async def _counted(self, arrival: Arrival) -> Answer:
        self._in_flight += 1
        door_in_flight.set(self._in_flight)
        try:
            return await self._receive(arrival)
        finally:
            self._in_flight -= 1
            door_in_flight.set(self._in_flight)

    def _too_large(self) -> web.StreamResponse:
        return problem(413, f"at most {self._limits.max_body_bytes} bytes")


def _connection(request: web.BaseRequest) -> Connection:
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101  # for the type checker: Connections makes no others
    return connection


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body where its sender waits for that."""
    if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not been begun


def _response(answer: Answer) -> web.StreamResponse:
    if answer.receipt_id:
        return Taken(answer.status, Accepted(receipt_id=answer.receipt_id))
    if answer.status == web.HTTPOk.status_code:
        return Taken(answer.status, Pong())
    if answer.status == web.HTTPServiceUnavailable.status_code:
        return unavailable(answer.detail)
    return problem(answer.status, answer.detail)
