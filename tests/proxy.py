"""A TCP proxy of the test's own: cuts connections, freezes them as a black hole does, or lets nobody through."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from yarl import URL


class Proxy:
    """Carries bytes between its own port on 127.0.0.1 and the server of a URL."""

    def __init__(self, target: str) -> None:
        self._target = URL(target)
        self._server: asyncio.Server | None = None
        self._carriers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._requests_flow = asyncio.Event()
        self._answers_flow = asyncio.Event()
        self.refusing = False
        self.connections = 0
        self.thaw()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for carrier in self._carriers:
            carrier.cancel()
        if self._carriers:
            await asyncio.wait(self._carriers, timeout=5)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The target's URL, by way of the proxy."""
        assert self._server is not None
        return str(self._target.with_host("127.0.0.1").with_port(self._server.sockets[0].getsockname()[1]))

    def cut(self) -> None:
        """Break off every connection; new connections go through."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._clients.clear()

    def freeze(self, *, answers_only: bool = False) -> None:
        """Carry nothing, and close nothing: neither side is notified."""
        self._answers_flow.clear()
        if not answers_only:
            self._requests_flow.clear()

    def answer(self, data: bytes) -> None:
        """Send bytes to the clients as if the server had; it must be quiet, or they land within what it says."""
        for writer in self._clients:
            writer.write(data)

    def is_frozen(self) -> bool:
        """Whether answers are held back."""
        return not self._answers_flow.is_set()

    def thaw(self) -> None:
        """Carry again, what was held back first."""
        self._requests_flow.set()
        self._answers_flow.set()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        self._clients.add(writer)
        for direction in (
            _carry(reader, far_writer, self._requests_flow),
            _carry(far_reader, writer, self._answers_flow),
        ):
            task = asyncio.create_task(direction)
            self._carriers.add(task)
            task.add_done_callback(self._carriers.discard)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(65536):
                await flow.wait()
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
