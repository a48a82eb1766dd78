"""A simulated Zenoti: invoices that change, the quota, and the failures of its API. Without sockets."""

import asyncio
import json
from collections import deque
from collections.abc import Callable

import msgspec

from tests.simulation.virtual_time import WIRE
from zenoti_ingest.core.failures.errors import ApiUnavailable, ApiUnreachable
from zenoti_ingest.core.invoices.protocol import Request, Response

WINDOW_SECONDS = 60.0
MODES = ("ok", "500", "gateway", "slow", "cut", "unreachable", "429", "401")
_GATEWAY = b"<html><body>502 Bad Gateway</body></html>"


class Call(msgspec.Struct, frozen=True):
    """A call that reached the API: when, for which invoice, from which process."""

    at: float
    invoice_id: str
    process: str


class SimulatedZenoti:
    """The API, for all processes.

    Args:
        calls_per_minute: above so many calls in 60 s the answer is 429.
        draw: a number from 0 to 1.

    Attributes:
        mode: how it answers now.
        sick: invoices that it always answers with 500.
        calls: all that reached it.
    """

    def __init__(self, *, calls_per_minute: int, draw: Callable[[], float]) -> None:
        self._calls_per_minute, self._draw = calls_per_minute, draw
        self.mode = "ok"
        self.sick: set[str] = set()
        self.calls: list[Call] = []
        self._window: deque[float] = deque()

    def port(self, process: str) -> "ApiOfProcess":
        """The port `Fetches` of a process."""
        return ApiOfProcess(self, process)

    async def answer(self, request: Request, process: str) -> Response:
        """Answer a request that has reached the API."""
        loop = asyncio.get_running_loop()
        invoice_id = request.path.rpartition("/")[2]
        now = loop.time()
        self.calls.append(Call(now, invoice_id, process))
        self._window.append(now)
        while self._window[0] <= now - WINDOW_SECONDS:
            self._window.popleft()
        mode = "500" if invoice_id in self.sick and self.mode == "ok" else self.mode
        if mode == "429" or len(self._window) > self._calls_per_minute:
            return Response(429, {"retry-after": "10"}, b"{}")
        await _pass(40.0 if mode == "slow" else 0.05 + self._draw())
        match mode:
            case "500":
                return Response(500, {}, b'{"Message": "an error"}')
            case "gateway":
                return Response(502, {"content-type": "text/html"}, _GATEWAY)
            case "401":
                return Response(401, {}, b'{"Message": "no"}')
            case "cut":
                raise ApiUnavailable("the answer was cut")
            case _:
                invoice = {"id": invoice_id, "read_at": loop.time(), "invoice_items": []}
                return Response(200, {}, json.dumps({"invoice": invoice}).encode())


class ApiOfProcess:
    """The port `Fetches`, over a simulated network."""

    def __init__(self, zenoti: SimulatedZenoti, process: str) -> None:
        self._zenoti, self._process = zenoti, process
        self.is_cut = False

    def key_mark(self) -> object:
        """The key never changes."""
        return "key"

    async def fetch(self, request: Request, *, last_look: Callable[[], None]) -> Response:
        """As the port says. What has been sent reaches the API, even if the process dies meanwhile."""
        last_look()
        if self.is_cut or self._zenoti.mode == "unreachable":
            await _pass(0.1)
            raise ApiUnreachable("no route")
        loop = asyncio.get_running_loop()
        answering = loop.create_task(self._zenoti.answer(request, self._process), context=WIRE.copy())
        try:
            async with asyncio.timeout(30):
                return await asyncio.shield(answering)
        except TimeoutError:
            raise ApiUnavailable("no answer within 30 s") from None


async def _pass(seconds: float) -> None:
    await asyncio.sleep(seconds)
