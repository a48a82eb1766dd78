"""A sender that closes its sending side after a whole request gets its answer, then the connection is closed."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from tests.doors import limits
from tests.eventually import eventually, next_turn
from tests.integration.test_door_limits import GOOD, HEAD, PATIENCE, SHORT, Client, Door, connected
from zenoti_ingest.adapters.http_door import HttpDoor

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n"
EMPTY = HEAD + b"Content-Length: 0\r\n\r\n"
PIPELINED = 100  # more than aiohttp parses ahead
LONG = 60.0  # seconds; longer than any test waits
HALVES = [
    pytest.param(b"", id="nothing"),
    pytest.param(HEAD[:20], id="half a head"),
    pytest.param(HEAD + b"Content-Length: 4\r\n\r\n", id="a head alone"),
    pytest.param(HEAD + b"Content-Length: 4\r\n\r\ngo", id="half a body"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n", id="chunks without an end"),
]

Run = Callable[[Callable[[Door], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a scenario with a door: on Python's own event loop, then on that of the spawned daemons."""

    async def with_door(scenario: Callable[[Door], Awaitable[None]]) -> None:
        door = Door()
        changed = limits(body_seconds=LONG, header_seconds=LONG, keepalive_seconds=2 * SHORT)
        listener = HttpDoor(door.receive, sources=frozenset({"main"}), limits=changed, answered=door.answered)
        door.port = await listener.listen(host="127.0.0.1", port=0, drain_seconds=0.2)
        try:
            await scenario(door)
        finally:
            await door.leave()
            await listener.close()

    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda scenario: runner.run(with_door(scenario))


async def half_closed(door: Door, sent: bytes) -> Client:
    """A connection that sends so much, and closes its sending side at once."""
    client = await door.connect()
    client.send(sent)
    client.writer.write_eof()
    return client


@pytest.mark.parametrize("request_", [GOOD, CHUNKED, EMPTY], ids=["content-length", "chunked", "ping"])
def test_a_whole_request_is_answered(run: Run, request_: bytes) -> None:
    """Request and FIN arrive together: the answer comes, and then the end of the connection, three times of three."""

    async def scenario(door: Door) -> None:
        for _ in range(3):
            client = await half_closed(door, request_)
            assert await client.status() == (200 if request_ == EMPTY else 202)
            assert await client.ended() == b""

    run(scenario)


def test_a_body_that_came_later(run: Run) -> None:
    """A FIN right behind the last byte of a body that came after its head is answered too."""

    async def scenario(door: Door) -> None:
        client = await door.connect()
        client.send(GOOD[:-2])
        await eventually(connected)
        client.send(GOOD[-2:])
        client.writer.write_eof()
        assert await client.status() == 202
        assert await client.ended() == b""

    run(scenario)


def test_a_stage_that_takes_its_time(run: Run) -> None:
    """The answer comes when the stage has it, however long after the FIN."""

    async def scenario(door: Door) -> None:
        door.gate.clear()
        client = await half_closed(door, GOOD + GOOD)
        await eventually(lambda: door.at_work)
        for _ in range(50):
            await next_turn()
        door.gate.set()
        assert [await client.status(), await client.status()] == [202, 202]
        assert await client.ended() == b""

    run(scenario)


@pytest.mark.parametrize("half", HALVES)
def test_every_whole_one_of_many_is_answered(run: Run, half: bytes) -> None:
    """Pipelined requests are answered in order; what is not whole behind them gets no answer and holds nothing up."""

    async def scenario(door: Door) -> None:
        bodies = [b"%04d" % number for number in range(PIPELINED)]
        client = await half_closed(door, b"".join(GOOD[:-4] + body for body in bodies) + half)
        assert [await client.status() for _ in bodies] == [202] * PIPELINED
        assert await client.ended() == b""
        assert [arrival.body for arrival in door.arrivals] == bodies

    run(scenario)


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_behind_one_at_work(run: Run, half: bytes) -> None:
    """The FIN comes while the complete request is at work: it is answered, the half request is not."""

    async def scenario(door: Door) -> None:
        door.gate.clear()
        client = await door.connect()
        client.send(GOOD)
        await eventually(lambda: door.at_work)
        client.send(half)
        client.writer.write_eof()
        for _ in range(50):
            await next_turn()
        door.gate.set()
        assert await client.status() == 202
        assert await client.ended() == b""
        assert len(door.arrivals) == 1

    run(scenario)


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_is_closed_at_once(run: Run, half: bytes) -> None:
    """A connection that will never have a whole request ends at once, without an answer."""

    async def scenario(door: Door) -> None:
        client = await half_closed(door, half)
        assert await client.ended() == b""
        assert door.arrivals == []

    run(scenario)


def test_half_a_body_whose_head_is_at_work(run: Run) -> None:
    """The FIN comes while the door waits for the rest of a body: the connection ends at once, without an answer."""

    async def scenario(door: Door) -> None:
        client = await door.connect()
        client.send(GOOD + GOOD[:-2])
        assert await client.status() == 202
        client.writer.write_eof()
        assert await client.ended() == b""
        assert len(door.arrivals) == 1

    run(scenario)


def test_an_idle_connection_is_closed_at_once(run: Run) -> None:
    """After its answers a kept connection ends with the FIN."""

    async def scenario(door: Door) -> None:
        client = await door.connect()
        client.send(GOOD)
        assert await client.status() == 202
        client.writer.write_eof()
        assert await client.ended() == b""

    run(scenario)


def test_who_does_not_read_is_dropped(run: Run) -> None:
    """A half-closed connection whose answers nobody reads does not stay for longer than an idle connection may."""

    async def scenario(door: Door) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.setblocking(False)
            await loop.sock_connect(deaf, ("127.0.0.1", door.port))
            sending = asyncio.ensure_future(loop.sock_sendall(deaf, GOOD * 200_000))
            await asyncio.wait([sending], timeout=SHORT)
            sending.cancel()
            await asyncio.wait([sending])
            deaf.shutdown(socket.SHUT_WR)
            await eventually(lambda: not connected(), within=PATIENCE)

    run(scenario)
