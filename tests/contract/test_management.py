"""The management API's adapter against a stand-in that answers synthetic documents in RabbitMQ's shapes."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from zenoti_ingest.adapters.broker import management
from zenoti_ingest.adapters.broker.management import ManagementApi
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.core.topology.differences import BrokerSnapshot, ObservedBinding, ObservedExchange, ObservedQueue

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# As 3.10 and 4.3 answer: fields beyond those asked for, a queue without counts, an empty policy as list or as object.
DOCUMENTS = {
    "exchanges": b'[{"arguments":{},"auto_delete":false,"durable":true,"name":"","type":"direct","x":1},'
    b'{"arguments":{"alternate-exchange":"u"},"name":"e","type":"topic","policy":"p"}]',
    "queues": b'[{"arguments":{"x-queue-type":"quorum","x-delivery-limit":1000},"auto_delete":false,"consumers":2,'
    b'"durable":true,"effective_policy_definition":[],"messages":3,"name":"q","operator_policy":null,"policy":null},'
    b'{"name":"new","effective_policy_definition":{"expires":5},"policy":"p"}]',
    "bindings": b'[{"source":"e","vhost":"/","destination":"q","destination_type":"queue","routing_key":"a.#",'
    b'"arguments":{},"properties_key":"a.%23"}]',
}
SEEN = BrokerSnapshot(
    [ObservedExchange("", "direct"), ObservedExchange("e", "topic", arguments={"alternate-exchange": "u"})],
    [
        ObservedQueue(
            "q",
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 1000},
            messages=3,
            consumers=2,
            effective_policy_definition=[],
        ),
        ObservedQueue("new", policy="p", effective_policy_definition={"expires": 5}),
    ],
    [ObservedBinding("e", "q", "queue", "a.#", "a.%23")],
)


class Api:
    """A management API; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer: Handler = self.document

    async def document(self, request: web.Request) -> web.Response:
        """The document for the path."""
        return web.Response(
            body=DOCUMENTS[request.raw_path.partition("?")[0].split("/")[-2]], content_type="application/json"
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep it, and answer."""
        login = request.headers.get("Authorization", "").removeprefix("Basic ")
        self.asked.append((request.raw_path.partition("?")[0], base64.b64decode(login).decode()))
        return await self.answer(request)


@asynccontextmanager
async def listening(api: Api) -> AsyncIterator[str]:
    """Its URL."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def api() -> Api:
    """It is not listening yet."""
    return Api()


async def test_it_reads_what_a_virtual_host_holds(api: Api) -> None:
    """Exchanges, queues and bindings are read; the virtual host is one part of the path, however it is spelled."""
    async with listening(api) as url:
        assert await ManagementApi(url=f"{url}/", vhost="/", user="u", password="p:w").look() == SEEN
        assert await ManagementApi(url=f"{url}/rabbit/", vhost="a b/c", user="u", password="p").look() == SEEN
    assert api.asked[:3] == [(f"/api/{kind}/%2F", "u:p:w") for kind in DOCUMENTS]
    assert api.asked[3][0] == "/rabbit/api/exchanges/a%20b%2Fc"


async def test_a_user_in_the_url_goes_first(api: Api) -> None:
    """Credentials in the URL are used instead of the broker's, and stand in no path."""
    async with listening(api) as url:
        await ManagementApi(url=url.replace("//", "//me:s%40cret@"), vhost="/", user="u", password="p").look()
    assert api.asked[0] == ("/api/exchanges/%2F", "me:s@cret")


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (401, b"", "answered 401 for /api/exchanges: its user wants the tag"),
        (404, b"", "no such virtual host"),
        (302, b"", "answered 302"),
        (500, b"secret-of-the-body", "answered 500"),
        (200, b"<html>secret-of-the-body</html>", "answered something else"),
        (200, b'[{"name": 5}]', "answered something else"),
    ],
)
async def test_an_answer_that_is_none(api: Api, status: int, body: bytes, fault: str) -> None:
    """An unusable answer is reported with place and reason, without credentials and without its content."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "/elsewhere"})

    api.answer = refuse
    async with listening(api) as url:
        with pytest.raises(BrokerUnavailable, match=fault) as caught:
            await ManagementApi(url=url.replace("//", "//me:s-word@"), vhost="/", user="u", password="p").look()
    assert "s-word" not in str(caught.value)
    assert "secret-of-the-body" not in str(caught.value)
    assert "/elsewhere" not in {path for path, _ in api.asked}, "a redirect would carry the password elsewhere"


async def test_it_has_a_deadline_and_a_bound(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging API, an endless answer, and a missing API fail in time and with a single sentence."""
    monkeypatch.setattr(management, "DEADLINE_SECONDS", 0.3)
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    api.answer = hang
    async with listening(api) as url:
        with pytest.raises(BrokerUnavailable, match=r"did not answer within 0\.3 s"):
            await ManagementApi(url=url, vhost="/", user="u", password="p").look()
        released.set()
        monkeypatch.setattr(management, "MAX_BYTES", 10)
        api.answer = api.document
        with pytest.raises(BrokerUnavailable, match="more than 10 bytes"):
            await ManagementApi(url=url, vhost="/", user="u", password="p").look()
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        await ManagementApi(url=url, vhost="/", user="u", password="p").look()


async def test_it_counts_what_is_in_somebodys_hands(api: Api) -> None:
    """A single question returns the messages of each queue that are not ready; 0 for a queue not counted yet."""
    queues = (
        b'[{"name":"a","messages":7,"messages_ready":2},{"name":"new"},{"name":"odd","messages":1,"messages_ready":2}]'
    )
    columns: list[str] = []

    async def count(request: web.Request) -> web.Response:
        columns.append(request.query["columns"])
        return web.Response(body=queues)

    api.answer = count
    async with listening(api) as url:
        found = await ManagementApi(url=url, vhost="/", user="u", password="p").in_hands()
    assert found == {"a": 5, "new": 0, "odd": 0}
    assert (api.asked, columns) == ([("/api/queues/%2F", "u:p")], ["name,messages,messages_ready"])


async def test_counting_has_a_deadline_of_its_own(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` does not wait for long for what is beside the point."""
    monkeypatch.setattr(management, "COUNT_SECONDS", 0.2)
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    api.answer = hang
    async with listening(api) as url:
        with pytest.raises(BrokerUnavailable, match=r"did not answer within 0\.2 s"):
            await ManagementApi(url=url, vhost="/", user="u", password="p").in_hands()
        released.set()
