"""What may answer on a broker's port and is none: raw handshakes, of which each goes wrong in its own way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import pamqp.frame
from pamqp import commands as spec
from pamqp.heartbeat import Heartbeat

CAPABILITIES: Final = {"publisher_confirms": True, "basic.nack": True, "consumer_cancel_notify": True}
AWAITED_BYTES: Final = 65536

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class StrangeBroker:
    """Listens on a port of its own, and talks to each connection as the test has set."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def has_been_met(self) -> bool:
        """Whether somebody has come."""
        return self.connections > 0

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(8)  # AMQP's header
            await self.talk(reader, writer)
        self._writers.discard(writer)
        writer.close()


def says(text: bytes, *, stays: bool = False) -> Talk:
    """These bytes, then the end; or silence."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        if stays:
            await reader.read()

    return talk


def frames(*made: Any) -> bytes:
    """Frames of the connection's own channel."""
    return b"".join(pamqp.frame.marshal(method, 0) for method in made)


def start(mechanisms: str = "PLAIN", **properties: Any) -> spec.Connection.Start:
    """The first frame of a broker."""
    return spec.Connection.Start(mechanisms=mechanisms, locales="en_US", server_properties=properties)


def dialogue(*answers: Any) -> Talk:
    """One of these after the other, each once the other side has said something; then silence."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            for piece in answer if isinstance(answer, Sequence) and not isinstance(answer, bytes) else [answer]:
                writer.write(piece if isinstance(piece, bytes) else frames(piece))
            await writer.drain()
            if not await reader.read(AWAITED_BYTES):
                return
        while await reader.read(AWAITED_BYTES):
            pass

    return talk


def tune(*, frame_max: int = 131072, channel_max: int = 2047, heartbeat: int = 10) -> spec.Connection.Tune:
    """What a broker bargains for."""
    return spec.Connection.Tune(channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat)


_START = start(capabilities=CAPABILITIES, product="strange")
_OPEN = spec.Connection.OpenOk()

STRANGE: Final[dict[str, Talk]] = {
    "no capabilities": dialogue(start(product="strange"), tune(), _OPEN),
    "capabilities that are none": dialogue(start(capabilities="all of them"), tune(), _OPEN),
    "capabilities without confirms": dialogue(start(capabilities={}), tune(), _OPEN),
    "closes at once": says(b""),
    "closes in a frame": says(frames(_START)[:20]),
    "silent": says(b"", stays=True),
    "another version": says(b"AMQP\x00\x01\x00\x00"),
    "HTTP": says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    "TLS": says(b"\x15\x03\x01\x00\x02\x02\x46"),
    "zeros": says(bytes(64)),
    "high bytes": says(b"\xff" * 64, stays=True),
    "an endless frame": says(b"\x01\x00\x00\xff\xff\xff\xff" + bytes(1000), stays=True),
    "an unknown method": says(b"\x01\x00\x00\x00\x00\x00\x04\x03\xe8\x03\xe8\xce", stays=True),
    "a frame without its end": says(frames(_START)[:-1] + b"\x00", stays=True),
    "a heartbeat first": says(frames(Heartbeat()), stays=True),
    "a tune first": says(frames(tune()), stays=True),
    "no mechanisms": dialogue(start(mechanisms="", capabilities=CAPABILITIES)),
    "foreign mechanisms": dialogue(start(mechanisms="GSSAPI OAUTH", capabilities=CAPABILITIES)),
    "tunes to nothing": dialogue(_START, tune(frame_max=0, channel_max=0, heartbeat=0), _OPEN),
    "tunes to one byte": dialogue(_START, tune(frame_max=1, channel_max=1, heartbeat=65535), _OPEN),
    "tunes to nine bytes": dialogue(_START, tune(frame_max=9), _OPEN),
    "tunes to all there is": dialogue(_START, tune(frame_max=2**32 - 1, channel_max=65535), _OPEN),
    "opens something else": dialogue(_START, tune(), spec.Channel.OpenOk()),
    "refuses the virtual host": dialogue(_START, tune(), spec.Connection.Close(530, "no vhost", 10, 40)),
    "refuses the user": dialogue(_START, spec.Connection.Close(403, "ACCESS_REFUSED", 10, 11)),
    "garbage once it is open": dialogue(_START, tune(), _OPEN, b"\xff" * 64),
    "a close that is none": dialogue(_START, tune(), _OPEN, b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x32\xce"),
    "confirms what nobody sent": dialogue(
        _START, tune(), _OPEN, pamqp.frame.marshal(spec.Basic.Ack(delivery_tag=7, multiple=True), 1)
    ),
    "ends a channel that is none": dialogue(
        _START, tune(), _OPEN, pamqp.frame.marshal(spec.Channel.Close(404, "NOT_FOUND", 50, 10), 9)
    ),
}
