"""The public listener: routes a request, reads its body, asks the stage, and answers. It never decides about events."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import HttpVersion11, web
from multidict import CIMultiDictProxy

from zenoti_ingest.adapters.http_door.answers import Taken, problem, unavailable
from zenoti_ingest.adapters.http_door.bodies import BodyGivenUp, BodyTooLarge, BodyTooSlow, read_body
from zenoti_ingest.adapters.http_door.connections import Connection, Connections
from zenoti_ingest.adapters.http_door.limits import Limits, connections_possible
from zenoti_ingest.telemetry import log, log_canonical
from zenoti_ingest.telemetry.metrics import door_in_flight, door_requests, stage_seconds
from zenoti_schemas.door import Accepted, Pong

BACKLOG = 1024  # connections that the kernel keeps for us
# asyncio accepts as many connections in a turn as its backlog argument says, so that is small: 900 connections at once
# delayed the existing connections by turns of 20 to 40 ms; now by turns of 3 ms.
ACCEPTS_A_TURN = 16
# The kernel's buffer for a connection, and half of what a read can bring; by default it grows to megabytes. The door
# has no TLS, so the sender is a proxy nearby, and 1 MiB still arrives at once. Answers have some 300 bytes.
RECEIVED_BYTES = 32 * 1024
UNREAD_BYTES = 16 * 1024
WEBHOOKS = "/webhooks/"
METHODS = frozenset({"POST", "PUT", "PATCH"})
TUNNEL = "CONNECT"  # the bytes after such a request are not HTTP
NO_SOURCE = "-"  # the metric label of requests to no source


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A request as the stage sees it: raw header values, the type from the path, the tokens from the query."""

    source: str
    path_type: str
    headers: CIMultiDictProxy[str]
    tokens: tuple[str, ...]
    body: bytes
    method: str = "POST"


class Answer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The stage's answer: a status, for 202 the receipt, for errors the detail; `kept`: in the broker or the spool.

    The request's log line contains its fields that are not empty.
    """

    status: int
    receipt_id: str = ""
    detail: str = ""
    kept: str = ""
    trace_id: str = ""


_TAKEN = web.HTTPAccepted.status_code
Receive = Callable[[Arrival], Awaitable[Answer]]


class HttpDoor:
    """The public listener.

    Args:
        receive: the stage.
        sources: the names that exist; any other gets a 404.
        limits: the resources that senders may use.
        answered: called after every answer to a webhook of a source, with the source's name and the status.
    """

    def __init__(
        self, receive: Receive, *, sources: frozenset[str], limits: Limits, answered: Callable[[str, int], None]
    ) -> None:
        self._receive = receive
        self._sources = sources
        self._limits = limits
        self._answered = answered
        self._in_flight = 0
        self._connections: Connections | None = None
        self._servers: list[asyncio.Server] = []
        self._drain_seconds = 0.0

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
            host: the address to listen on.
            port: the port; 0: any free port.
            drain_seconds: how long requests in hand may take after `close`.
            reuse_port: allow other processes to listen on the port too.
            sockets: sockets that listen already, used instead of host and port; their owner goes on listening when we
                close.

        Raises:
            OSError: the port is taken.
        """
        door_in_flight.set_function(lambda: self._in_flight)
        possible = connections_possible(self._limits.max_connections)
        self._connections = Connections(self._handle, limits=self._limits, max_connections=possible)
        self._drain_seconds = drain_seconds
        listen = partial(asyncio.get_running_loop().create_server, self._connections, backlog=ACCEPTS_A_TURN)
        own = [] if sockets else [await listen(host, port, reuse_port=reuse_port)]
        self._servers = [*own, *[await listen(sock=given) for given in sockets]]
        listening = [each for server in self._servers for each in server.sockets]
        for each in listening:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)  # connections inherit both
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
            with socket.socket(fileno=os.dup(each.fileno())) as same:
                same.listen(BACKLOG)
        address = listening[0].getsockname()
        return 0 if isinstance(address, str) else int(address[1])  # a string: a Unix domain socket

    async def close(self) -> None:
        """Take no more connections, finish the requests in hand, close."""
        for server in self._servers:
            server.close()
        if self._connections is not None:
            await asyncio.sleep(0)  # so that requests which have just come are begun
            self._connections.pre_shutdown()
            await self._connections.shutdown(self._drain_seconds)
            self._connections.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began, fields = time.monotonic(), dict[str, Any]()
        try:
            response, source = await self._routed(request, fields)
        except ConnectionError:  # the sender has gone; passed through aiohttp's task, the error would become garbage
            return _closing(unavailable("the connection has gone"))
        self._record(response.status, source, fields, seconds=time.monotonic() - began)
        connection = _connection(request)
        whole = request.content.is_eof() and not connection.is_refused and request.method != TUNNEL
        connection.answered(whole=whole)
        return response if whole else _closing(response)

    def _record(self, status: int, source: str, fields: dict[str, Any], *, seconds: float) -> None:
        """Write the request's log line and its metrics."""
        door_requests.labels(source, status).inc()
        if source != NO_SOURCE:
            stage_seconds.labels("intake", source).observe(seconds)
        how = (
            log_canonical if status == _TAKEN else log.info if status < web.HTTPBadRequest.status_code else log.warning
        )
        how("door_request", **({"source": source, "status": status} | fields), seconds=round(seconds, 4))

    async def _routed(self, request: web.BaseRequest, fields: dict[str, Any]) -> tuple[web.StreamResponse, str]:
        """The answer, and the source that it belongs to."""
        path = request.rel_url.raw_path  # split before percent-decoding: an encoded slash does not separate
        source, _, path_type = path.removeprefix(WEBHOOKS).partition("/")
        if not path.startswith(WEBHOOKS) or source not in self._sources:
            return problem(404, "there is no such source"), NO_SOURCE
        if request.method not in METHODS:
            return problem(405, "POST, PUT or PATCH", {"Allow": "POST, PUT, PATCH"}), NO_SOURCE
        try:
            response = await self._answer(request, source, unquote(path_type, errors="surrogateescape"), fields)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001  # every request gets an answer, even if it meets a defect of ours
            response = self._refusal(error)
        self._answered(source, response.status)
        return response, source

    def _refusal(self, error: Exception) -> web.StreamResponse:
        match error:
            case web.RequestPayloadError():
                return problem(400, "the body is not as its headers say")
            case BodyTooSlow():
                return problem(408, f"the body did not come within {self._limits.body_seconds:g} s")
            case BodyTooLarge():
                return problem(413, f"at most {self._limits.max_body_bytes} bytes")
            case BodyGivenUp():
                return unavailable("too much is on its way in")
            case _:  # the error goes to the log, not to the sender
                log.exception("defect", stage="door")
                return problem(500, "a defect of ours; it has been logged")

    async def _answer(
        self, request: web.BaseRequest, source: str, path_type: str, fields: dict[str, Any]
    ) -> web.StreamResponse:
        limits, connection = self._limits, _connection(request)
        if connection.head_bytes > limits.max_header_bytes:
            return problem(431, f"at most {limits.max_header_bytes} bytes of headers")
        if connection.is_refused:
            raise BodyGivenUp
        if not request.content.is_eof():  # nearly all bodies come with the head
            if (request.content_length or 0) > limits.max_body_bytes:
                raise BodyTooLarge
            if self._in_flight >= limits.max_in_flight:
                return unavailable("too many requests in flight")
            await _continue(request)
        body = await read_body(
            request.content, connection, max_bytes=limits.max_body_bytes, seconds=limits.body_seconds
        )
        if self._in_flight >= limits.max_in_flight:
            return unavailable("too many requests in flight")
        connection.at_work()
        arrival = Arrival(
            source=source,
            path_type=path_type,
            headers=request.headers,
            tokens=_tokens(request.rel_url.raw_query_string),
            body=body,
            method=request.method,
        )
        self._in_flight += 1
        try:
            answer = await self._receive(arrival)
        finally:
            self._in_flight -= 1
        response = _response(answer)
        fields |= msgspec.to_builtins(answer)  # only for an answer that is sent: they include its status
        fields["bytes"] = len(body)
        return response


def _connection(request: web.BaseRequest) -> Connection:
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101  # for the type checker: Connections makes no others
    return connection


def _tokens(query: str) -> tuple[str, ...]:
    """The tokens of a query; parsed here, since yarl's URL would keep the parsed query as long as the connection."""
    return tuple(value for name, value in parse_qsl(query, keep_blank_values=True) if name == "token") if query else ()


async def _continue(request: web.BaseRequest) -> None:
    """Send 100 Continue if the sender waits for it."""
    if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def _closing(response: web.StreamResponse) -> web.StreamResponse:
    response.force_close()
    return response


def _response(answer: Answer) -> web.StreamResponse:
    if answer.receipt_id:
        return Taken(answer.status, Accepted(receipt_id=answer.receipt_id))
    if answer.status == web.HTTPOk.status_code:
        return Taken(answer.status, Pong())
    if answer.status == web.HTTPServiceUnavailable.status_code:
        return unavailable(answer.detail)
    return problem(answer.status, answer.detail)
