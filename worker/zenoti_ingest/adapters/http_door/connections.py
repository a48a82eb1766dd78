"""Connections: how many there may be, and how long we wait for each.

aiohttp has a deadline only for idle connections; a connection that sends half a head, or does not read its answers,
would stay for ever. Here each connection that we wait for has a deadline. When the maximum is reached, the connection
that we have waited for longest is dropped. Good senders are fast, so slow and idle connections cannot shut them out.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from itertools import chain
from math import inf
from typing import Any, Literal

from aiohttp import StreamReader, web, web_protocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from yarl import URL

from zenoti_ingest.adapters.http_door.answers import problem
from zenoti_ingest.adapters.http_door.bodies import UnderWay
from zenoti_ingest.adapters.http_door.limits import Limits
from zenoti_ingest.adapters.http_door.memory import SMALL_REQUEST_BYTES, Memory, half_parsed_bytes, parsed_bytes
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import door_connections, door_connections_dropped, door_malformed

DEADLINE_POLL_SECONDS = 0.25
# Many connections that are due at once must not delay good requests. Dropping a connection costs 0.2 ms in all, so
# dropping takes at most an eighth of the event loop's time: 800 connections a second.
DROPS_A_TURN = 8
DROP_PAUSE_SECONDS = 0.01
A_DAY_SECONDS = 86_400.0  # for aiohttp's own deadlines, which no metric counts, and which blame senders for a slow loop
LINE_BYTES = 14  # of a request line beside method and target, and of the empty line behind the headers
# Of a body that nobody reads yet, aiohttp parses at most twice this size, and at most a chunk for each 16 bytes of it.
# Chunks of a byte cost 50 bytes and a microsecond each: with aiohttp's 256 KiB a read of a connection took 30 ms.
READ_AHEAD_BYTES = 16 * 1024
CHUNKED_FACTOR = 3  # memory per byte of a chunked body, if the byte is a trailer or a chunk of its own
HEAD_END = b"\r\n\r\n"
SEPARATOR_BYTES = 4  # `: ` and the end of a header's line
# aiohttp's parser parses this many requests ahead of their handling; by default 32, each with its head in memory. This
# constant is the only way to change that.
web_protocol.MAX_MSG_QUEUE_SIZE = 1
LINGERING_PAUSE_SECONDS = 0.05  # between two reads of discarded bytes
LINGERING_SECONDS = 2.0  # how long a refused body is read and discarded, so that its sender can read our answer

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class NoRequest(Exception):
    """The bytes received are not an HTTP request."""


class TooLong(NoRequest):
    """The request line or a header is longer than allowed."""


class Connections(web.Server):
    """aiohttp's server, with our `Connection` as its protocol."""

    def __init__(self, handler: Handler, *, limits: Limits, max_connections: int) -> None:
        super().__init__(handler, request_factory=self._begun)
        self.limits = limits
        self.waiting: OrderedDict[Connection, None] = OrderedDict()
        self._overdue: deque[Connection] = deque()
        self.memory = Memory(limits.max_buffered_bytes)
        self._max_connections = max_connections
        self._open = 0
        door_connections.set_function(lambda: self._open)
        self._loop = asyncio.get_running_loop()
        self._looked_at = self._loop.time()
        self.now = 0.0  # does not count the time in which the event loop was blocked: that delay is not the sender's
        self._look: asyncio.Handle = self._loop.call_later(DEADLINE_POLL_SECONDS, self._drop_the_slow)

    def __call__(self) -> "Connection":
        """The protocol of a new connection."""
        limits = self.limits
        return Connection(
            self,
            loop=self._loop,
            access_log=None,  # aiohttp's log halves the throughput, and shows the token in the query
            auto_decompress=False,
            tcp_keepalive=False,  # no connection is silent long enough to need it
            keepalive_timeout=A_DAY_SECONDS,  # aiohttp's deadline; ours comes first
            lingering_time=LINGERING_SECONDS,
            read_bufsize=READ_AHEAD_BYTES,
            max_line_size=limits.max_line_bytes,
            max_field_size=limits.max_header_bytes,
            max_headers=limits.max_headers,
        )

    def stop(self) -> None:
        """Stop checking deadlines."""
        self._look.cancel()

    def admit(self) -> bool:
        """Whether another connection may come; if necessary, the connection we have waited for longest is dropped."""
        if self._open >= self._max_connections:
            if not self.waiting:
                door_connections_dropped.labels("full").inc()
                return False
            oldest, _ = self.waiting.popitem(last=False)
            oldest.drop("full")
        self._open += 1
        return True

    def gone(self) -> None:
        """An admitted connection has ended."""
        self._open -= 1

    def _begun(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        protocol.request_begun(payload)
        try:
            return web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        except Exception:  # noqa: BLE001  # aiohttp fails on some targets (an empty CONNECT) and would not answer
            return web.BaseRequest(message._replace(url=URL("/")), payload, protocol, writer, task, self._loop)

    def _drop_the_slow(self) -> None:
        now = self._loop.time()
        self.now += min(now - self._looked_at, 2 * DEADLINE_POLL_SECONDS)
        self._looked_at = now
        if not self._overdue:
            self._overdue.extend(connection for connection in self.waiting if connection.due <= self.now)
        for _ in range(min(DROPS_A_TURN, len(self._overdue))):
            connection = self._overdue.popleft()
            if connection.due <= self.now and connection in self.waiting:  # it may have made progress meanwhile
                connection.drop("idle" if connection.phase == "idle" else "slow")
        pause = DROP_PAUSE_SECONDS if self._overdue else DEADLINE_POLL_SECONDS
        self._look = self._loop.call_later(pause, self._drop_the_slow)


class Connection(web.RequestHandler):
    """A connection: `head` until a request's head is complete, `request` until it is answered, `idle` until the next.

    It handles a single request at a time. Bytes behind an unanswered request stay unparsed, and reading goes on once
    the answer has left. So a sender that does not read its answers costs the memory of one answer and of one read.

    Attributes:
        due: when it is dropped (by `Connections.now`), unless it makes progress by then.
        under_way: the body that is being read.
        head_bytes: size of all headers of the last request.
        is_refused: there is no memory for the current request, and some of it may have been discarded, so it is the
            last on this connection.
    """

    __slots__ = (
        "_admitted",
        "_came",
        "_came_last",
        "_connections",
        "_content",
        "_factor",
        "_head_cost",
        "_line_bytes",
        "_lingers",
        "_own_transport",
        "_partial_bytes",
        "due",
        "head_bytes",
        "is_refused",
        "phase",
        "under_way",
    )

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(connections, **options)
        self._connections = connections
        self._admitted = False
        self._partial_bytes = 0  # of an incomplete head
        self._came = 0  # at most so many bytes have come that belong to no answered request
        self._came_last = 0  # in the last read
        self._content: StreamReader | None = None  # the body of the request that has not been answered
        self._factor = 1  # memory per byte of that body
        self._head_cost = 0  # memory of the last head: the parser and aiohttp's loop keep it until the next head
        self._line_bytes = 0  # of the last request: its first line, and the separators of its headers
        self._lingers = False  # the rest of an answered request is read and discarded
        self._own_transport: asyncio.BaseTransport | None = None  # aiohttp forgets its own before it is closed
        self.head_bytes = 0
        self.is_refused = False
        self.under_way: UnderWay | None = None
        self.due = inf
        self.phase: Literal["head", "request", "idle"] = "head"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or close it at once."""
        self._own_transport = transport
        self._admitted = self._connections.admit()
        if not self._admitted:
            transport.abort()  # type: ignore[attr-defined]  # a socket's transport is always a Transport
            return
        transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined]  # likewise; a buffered answer counts as unread
        super().connection_made(transport)
        self._wait("head", self._connections.limits.header_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release what the connection held."""
        if self._admitted:
            self._admitted = False
            self._connections.gone()
        self._connections.waiting.pop(self, None)
        self._connections.memory.released(self)
        self._content = None
        super().connection_lost(exc)
        transport, self._own_transport = self._own_transport, None
        if hasattr(transport, "_read_ready_cb"):  # Python 3.11: a reference cycle, which only the collector would free
            transport._read_ready_cb = None  # type: ignore[union-attr]  # noqa: SLF001  # there is no public way

    def data_received(self, data: bytes) -> None:
        """Parse up to the end of a single request, and count what comes before a head is complete."""
        if self._lingers:
            self._read_on_later()
            return
        self._came += len(data)
        self._came_last = len(data) or self._came_last
        if self._connections.memory.is_overrun and self._came > SMALL_REQUEST_BYTES:
            data = self._refused(data)
            if not data:
                return
        parsed = self._request_count
        super().data_received(data)
        if self._request_count != parsed:
            self._parsed(*self._messages[-1])
            self._lingers = self.is_refused
        elif data and self.phase == "idle":
            self._wait("head", self._connections.limits.header_seconds)
        if self.phase == "head":
            self._partial_bytes += len(data)
            if self._partial_bytes > self._connections.limits.max_header_bytes:
                self.drop("huge")
                return
        if self._content is not None and self._content.is_eof() and not self._buffer_paused:
            self._pause_reading_for_buffer()  # until it is answered; aiohttp does so if a head comes with its body
        self._count()

    def eof_received(self) -> None:
        """The sender closes its side. We read this only when no complete request is unanswered: asyncio may close."""

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # aiohttp's
        """Resume reading only if it was paused; aiohttp would parse once more after each body."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def resume_writing(self) -> None:
        """The last answer has left."""
        super().resume_writing()
        if self._content is None:
            self._wait("idle", self._connections.limits.keepalive_seconds)
            self._take_next()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer; once it has been sent, take the next request."""
        finished = await super().finish_response(request, resp, start_time)
        if self.writing_paused:
            limits = self._connections.limits
            self._wait("request", min(limits.header_seconds, limits.keepalive_seconds))
        elif resp.keep_alive:
            self._take_next()
        return finished

    def request_begun(self, content: StreamReader) -> None:
        """A request's turn has come."""
        if not content.is_eof():
            self._resume_reading_for_buffer()  # to read the rest of the body

    def at_work(self) -> None:
        """The body is complete: from now on the connection is not dropped to make room."""
        self._connections.waiting.pop(self, None)
        self._connections.memory.stays(self)

    def answered(self, *, whole: bool) -> None:
        """The answer is about to be written; `whole`: the request is complete, so another may follow."""
        content, self._content = self._content, None
        if content is not None:
            used = self._line_bytes + self.head_bytes + content.total_bytes
            self._came = min(max(self._came - used, 0), self._came_last)
        self._connections.memory.released(self)
        if whole:
            self._wait("idle", self._connections.limits.keepalive_seconds)
        else:
            self._lingers = True
            self._wait("request", LINGERING_SECONDS + DEADLINE_POLL_SECONDS)
        self._count()

    def give_way(self) -> None:
        """Free memory: all connections together hold too much, and this connection has held some for longest."""
        if self._content is None:
            self.drop("memory")
        else:
            self._refuse()

    def drop(self, why: Literal["full", "huge", "idle", "memory", "slow"]) -> None:
        """Close the connection without an answer."""
        self._connections.waiting.pop(self, None)
        if self.transport is not None:
            door_connections_dropped.labels(why).inc()
            self.transport.abort()
            if self.phase != "request":  # the parser holds all of it; a request frees its own after its turn
                self._parser = None
                self._connections.memory.released(self)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer malformed HTTP with a problem that quotes nothing of it, log nothing, and close the connection."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionResetError  # half an answer has been sent: no other may follow
        if status >= web.HTTPInternalServerError.status_code:
            self.log_exception()
        else:
            door_malformed.inc()
        if isinstance(exc, TooLong | LineTooLong):
            response = problem(431, "the request line or a header is too long")
        elif status >= web.HTTPInternalServerError.status_code:
            response = problem(500, "a defect of ours; it has been logged")
        else:
            response = problem(400, "this is no HTTP request")
        response.force_close()
        return response

    def log_exception(self, *_: Any, **__: Any) -> None:
        """Log the defect without the sender's bytes, which aiohttp would log."""
        log.exception("defect", stage="door")

    def _refused(self, data: bytes) -> bytes:
        """Refuse a request for lack of memory; return the bytes to parse so that it gets an answer; empty: none."""
        end = 0
        if self.phase != "request":
            end = data.find(HEAD_END, 0, SMALL_REQUEST_BYTES) + len(HEAD_END)
            if end < len(HEAD_END):
                self.drop("memory")
                return b""
        self._came -= len(data) - end
        self._refuse()
        self._lingers = end == 0
        if self._lingers:
            self._read_on_later()
        return data[:end]

    def _refuse(self) -> None:
        self.is_refused = True
        if self.under_way is not None:
            self.under_way.give_up()

    def _read_on_later(self) -> None:
        """Discard what came, and leave the next turns of the event loop to other connections."""
        self._pause_reading_for_buffer()
        self._loop.call_later(LINGERING_PAUSE_SECONDS, self._resume_reading_for_buffer)

    def _resume_reading_if_drained(self) -> None:
        """Do nothing: aiohttp would parse the next request as soon as it begins to handle this request."""

    def _take_next(self) -> None:
        """Parse what came behind an answered request; read on if that holds no complete request."""
        taken = self._content is not None or self._messages or not self._buffer_paused
        if taken or self._close or self._force_close or self.transport is None:
            return
        self.data_received(b"")
        if self._upgraded and self._parser is not None:  # we upgrade to no other protocol: HTTP follows as before
            tail, self._message_tail = self._message_tail, b""
            self._upgraded = False
            self._parser.set_upgraded(False)
            self._came -= len(tail)
            self.data_received(tail)
        if self._content is not None or self._messages:
            return
        self._resume_reading_for_buffer()
        if self._came:
            self._wait("head", self._connections.limits.header_seconds)

    def _parsed(self, message: Any, content: StreamReader) -> None:
        """The head of the next request is complete, or the bytes are not HTTP."""
        self._content = content
        self.head_bytes = self._head_cost = self._line_bytes = 0
        self._factor = 1
        if isinstance(message, RawRequestMessage):
            headers = message.raw_headers
            self.head_bytes = len(b"".join(chain.from_iterable(headers)))
            self._line_bytes = len(message.method) + len(message.path or "") + LINE_BYTES
            self._line_bytes += SEPARATOR_BYTES * len(headers)
            self._head_cost = parsed_bytes(headers, self._line_bytes + self.head_bytes)
            self._factor = CHUNKED_FACTOR if message.chunked else 1
        else:  # replace the error: its text quotes all that came, escaped, and its traceback keeps that in memory
            error = TooLong() if isinstance(message.exc, LineTooLong) else NoRequest()
            self._messages[-1] = (type(message)(status=message.status, exc=error, message=""), content)
        if self.phase != "request":
            self._wait("request", inf)  # until its turn comes; reading the body has its own deadline

    def _count(self) -> None:
        """Count the memory that this connection holds."""
        count = self._head_cost + self._factor * self._came
        if self._came and self.phase != "request":  # it may contain a part of a head
            count += half_parsed_bytes(self._came, max_headers=self._connections.limits.max_headers)
        self._connections.memory.keeps(self, count)

    def _wait(self, phase: Literal["head", "request", "idle"], seconds: float) -> None:
        self.phase, self._partial_bytes, self.due = phase, 0, self._connections.now + DEADLINE_POLL_SECONDS + seconds
        if self._admitted:
            self._connections.waiting[self] = None
            self._connections.waiting.move_to_end(self)
