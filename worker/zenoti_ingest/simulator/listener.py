"""The simulator's listener: API and control on the same port, which can be closed for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from zenoti_ingest.simulator.api import Api
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.control import Control
from zenoti_ingest.simulator.world import World

_SHUTDOWN_SECONDS: Final = 1.0


class Listener:
    """The port on which API and control are served.

    Attributes:
        api: the API.
        port: the port that it listens on.
    """

    def __init__(self, world: World, board: Board, *, host: str, port: int) -> None:
        self.api = Api(world, board)
        self.port = port
        self._board = board
        self._host = host
        app = web.Application()
        app.add_routes([*self.api.routes(), *Control(board, close_for=self.close_for).routes()])
        # Cancellation: a caller that hangs up ends its fault.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, handler_cancellation=True
        )
        self._site: web.TCPSite | None = None
        self._opening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        await self._runner.setup()
        await self._open()

    async def stop(self) -> None:
        """Close all connections; returns within a few seconds."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._runner.cleanup()

    async def close_for(self, seconds: float) -> None:
        """Refuse connections for `seconds`, and cut every call on open connections."""
        if self._site is None:
            return  # it is closed already, and opens as planned
        await self._site.stop()
        self._site = None
        self._board.down = True
        self._opening = asyncio.create_task(self._open_after(seconds))

    async def _open_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._open()

    async def _open(self) -> None:
        self._site = web.TCPSite(self._runner, self._host, self.port)
        await self._site.start()
        self.port = self._site.port
        self._board.down = False


@asynccontextmanager
async def listening(world: World, board: Board, *, host: str, port: int) -> AsyncIterator[Listener]:
    """API and control while the body runs; port 0: any."""
    listener = Listener(world, board, host=host, port=port)
    try:
        await listener.start()
        yield listener
    finally:
        await listener.stop()
