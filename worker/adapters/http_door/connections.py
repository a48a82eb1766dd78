"""Connections: how many there may be, and how long each may keep us waiting.

aiohttp has a deadline for an idle connection alone; one that sends half a head, or does not read its answers, would
stay for ever. Here each connection that we wait for has a time at which it is dropped, and where all places are taken
the one that has waited longest makes room: whoever gets to work is fast, so that slow and idle ones cannot shut good
ones out.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import islice
from math import inf
from typing import Any, Literal

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from worker.adapters.http_door.answers import problem
from worker.adapters.http_door.limits import Limits
from worker.telemetry import log
from worker.telemetry.metrics import door_connections, door_connections_dropped, door_malformed

LOOK_SECONDS = 0.25
DROPS_A_TURN = 32  # many that are due at once must not hold up those who are not
A_DAY_SECONDS = 86_400.0  # where a deadline of aiohttp's would go uncounted and blame senders for a held-up loop
LINGERING_SECONDS = 2.0  # so long a body that nobody wants is read on, so that its sender can read our answer

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connections(web.Server):
    """aiohttp's server over connections of our kind."""

    def __init__(self, handler: Handler, *, limits: Limits, max_connections: int) -> None:
        super().__init__(handler, request_factory=self._begun)
        self.limits = limits
        self.waiting: OrderedDict[Connection, None] = OrderedDict()
        self._max_connections = max_connections
        self._open = 0
        door_connections.set_function(lambda: self._open)
        self._loop = asyncio.get_running_loop()
        self._looked_at = self._loop.time()
        self.now = (
            0.0  # counts the time in which we had ears: what came while we were held up is not the sender's delay
        )
        self._look: asyncio.Handle = self._loop.call_later(LOOK_SECONDS, self._drop_the_slow)

    def __call__(self) -> "Connection":
        """The protocol of a connection that has just come."""
        limits = self.limits
        return Connection(
            self,
            loop=self._loop,
            access_log=None,  # aiohttp's halves the throughput, and shows the token in the query
            auto_decompress=False,
            tcp_keepalive=False,  # no connection is silent for long enough to need it
            keepalive_timeout=A_DAY_SECONDS,  # aiohttp's; ours comes before it
            lingering_time=LINGERING_SECONDS,
            max_line_size=limits.max_line_bytes,
            max_field_size=limits.max_header_bytes,
            max_headers=limits.max_headers,
        )

    def stop(self) -> None:
        """Look after connections no more."""
        self._look.cancel()

    def admit(self) -> bool:
        """Whether one more may come; if need be, the one that has waited longest makes room."""
        if self._open >= self._max_connections:
            if not self.waiting:
                door_connections_dropped.labels("full").inc()
                return False
            oldest, _ = self.waiting.popitem(last=False)
            oldest.drop("full")
        self._open += 1
        return True

    def gone(self) -> None:
        """One that was admitted has ended."""
        self._open -= 1

    def _begun(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        protocol.request_begun(payload)
        try:
            return web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        except Exception:  # noqa: BLE001  # aiohttp stumbles over some targets (CONNECT without one), then nobody answers
            return web.BaseRequest(message._replace(url=URL("/")), payload, protocol, writer, task, self._loop)

    def _drop_the_slow(self) -> None:
        now = self._loop.time()
        self.now += min(now - self._looked_at, 2 * LOOK_SECONDS)
        self._looked_at = now
        due = list(islice((one for one in self.waiting if one.due <= self.now), DROPS_A_TURN))
        for one in due:
            one.drop("idle" if one.phase == "idle" else "slow")
        pause = LOOK_SECONDS if len(due) < DROPS_A_TURN else 0.0
        self._look = self._loop.call_later(pause, self._drop_the_slow)


class Connection(web.RequestHandler):
    """One connection: `head` until a request's head is whole, `request` until it is answered, `idle` until the next.

    Attributes:
        due: when it is dropped (by `Connections.now`), unless it has come further by then.
    """

    __slots__ = (
        "_admitted",
        "_connections",
        "_half_closed",
        "_head_bytes",
        "_in_hand",
        "_own_transport",
        "due",
        "phase",
    )

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(connections, **options)
        self._connections = connections
        self._admitted = False
        self._head_bytes = 0
        self._in_hand: StreamReader | None = None  # the body of the request that is at work
        self._half_closed = False
        self._own_transport: asyncio.BaseTransport | None = None  # aiohttp forgets its own before it is closed
        self.due = inf
        self.phase: Literal["head", "request", "idle"] = "head"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or close it at once."""
        self._own_transport = transport
        self._admitted = self._connections.admit()
        if not self._admitted:
            transport.abort()  # type: ignore[attr-defined]  # of a socket it always is a Transport
            return
        super().connection_made(transport)
        self._wait("head", self._connections.limits.header_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let it go."""
        if self._admitted:
            self._admitted = False
            self._connections.gone()
        self._connections.waiting.pop(self, None)
        self._in_hand = None
        super().connection_lost(exc)
        transport, self._own_transport = self._own_transport, None
        if hasattr(transport, "_read_ready_cb"):  # Python 3.11's knows itself by it: only the collector would free it
            transport._read_ready_cb = None  # type: ignore[union-attr]  # noqa: SLF001  # no public word for it

    def data_received(self, data: bytes) -> None:
        """Parse, and count what comes before a head is whole."""
        parsed = self._request_count
        super().data_received(data)
        if self._request_count != parsed:
            if self.phase != "request":
                self._wait("request", inf)  # until its turn comes; reading the body has its own deadline
            return
        if self.phase == "idle":
            self._wait("head", self._connections.limits.header_seconds)
        if self.phase == "head":
            self._head_bytes += len(data)
            if self._head_bytes > self._connections.limits.max_header_bytes:
                self.drop("huge")

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio wants it; aiohttp returns nothing
        """The sender closes its side: whole requests get their answers; False closes at once, since there is none.

        A request that is not whole never will be. It is dropped, unless it is the one that aiohttp takes next.
        """
        if len(self._messages) > (self._in_hand is None) and not self._messages[-1][1].is_eof():
            self._messages.pop()
        self._half_closed = bool(self._messages) and self._messages[0][1].is_eof()
        if self._half_closed:
            return True
        if self._in_hand is None or not self._in_hand.is_eof():
            return False
        self.close()  # once what is at work has been answered
        return True

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # aiohttp's
        """Where nothing was paused there is nothing to resume; aiohttp would parse once more after each body."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def request_begun(self, content: StreamReader) -> None:
        """A request's turn has come; of one that came behind another this is the first that is noted."""
        self._in_hand = content
        if self._half_closed and not self._messages:
            self.close()  # aiohttp ends the connection after this one
        if self.phase != "request":
            self._wait("request", inf)

    def at_work(self) -> None:
        """The body is whole: from here on the connection is not dropped to make room."""
        self._connections.waiting.pop(self, None)

    def answered(self, *, whole: bool) -> None:
        """The answer is about to be written; `whole`: all of the request has come, so another may follow."""
        self._in_hand = None
        if whole:
            self._wait("idle", self._connections.limits.keepalive_seconds)
        else:
            self._wait("request", LINGERING_SECONDS + LOOK_SECONDS)

    def drop(self, why: Literal["full", "huge", "idle", "slow"]) -> None:
        """End it without an answer."""
        self._connections.waiting.pop(self, None)
        if self.transport is not None:
            door_connections_dropped.labels(why).inc()
            self.transport.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP gets a problem that repeats nothing of it, no line in the log, and the connection's end."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionResetError  # whoever has half an answer gets no other
        if status >= web.HTTPInternalServerError.status_code:
            self.log_exception()
        else:
            door_malformed.inc()
        if isinstance(exc, LineTooLong):
            response = problem(431, "the request line or a header is too long")
        elif status >= web.HTTPInternalServerError.status_code:
            response = problem(500, "a defect of ours; it has been logged")
        else:
            response = problem(400, "this is no HTTP request")
        response.force_close()
        return response

    def log_exception(self, *_: Any, **__: Any) -> None:
        """What aiohttp would tell with a stranger's bytes in it is told without."""
        log.exception("defect", stage="door")

    def _wait(self, phase: Literal["head", "request", "idle"], seconds: float) -> None:
        self.phase, self._head_bytes, self.due = phase, 0, self._connections.now + LOOK_SECONDS + seconds
        if self._admitted:
            self._connections.waiting[self] = None
            self._connections.waiting.move_to_end(self)
