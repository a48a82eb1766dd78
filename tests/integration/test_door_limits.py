import asyncio
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from typing import Any

import pytest

from tests.doors import limits
from tests.eventually import eventually, next_turn
from zenoti_ingest.adapters.http_door import Answer, Arrival, HttpDoor
from zenoti_ingest.adapters.http_door.connections import DROPS_A_TURN, Connection
from zenoti_ingest.adapters.http_door.door import ACCEPTS_A_TURN
from zenoti_ingest.telemetry.metrics import door_connections

RECEIPT = "01985a3e-7c40-7abc-8def-0123456789ab"
LINE = b"POST /webhooks/main HTTP/1.1\r\n"
HEAD = LINE + b"Host: door\r\n"
GOOD = HEAD + b"Content-Length: 4\r\n\r\ngood"
SHORT = 0.5  # seconds
PATIENCE = 10.0
MANY = 300


class Door:
    """A door whose stage keeps what came, and answers while its gate is open."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.answers: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_work = 0
        self.port = 0
        self.clients: list[Client] = []

    async def receive(self, arrival: Arrival) -> Answer:
        """The stage."""
        self.at_work += 1
        await self.gate.wait()
        self.at_work -= 1
        self.arrivals.append(arrival)
        return Answer(202, receipt_id=RECEIPT) if arrival.body else Answer(200)

    def answered(self, source: str, status: int) -> None:
        """The statuses of the door's answers."""
        self.answers.append((source, status))

    async def connect(self) -> "Client":
        """A connection to it."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def leave(self) -> None:
        """End every connection."""
        for client in self.clients:
            client.writer.transport.abort()
            with suppress(ConnectionError):
                await client.writer.wait_closed()


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Send, whether the other end still listens or not."""
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def status(self) -> int:
        """The next answer's status; errors must be problem details."""
        status, headers, body = await self.answer()
        if status >= 400:
            assert headers["content-type"].startswith("application/problem+json")
            assert json.loads(body)["status"] == status
        return status

    async def ended(self) -> bytes:
        """Wait until the other end closes; what it had said before that."""
        said = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while data := await self.reader.read(65536):
                    said += data
            except ConnectionError:
                pass
        return said


OpenDoor = Callable[..., Awaitable[Door]]


@pytest.fixture
async def open_door() -> AsyncIterator[OpenDoor]:
    """Opens doors with such limits; they close with the test."""
    async with AsyncExitStack() as ending:

        async def opened(*, port: int = 0, reuse_port: bool = False, **changed: float) -> Door:
            door = Door()
            listener = HttpDoor(
                door.receive, sources=frozenset({"main"}), limits=limits(**changed), answered=door.answered
            )
            door.port = await listener.listen(host="127.0.0.1", port=port, drain_seconds=0.2, reuse_port=reuse_port)
            ending.push_async_callback(listener.close)
            ending.callback(door.gate.set)
            ending.push_async_callback(door.leave)
            return door

        yield opened


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST", id="half a line"),
        pytest.param(HEAD, id="half a head"),
        pytest.param(GOOD + HEAD, id="half a head behind a whole request"),
    ],
)
async def test_half_a_head_is_dropped(open_door: OpenDoor, sent: bytes) -> None:
    """A connection that does not come to the end of its headers ends, whatever it has sent before."""
    client = await (await open_door(header_seconds=SHORT, keepalive_seconds=SHORT)).connect()
    client.send(sent)
    said = await client.ended()
    assert said.count(b"HTTP/1.1") == sent.count(GOOD)


async def test_dripping_heads_are_dropped(open_door: OpenDoor) -> None:
    """The deadline of headers is for all of them: a byte now and then does not put it off."""
    client = await (await open_door(header_seconds=SHORT)).connect()
    client.send(GOOD)
    assert await client.status() == 202
    began = time.monotonic()
    ended = asyncio.ensure_future(client.ended())

    async def dripped() -> bool:
        client.send(b"P" if client.reader.at_eof() else b"X")
        return ended.done()

    client.send(HEAD + b"X-Slow: ")
    await eventually(dripped, within=PATIENCE)
    assert time.monotonic() - began >= SHORT


async def test_idle_connections_end(open_door: OpenDoor) -> None:
    """After its last answer a connection stays for the time of keep-alive, and no longer; a new request begins anew."""
    client = await (await open_door(keepalive_seconds=SHORT)).connect()
    for _ in range(3):
        client.send(GOOD)
        assert await client.status() == 202
    assert await client.ended() == b""


async def test_slow_bodies_get_408(open_door: OpenDoor) -> None:
    """The deadline of a body is for the whole: dripping gets a 408, and the connection ends."""
    door = await open_door(body_seconds=SHORT)
    client = await door.connect()
    client.send(HEAD + b"Content-Length: 100000\r\n\r\n")
    answer = asyncio.ensure_future(client.status())

    async def dripped() -> bool:
        client.send(b"x")
        return answer.done()

    await eventually(dripped, within=PATIENCE)
    assert await answer == 408
    await client.ended()
    assert door.answers == [("main", 408)]
    assert not door.arrivals


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(b"POST /webhooks/main?%s HTTP/1.1\r\nHost: door\r\n\r\n" % (b"x" * 2000), 431, id="line"),
        pytest.param(HEAD + b"X-Long: %s\r\n\r\n" % (b"x" * 5000), 431, id="one header"),
        pytest.param(HEAD + b"X-Part: %s\r\n" % (b"x" * 900) * 5 + b"\r\n", 431, id="all headers"),
        pytest.param(HEAD + b"X: y\r\n" * 30 + b"\r\n", 400, id="number of headers"),
    ],
)
async def test_large_heads_are_refused(open_door: OpenDoor, head: bytes, status: int) -> None:
    """A long line, a large header, too much of all or too many of them: a problem, and nothing reaches the stage."""
    door = await open_door(max_line_bytes=1000, max_header_bytes=4000, max_headers=20)
    client = await door.connect()
    client.send(head)
    assert await client.status() == status
    assert not door.arrivals


async def test_a_head_that_grows_without_end_is_dropped(open_door: OpenDoor) -> None:
    """What has come of a head is bounded before its end has come."""
    door = await open_door(max_header_bytes=4000, max_headers=1000)
    client = await door.connect()
    client.send(HEAD)
    ended = asyncio.ensure_future(client.ended())

    async def more() -> bool:
        client.send(b"X-Part: %s\r\n" % (b"x" * 900))
        return ended.done()

    await eventually(more, within=PATIENCE)


async def test_the_longest_waiting_makes_room(open_door: OpenDoor) -> None:
    """With all places taken by those that send nothing, good requests are served, and the oldest has to go."""
    door = await open_door(max_connections=10)
    idle = [await door.connect() for _ in range(10)]
    idle[1].send(HEAD)
    for _ in range(3):
        client = await door.connect()
        client.send(GOOD)
        assert await client.status() == 202
    assert await idle[0].ended() == b""
    idle[9].send(GOOD)
    assert await idle[9].status() == 202


async def test_many_at_once_hold_up_nobody(open_door: OpenDoor) -> None:
    """Hundreds that come at once find room to wait, and are let in and dropped in turns that leave others theirs."""
    door = await open_door(header_seconds=3.0)  # all have come by then, on a busy machine too
    crowd = [socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) for _ in range(MANY)]

    async def steps(until: int) -> list[int]:
        counts = [connected()]
        while counts[-1] != until:
            await next_turn()
            counts.append(connected())
        return [abs(after - before) for before, after in pairwise(counts)]

    async with asyncio.timeout(3 * PATIENCE):
        assert max(await steps(MANY)) <= ACCEPTS_A_TURN
        assert max(await steps(0)) <= DROPS_A_TURN
    for client in crowd:
        client.close()


def connected() -> int:
    """How many connections the door says it has."""
    return int(sum(sample.value for metric in door_connections.collect() for sample in metric.samples))


async def test_work_is_not_dropped_for_newcomers(open_door: OpenDoor) -> None:
    """With all places at work, a newcomer is closed at once, and the work is answered."""
    door = await open_door(max_connections=3)
    door.gate.clear()
    clients = [await door.connect() for _ in range(3)]
    for client in clients:
        client.send(GOOD)
    await eventually(lambda: door.at_work == 3)
    assert await (await door.connect()).ended() == b""
    door.gate.set()
    assert [await client.status() for client in clients] == [202, 202, 202]


async def test_sheds_before_the_body_is_read(open_door: OpenDoor) -> None:
    """With as many at work as may be, the next gets its 503 with Retry-After on its headers alone."""
    door = await open_door(max_in_flight=2)
    door.gate.clear()
    clients = [await door.connect() for _ in range(2)]
    for client in clients:
        client.send(GOOD)
    await eventually(lambda: door.at_work == 2)
    shed = await door.connect()
    shed.send(HEAD + b"Content-Length: 1000\r\n\r\n")
    status, headers, _ = await shed.answer()
    assert (status, headers["retry-after"]) == (503, "30")
    door.gate.set()
    assert [await client.status() for client in clients] == [202, 202]
    assert ("main", 503) in door.answers


async def test_slow_bodies_do_not_shut_good_ones_out(open_door: OpenDoor) -> None:
    """Bodies under way take no place of those at work; over the bound of bytes the slowest is given up."""
    door = await open_door(max_in_flight=1, max_buffered_bytes=250_000, max_body_bytes=200_000)
    slow = []
    for _ in range(3):
        client = await door.connect()
        client.send(HEAD + b"Content-Length: 100001\r\n\r\n" + b"x" * 100_000)
        slow.append(client)
    assert await slow[0].status() == 503
    client = await door.connect()
    client.send(GOOD)
    assert await client.status() == 202
    slow[2].send(b"x")
    assert await slow[2].status() == 202
    assert [len(a.body) for a in door.arrivals] == [4, 100_001]


@pytest.mark.parametrize("sent", [b"", b"half"])
async def test_who_goes_before_the_end_is_no_defect(
    open_door: OpenDoor, capsys: pytest.CaptureFixture[str], sent: bytes
) -> None:
    """A sender that goes in the middle of its body leaves no answer, no line in the log and nothing in hand."""
    door = await open_door(max_connections=1)
    client = await door.connect()
    client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n" + sent)
    assert (await client.answer())[0] == 100
    client.writer.transport.abort()
    client = await door.connect()
    client.send(GOOD)
    assert await client.status() == 202
    assert door.answers == [("main", 202)]
    assert "defect" not in capsys.readouterr().err


async def test_many_bodies_at_once_are_given_up_once(open_door: OpenDoor, capsys: pytest.CaptureFixture[str]) -> None:
    """However many bodies are over the bound at one moment, each gets one answer: taken, or to come again."""
    door = await open_door(max_buffered_bytes=100_000, body_seconds=SHORT)
    clients = [await door.connect() for _ in range(30)]
    for client in clients:
        client.send(HEAD + b"Content-Length: 30001\r\n\r\n" + b"x" * 30_000)
    statuses = {await client.status() for client in clients}
    assert statuses <= {408, 503}
    assert 503 in statuses
    assert "defect" not in capsys.readouterr().err


async def test_expect_continue(open_door: OpenDoor) -> None:
    """A sender that waits to be asked for its body is asked, unless the answer is known before."""
    door = await open_door(max_body_bytes=1000)
    client = await door.connect()
    client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert (await client.answer())[0] == 100
    client.send(b"good")
    assert await client.status() == 202
    client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4000\r\n\r\n")
    assert await client.status() == 413


async def test_bodies_travel_as_they_came(open_door: OpenDoor) -> None:
    """A compressed body is not inflated, and what only claims to be compressed is taken too."""
    door = await open_door()
    packed = gzip.compress(b"x" * 1000)
    for body in (packed, b"not packed"):
        client = await door.connect()
        client.send(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert await client.status() == 202
    assert [a.body for a in door.arrivals] == [packed, b"not packed"]


async def test_a_body_behind_another_request(open_door: OpenDoor) -> None:
    """While one request is at work, another's body is held back once enough of it has come; all of it is read later."""
    big = bytes(range(256)) * 65_536  # 16 MiB: more than fits between the two ends
    door = await open_door(max_body_bytes=len(big), max_buffered_bytes=2 * len(big))
    door.gate.clear()
    client = await door.connect()
    client.send(GOOD + HEAD + b"Content-Length: %d\r\n\r\n" % len(big) + big + GOOD)
    await eventually(lambda: door.at_work == 1, within=PATIENCE)
    await asyncio.sleep(SHORT)  # what the connection takes meanwhile, it takes
    assert client.writer.transport.get_write_buffer_size() > 0
    door.gate.set()
    assert [await client.status() for _ in range(3)] == [202, 202, 202]
    assert [arrival.body for arrival in door.arrivals] == [b"good", big, b"good"]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\nnonsense\r\n", id="a chunk that is none"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n", id="a chunk without end"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", id="a negative chunk"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_broken_bodies_get_400(open_door: OpenDoor, broken: bytes, together: bool) -> None:  # noqa: FBT001
    """A body that breaks off its own rules is the sender's fault and no event, in one piece with its head or after."""
    door = await open_door()
    client = await door.connect()
    if together:
        client.send(HEAD + broken)
    else:
        head, _, rest = broken.partition(b"\r\n\r\n")
        client.send(HEAD + head + b"\r\n\r\n")
        await client.writer.drain()
        client.send(rest)
    assert await client.status() == 400
    await client.ended()
    assert not door.arrivals


async def test_a_target_that_is_none_gets_an_answer(open_door: OpenDoor) -> None:
    """CONNECT without a target, over which aiohttp itself stumbles, is answered and leaves no connection behind."""
    client = await (await open_door(body_seconds=SHORT)).connect()
    client.send(b"CONNECT  \r\nHost: door\r\nContent-Length: 4\r\n\r\ngood")
    assert 400 <= await client.status() < 500
    await client.ended()


async def test_an_upgrade_is_no_ping(open_door: OpenDoor) -> None:
    """A request that asks for another protocol beside its body is not answered as if it had none."""
    door = await open_door(body_seconds=SHORT)
    client = await door.connect()
    client.send(HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\ngood")
    status = await client.status()
    assert (status, [a.body for a in door.arrivals]) == (202, [b"good"]) or 400 <= status < 500


async def test_several_share_a_port(open_door: OpenDoor) -> None:
    """With reuse_port two doors listen on one port, and both are found."""
    first = await open_door(reuse_port=True)
    second = await open_door(reuse_port=True, port=first.port)

    async def both() -> bool:
        client = await first.connect()
        client.send(GOOD)
        assert await client.status() == 202
        return bool(first.arrivals and second.arrivals)

    await eventually(both, within=PATIENCE)
    with pytest.raises(OSError, match="in use"):
        await open_door(port=first.port)


async def test_an_encoded_slash_is_none(open_door: OpenDoor) -> None:
    """The path is split before it is decoded: the type in it may hold any character, the source none but its own."""
    door = await open_door()
    client = await door.connect()
    client.send(GOOD.replace(b"/main", b"/main%2Fa"))
    assert await client.status() == 404
    client.send(GOOD.replace(b"/main", b"/main/a%2Fb/%C3%BC%0A?token=x"))
    assert await client.status() == 202
    assert [a.path_type for a in door.arrivals] == ["a/b/ü\n"]


def spread(text: bytes, pieces: int) -> list[bytes]:
    """A text in so many pieces of about one size."""
    size = -(-len(text) // pieces)
    return [text[at : at + size] for at in range(0, len(text), size)]


def numbered(count: int) -> tuple[bytes, list[bytes]]:
    """So many requests, one behind the other, of each kind of framing, and their bodies."""
    bodies = [b"body %d " % number + b"x" * (number * 37 % 3000) for number in range(count)]
    requests = []
    for number, body in enumerate(bodies):
        if number % 3 == 2:
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in spread(body, 1 + number % 5))
            requests.append(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        else:
            padding = b"X-Padding: %b\r\n" % (b"y" * (number * 113 % 7000))
            requests.append(HEAD + padding + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return b"".join(requests), bodies


@pytest.mark.parametrize("pieces", [1, 7, 500])
async def test_pipelined_requests_are_answered_in_order(open_door: OpenDoor, pieces: int) -> None:
    """However a pipeline is cut up on its way, each request is answered once and in its order."""
    door = await open_door()
    client = await door.connect()
    sent, bodies = numbered(60)
    for piece in spread(sent, pieces):
        client.send(piece)
        await asyncio.sleep(0)
    assert [await client.status() for _ in bodies] == [202] * len(bodies)
    assert [arrival.body for arrival in door.arrivals] == bodies


async def test_one_request_of_a_connection_at_a_time(open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes behind an unanswered request is not parsed, however it comes; so the library keeps no head of it."""
    parsed: list[Connection] = []
    is_whole = Connection._parsed  # noqa: SLF001  # what has been parsed and not answered shows nowhere else

    def noted(connection: Connection, message: Any, content: Any) -> None:
        parsed.append(connection)
        is_whole(connection, message, content)

    monkeypatch.setattr(Connection, "_parsed", noted)
    door = await open_door()
    door.gate.clear()
    client = await door.connect()
    client.send(GOOD * 20)
    await eventually(lambda: door.at_work == 1)
    client.send(GOOD * 20)
    await asyncio.sleep(SHORT)
    assert len(parsed) == 1
    door.gate.set()
    assert [await client.status() for _ in range(40)] == [202] * 40


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
async def test_behind_a_declined_upgrade(open_door: OpenDoor, upgrade: bytes) -> None:
    """A client that asks for another protocol, and gets an HTTP answer, can go on with HTTP."""
    door = await open_door()
    client = await door.connect()
    for body in (b"good", b""):
        head = HEAD + b"Connection: Upgrade\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n" % (upgrade, len(body))
        client.send(head + body)
        assert await client.status() == (202 if body else 200)
        client.send(GOOD)
        assert await client.status() == 202


async def test_unread_answers_stop_the_work(open_door: OpenDoor) -> None:
    """A sender that reads no answers is not served further, and is dropped after the deadline for its next head."""
    door = await open_door(header_seconds=3 * SHORT)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.setblocking(False)
        await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", door.port))
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(deaf, GOOD * 200_000))
        await eventually(lambda: not connected(), within=PATIENCE)
        with pytest.raises(ConnectionError):
            await sending


HOARDS = [
    pytest.param(HEAD + b"X: " + b"y" * 3900, id="half a head"),
    pytest.param(HEAD + b"".join(b"X%d:y\r\n" % number for number in range(40)), id="many small headers"),
    pytest.param(HEAD + b"X: %b\r\nContent-Length: 5\r\n\r\ngood" % (b"y" * 3800), id="a large head, half a body"),
    pytest.param(HEAD + b"Content-Length: 99999\r\n\r\n" + b"x" * 50_000, id="half a body"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000, id="tiny chunks"),
    pytest.param(HEAD + b"X: %b\r\nContent-Length: 0\r\n\r\n" % (b"y" * 3800), id="idle after a large head"),
]


@pytest.mark.parametrize("sent", HOARDS)
async def test_hoards_make_room(open_door: OpenDoor, sent: bytes) -> None:
    """The memory of all connections together is bounded: the oldest connections go, a good request is served."""
    door = await open_door(max_buffered_bytes=200_000, max_body_bytes=200_000)
    hoards = []
    for _ in range(40):
        client = await door.connect()
        client.send(sent)
        hoards.append(client)
    good = await door.connect()
    good.send(GOOD)
    assert await good.status() == 202
    await asyncio.wait([asyncio.ensure_future(hoards[0].ended())], timeout=PATIENCE)
    await eventually(lambda: connected() < 30, within=PATIENCE)
    good.send(GOOD)
    assert await good.status() == 202
