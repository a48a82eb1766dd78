import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from worker.simulator.api import CALLS, Calls, build_api
from worker.simulator.webhooks import WebhookSender, send_visits, sign
from worker.simulator.world import Visit, WebhookEvent, World

NOW = datetime(2031, 5, 6, 17, 8, 9, tzinfo=UTC)
KEY = "synthetic-key"
SECRET = b"test-secret"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        """The monotonic seconds."""
        return self.now


class Api:
    """The simulated API on a port of its own, and a client of it."""

    def __init__(self, base: aiohttp.ClientSession, *, calls: Calls) -> None:
        self.session = base
        self.calls = calls

    async def get(self, path: str, *, key: str | None = KEY, method: str = "GET") -> tuple[int, Any, Mapping[str, str]]:
        """Status, document and headers of the answer."""
        headers = {} if key is None else {"Authorization": f"apikey {key}"}
        async with self.session.request(method, path, headers=headers) as response:
            return response.status, await response.json(), response.headers


@asynccontextmanager
async def api_of(world: World, **settings: Any) -> AsyncIterator[Api]:
    """Serve the API of this world."""
    app = build_api(world, api_key=KEY, **settings)
    async with TestServer(app) as server, aiohttp.ClientSession(base_url=server.make_url("/")) as session:
        yield Api(session, calls=app[CALLS])


class Door:
    """A door that answers with the statuses it is given, in turn, then 202; it lets in only what is signed."""

    def __init__(self, statuses: Iterable[int] = ()) -> None:
        self.statuses = list(statuses)
        self.requests: list[tuple[bytes, dict[str, str], dict[str, str]]] = []

    async def take(self, request: web.Request) -> web.Response:
        """Keep the request and answer it."""
        body = await request.read()
        self.requests.append((body, dict(request.query), dict(request.headers)))
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), headers={"Location": "/elsewhere"})
        scheme, _, dashed = request.headers.get("zenoti-webhook-signature", "").partition("=")
        expected = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        signed = scheme.strip() == "sha256" and dashed.replace("-", "").lower() == expected
        return web.Response(status=202 if signed or not body else 401)


class PathDoor(Door):
    """A door that tells apart what is posted to it and to a type beneath it."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        """Keep the type in the path too."""
        self.types.append(request.match_info.get("event_type", ""))
        return await super().take(request)


@asynccontextmanager
async def sender_to(
    door: Door, *, secret: bytes | None = SECRET, token: str | None = None
) -> AsyncIterator[WebhookSender]:
    """Open the door, and make a sender to it."""
    app = web.Application()
    app.router.add_post("/webhooks/main", door.take)
    app.router.add_post("/webhooks/main/{event_type:.+}", door.take)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield WebhookSender(str(server.make_url("/webhooks/main")), secret=secret, token=token, session=session)


# --- the API


@pytest.mark.parametrize("key", [None, "", "another"])
async def test_a_wrong_key_is_denied(key: str | None) -> None:
    """Without the one key nothing is told, and the quota is untouched."""
    world = World(1)
    visit = world.visit(now=NOW)
    async with api_of(world) as api:
        status, body, headers = await api.get(f"/v1/invoices/{visit.invoice_id}", key=key)
        assert (status, body["error"]) == (
            401,
            {"code": 401, "message": "Authorization has been denied for this request."},
        )
        assert "RateLimit-Remaining" not in headers
        assert api.calls == Calls(calls=1, unauthorised=1)


async def test_an_invoice_with_two_parts() -> None:
    """`expand` is repeated in the query; the answer is the world's own document."""
    world = World(1)
    visit = world.visit(now=NOW)
    for event in visit.events:
        world.sent(event)
    async with api_of(world) as api:
        status, body, headers = await api.get(
            f"/v1/invoices/{visit.invoice_id}?expand=InvoiceItems&expand=Transactions"
        )
    assert (status, headers["Content-Type"], body["error"]) == (200, "application/json", None)
    assert body["invoice"]["id"] == visit.invoice_id
    assert body["invoice"]["invoice_items"]
    assert body["invoice"]["transactions"]
    assert body["invoice"]["appointments"] is None


async def test_an_unknown_invoice_is_refused_inside_a_200() -> None:
    """An id that nobody knows is told by the body's code 418, under HTTP 200."""
    async with api_of(World(1)) as api:
        status, body, _ = await api.get(f"/v1/invoices/{UNKNOWN}")
        assert status == 200
        assert body == {
            "invoice": None,
            "error": {
                "code": 418,
                "message": f"couldn't find invoice with the id provided, invoice id : {UNKNOWN}",
            },
        }
        assert api.calls == Calls(calls=1, not_found=1)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/invoices/"), ("GET", "/v1/invoices"), ("POST", f"/v1/invoices/{UNKNOWN}")]
)
async def test_no_id_or_another_verb(method: str, path: str) -> None:
    """An empty id and any verb but GET are 405, in the vendor's words."""
    async with api_of(World(1)) as api:
        status, body, _ = await api.get(path, method=method)
        assert (status, body["error"]["code"]) == (405, 405)
        assert body["error"]["message"] == f"The requested resource does not support http method '{method}'."


async def test_the_quota() -> None:
    """Sixty calls go at once, the next is told how many seconds to wait, and after them one call goes."""
    clock = Clock()
    world = World(1)
    path = f"/v1/invoices/{world.visit(now=NOW).invoice_id}"
    async with api_of(world, clock=clock.read) as api:
        left = []
        for _ in range(60):
            status, _, headers = await api.get(path)
            left.append((status, headers["RateLimit-Remaining"], headers["RateLimit-Reset"]))
        assert left == [(200, str(59 - n), str(n + 1)) for n in range(60)]
        assert headers["RateLimit-Limit"] == headers["Organization-RateLimit-Limit"] == "60;w=60;b=60"

        status, body, headers = await api.get(path)
        assert (status, body["error"]["code"], headers["Retry-After"]) == (429, 429, "1")
        clock.now += 0.999
        status, _, headers = await api.get(path)
        assert (status, headers["Retry-After"]) == (429, "1")
        clock.now += 0.001
        assert (await api.get(path))[0] == 200
        assert (await api.get(path))[0] == 429
        clock.now += 3600
        _, _, headers = await api.get(path)
        assert headers["RateLimit-Remaining"] == "59"
        assert api.calls == Calls(calls=65, throttled=3)


async def test_a_slow_quota_asks_for_a_long_wait() -> None:
    """With two calls a minute the wait is half a minute."""
    async with api_of(World(1), calls_per_minute=2, clock=Clock().read) as api:
        for _ in range(2):
            await api.get(f"/v1/invoices/{UNKNOWN}")
        status, _, headers = await api.get(f"/v1/invoices/{UNKNOWN}")
        assert (status, headers["Retry-After"]) == (429, "30")


async def test_stats() -> None:
    """The counters can be read over HTTP, without a key."""
    async with api_of(World(1)) as api:
        await api.get(f"/v1/invoices/{UNKNOWN}")
        await api.get(f"/v1/invoices/{UNKNOWN}", key="another")
        _, body, _ = await api.get("/_simulator/stats", key=None)
        assert body == {"calls": 2, "throttled": 0, "unauthorised": 1, "not_found": 1}


# --- the sender


def test_signature_check_value() -> None:
    """The signature is the vendor's to the letter: dashed upper-case hex, and a space before the equals sign."""
    assert sign(SECRET, b'{"id":"1"}') == (
        "sha256 =B6-EE-61-D2-6A-34-94-DD-C3-43-7B-55-02-82-99-A9-C3-99-56-DF-DC-F6-23-62-9B-0B-1F-7D-0C-64-BA-F1"
    )


async def test_a_post_is_signed_and_carries_the_token() -> None:
    """The body goes out byte for byte as JSON, signed, with the token as a query, whatever its characters."""
    event = World(1).visit(now=NOW).events[0]
    door = Door()
    async with sender_to(door, token="a+b&c=d") as sender:
        assert await sender.post(event) == 202
    body, query, headers = door.requests[0]
    assert body == event.body
    assert query == {"token": "a+b&c=d"}
    assert headers["Content-Type"] == "application/json"


async def test_another_secret_is_told_by_the_status() -> None:
    """A door that verifies refuses what another secret signed, or none; the status says so."""
    event = World(1).visit(now=NOW).events[0]
    for secret in (b"another", None):
        async with sender_to(Door(), secret=secret) as sender:
            assert await sender.post(event) == 401


async def test_ping_is_empty_and_unsigned() -> None:
    """The console's test has no body and no signature."""
    door = Door()
    async with sender_to(door) as sender:
        assert await sender.ping() == 202
    body, _, headers = door.requests[0]
    assert body == b""
    assert "zenoti-webhook-signature" not in {name.lower() for name in headers}


async def test_no_answer_is_0() -> None:
    """Where nobody listens the status is 0."""
    async with aiohttp.ClientSession() as session:
        sender = WebhookSender(f"http://127.0.0.1:{unused_port()}/", secret=None, token=None, session=session)
        assert await sender.post(World(1).visit(now=NOW).events[0]) == 0


async def test_a_redirect_is_an_answer() -> None:
    """A redirect is not followed: it would lose the body."""
    door = Door([302])
    async with sender_to(door) as sender:
        assert await sender.post(World(1).visit(now=NOW).events[0]) == 302
    assert len(door.requests) == 1


# --- visits


def visits_of(world: World, *, count: int) -> list[Visit]:
    """The next visits of a world."""
    return [world.visit(now=NOW) for _ in range(count)]


async def send(
    door: Door, world: World, *, visits: int, rate: float = 1e6, others: float = 0.0
) -> list[tuple[WebhookEvent, int]]:
    """Send the visits without a pause; what was told of each event."""
    told: list[tuple[WebhookEvent, int]] = []
    async with sender_to(door) as sender:
        await send_visits(
            sender,
            world,
            visits=visits,
            rate=rate,
            now=lambda: NOW,
            on_sent=lambda event, status: told.append((event, status)),
            others=others,
            backoff_seconds=(0, 0, 0),
        )
    return told


async def test_all_events_arrive_each_visit_in_order() -> None:
    """Every event of every visit arrives once; a visit's own are in order, and visits are mixed."""
    door = Door()
    told = await send(door, World(1), visits=12)
    assert [status for _, status in told] == [202] * 60
    assert sorted(body for body, _, _ in door.requests) == sorted(event.body for event, _ in told)
    by_visit: dict[str, list[bytes]] = {}
    for event, _ in told:
        by_visit.setdefault(event.invoice_id, []).append(event.body)
    rehearsed = visits_of(World(1), count=12)
    assert by_visit == {visit.invoice_id: [event.body for event in visit.events] for visit in rehearsed}
    assert len({event.invoice_id for event, _ in told[:5]}) > 1


async def test_the_invoice_is_closed_when_its_closing_arrives() -> None:
    """Whoever fetches the invoice on receipt of its closing finds it closed."""
    world = World(1)
    closings = {visit.events[-1].body: visit.invoice_id for visit in visits_of(World(1), count=3)}
    seen: list[bool] = []

    class Looking(Door):
        async def take(self, request: web.Request) -> web.Response:
            invoice_id = closings.get(await request.read())
            if invoice_id is not None:
                seen.append(b'"is_closed":true' in (world.invoice(invoice_id, expand=()) or b""))
            return await super().take(request)

    await send(Looking(), world, visits=3)
    assert seen == [True, True, True]


async def test_a_refused_event_is_sent_again() -> None:
    """A 503 is tried again, the same bytes, before the visit's next event; then all is well."""
    door = Door([503, 503])
    told = await send(door, World(1), visits=1)
    assert [status for _, status in told] == [202] * 5
    assert [body for body, _, _ in door.requests[:3]] == [told[0][0].body] * 3
    assert len(door.requests) == 7


async def test_an_event_is_given_up_in_the_end() -> None:
    """After a few tries the last status is told and the next event goes out."""
    door = Door([503, 500, 503, 502])
    told = await send(door, World(1), visits=1)
    assert [status for _, status in told] == [502, 202, 202, 202, 202]


async def test_others_come_between() -> None:
    """A fifth of all events are of other kinds, some of them bare at the path of their type; the visits stay whole."""
    door = PathDoor()
    told = await send(door, World(1), visits=12, others=0.2)
    assert [status for _, status in told] == [202] * 75
    visits = {event.body for visit in visits_of(World(1), count=12) for event in visit.events}
    world = World(1)
    beside = {world.other(now=NOW).body for _ in range(15)}
    assert {event.body for event, _ in told} == visits | beside
    by_path = {body: kind for (body, _, _), kind in zip(door.requests, door.types, strict=True)}
    assert by_path == {event.body: event.path_type for event, _ in told}
    assert 0 < sum(kind != "" for kind in door.types) < 15


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
async def test_an_impossible_share(share: float) -> None:
    """A share below 0, or that leaves no room for visits, is refused."""
    with pytest.raises(ValueError, match="share"):
        await send(Door(), World(1), visits=1, others=share)


async def test_any_type_fits_in_the_path() -> None:
    """A type with spaces, slashes, question and other marks arrives as it is, beside the token."""
    event = World(1).visit(now=NOW).events[0]
    door = PathDoor()
    odd = "Loyalty/Points? Earned+100%25 #ü"
    async with sender_to(door, token="t") as sender:
        assert await sender.post(WebhookEvent(odd, event.body, "", "", path_type=odd)) == 202
    assert door.types == [odd]
    assert door.requests[0][1] == {"token": "t"}


async def test_visits_go_on_until_cancelled() -> None:
    """Without a number of visits there is always a next one; cancelling ends it."""
    enough = asyncio.Event()
    told: list[str] = []

    def tell(event: WebhookEvent, _status: int) -> None:
        told.append(event.invoice_id)
        if len(set(told)) > 20:
            enough.set()

    async with sender_to(Door()) as sender:
        sending = asyncio.create_task(
            send_visits(sender, World(1), visits=None, rate=1e6, now=lambda: NOW, on_sent=tell)
        )
        async with asyncio.timeout(10):
            await enough.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_the_rate_is_kept() -> None:
    """Ten events at a hundred a second take at least ninety milliseconds."""
    started = time.monotonic()
    await send(Door(), World(1), visits=2, rate=100)
    assert time.monotonic() - started >= 0.09
