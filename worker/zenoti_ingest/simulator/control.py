"""The simulator's control, on the same listener as the API: shows switches and counters, and changes them.

GET /simulator shows everything; PATCH /simulator changes switches; PUT /simulator/keys rotates the keys; POST
/simulator/down closes the listener for a while. It asks for no password, so it must listen on 127.0.0.1.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from aiohttp import web

from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.switches import WrongSwitch

PATH: Final = "/simulator"
_BAD_REQUEST: Final = 400
_ACCEPTED: Final = 202


class _Down(msgspec.Struct, forbid_unknown_fields=True):
    """How long to be down, in real seconds at any speed."""

    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)]


class Control:
    """The board over HTTP.

    Args:
        close_for: closes the listener, and opens it again after the given seconds; returns once it is closed.
    """

    def __init__(self, board: Board, *, close_for: Callable[[float], Awaitable[None]]) -> None:
        self._board = board
        self._close_for = close_for

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get(PATH, self._show),
            web.patch(PATH, self._change),
            web.put(f"{PATH}/keys", self._let_in),
            web.post(f"{PATH}/down", self._go_down),
        ]

    async def _show(self, _: web.Request) -> web.Response:
        return self._shown()

    async def _change(self, request: web.Request) -> web.Response:
        try:
            self._board.change(await request.read())
        except WrongSwitch as error:
            return _wrong(str(error))
        return self._shown()

    async def _let_in(self, request: web.Request) -> web.Response:
        try:
            self._board.let_in(msgspec.json.decode(await request.read(), type=list[str]))
        except (msgspec.MsgspecError, UnicodeDecodeError, WrongSwitch) as error:
            return _wrong(f"a JSON list of API keys is wanted: {error}")
        return self._shown()

    async def _go_down(self, request: web.Request) -> web.Response:
        try:
            wish = msgspec.json.decode(await request.read(), type=_Down)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _wrong(f'{{"seconds": N}} is wanted, N above 0 and at most 3600: {error}')
        await self._close_for(wish.seconds)
        return self._shown(status=_ACCEPTED)

    def _shown(self, *, status: int = 200) -> web.Response:
        body = msgspec.json.format(msgspec.json.encode(self._board.shown()), indent=2) + b"\n"
        return web.Response(body=body, content_type="application/json", status=status)


def _wrong(detail: str) -> web.Response:
    body = msgspec.json.encode({"title": "This cannot be done", "status": _BAD_REQUEST, "detail": detail})
    return web.Response(body=body, content_type="application/problem+json", status=_BAD_REQUEST)
