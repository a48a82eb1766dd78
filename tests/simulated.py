"""What the simulator's tests share: its API served, and doors for its webhooks."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from zenoti_ingest.simulator.api import Api
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.switches import ApiSwitches, Switches, WebhookSwitches
from zenoti_ingest.simulator.webhooks import WebhookSender
from zenoti_ingest.simulator.world import World

NOW = datetime(2031, 5, 6, 17, 8, 9, tzinfo=UTC)
KEY = "synthetic-key"
SECRET = b"test-secret"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def now() -> datetime:
    """It is always the same time."""
    return NOW


def board_with(
    *,
    api: ApiSwitches | None = None,
    webhooks: WebhookSwitches | None = None,
    speed: float = 1.0,
    seed: int = 1,
) -> Board:
    """A board with one key."""
    switches = Switches(api=api or ApiSwitches(), webhooks=webhooks or WebhookSwitches())
    return Board(keys=[KEY], seed=seed, speed=speed, switches=switches)


class Client:
    """A client of the simulated API."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def get(self, path: str, *, key: str | None = KEY, method: str = "GET") -> tuple[int, Any, Mapping[str, str]]:
        """Status, document and headers of the answer."""
        headers = {} if key is None else {"Authorization": f"apikey {key}"}
        async with self.session.request(method, path, headers=headers) as response:
            return response.status, await response.json(), response.headers


@asynccontextmanager
async def client_of(world: World, board: Board, *, clock: Callable[[], float]) -> AsyncIterator[Client]:
    """Serve the API alone, by a clock of the test's own."""
    app = web.Application()
    app.add_routes(Api(world, board, clock=clock).routes())
    async with TestServer(app) as server, aiohttp.ClientSession(base_url=server.make_url("/")) as session:
        yield Client(session)


class Door:
    """A door that answers with the statuses it is given, in turn, then 202; it lets in only what is signed."""

    def __init__(self, statuses: Iterable[int] = ()) -> None:
        self.statuses = list(statuses)
        self.requests: list[tuple[bytes, dict[str, str], dict[str, str]]] = []
        self.types: list[str] = []

    @property
    def bodies(self) -> list[bytes]:
        """What was posted."""
        return [body for body, _, _ in self.requests]

    async def take(self, request: web.Request) -> web.Response:
        """Keep the request and answer it."""
        body = await request.read()
        self.requests.append((body, dict(request.query), dict(request.headers)))
        self.types.append(request.match_info.get("event_type", ""))
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), headers={"Location": "/elsewhere"})
        scheme, _, dashed = request.headers.get("zenoti-webhook-signature", "").partition("=")
        expected = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        signed = scheme.strip() == "sha256" and dashed.replace("-", "").lower() == expected
        return web.Response(status=202 if signed or not body else 401)


@asynccontextmanager
async def sender_to(
    door: Door, *, secret: bytes | None = SECRET, token: str | None = None, patience_seconds: float = 10.0
) -> AsyncIterator[WebhookSender]:
    """Open the door, and make a sender to it."""
    app = web.Application()
    app.router.add_post("/webhooks/main", door.take)
    app.router.add_post("/webhooks/main/{event_type:.+}", door.take)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("/webhooks/main"))
        yield WebhookSender(url, secret=secret, token=token, session=session, patience_seconds=patience_seconds)
