"""The port `Fetches`: one contract for two fakes and for the HTTP client against a server on 127.0.0.1.

The fakes are that of the unit tests and the API of the simulated world.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from tests.fakes import FakeInvoiceApi
from tests.simulation.answers import OK, UNREACHABLE, Behaviour, Truth
from tests.simulation.zenoti import SimulatedZenoti
from zenoti_ingest.adapters.invoice_api import InvoiceApi, new_session
from zenoti_ingest.core.failures.errors import ApiUnavailable, ApiUnreachable, TurnLost
from zenoti_ingest.core.invoices.protocol import MAX_ANSWER_BYTES, Request, Response, request
from zenoti_ingest.simulator.invention import rng
from zenoti_ingest.stages.ports import Fetches

KEY = "synthetic-key"
CALL_SECONDS = 2.0  # 5 MiB have to come within it on a busy machine, too
PATH = "/v1/invoices/i-1"
ASKED = request("i-1", expand=("InvoiceItems", "Transactions", "InvoiceItems"))
JSON = {"Content-Type": "application/json"}


class Vendor:
    """A server that answers as a test wants, and keeps the requests it got."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.status = 200
        self.headers: dict[str, str] = dict(JSON)
        self.body = b"{}"
        self.fault = ""
        self._released = asyncio.Event()

    async def answer(self, asked: web.Request) -> web.StreamResponse:
        """The answer, or the fault."""
        self.requests.append(asked)
        if self.fault == "hang":
            await self._released.wait()
        if self.fault in {"cut", "drip"}:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(asked)
            await response.write(b'{"invoice":')
            if self.fault == "drip":
                await self._released.wait()
            assert asked.transport is not None
            asked.transport.close()
            return response
        return web.Response(status=self.status, headers=self.headers, body=self.body)

    def release(self) -> None:
        """Let what hangs go."""
        self._released.set()


@pytest.fixture
async def vendor() -> AsyncIterator[tuple[Vendor, str]]:
    """The server, and its URL."""
    stub = Vendor()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", stub.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield stub, f"http://127.0.0.1:{runner.addresses[0][1]}"
    stub.release()
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session as the worker opens it."""
    async with new_session() as opened:
        yield opened


def client(session: aiohttp.ClientSession, base_url: str, *, key: str = KEY) -> InvoiceApi:
    """The real adapter."""
    return InvoiceApi(
        session, base_url=base_url, api_key=lambda: key, call_seconds=CALL_SECONDS, application_version="1.2.3"
    )


class Port(msgspec.Struct):
    """An API, an unreachable API, and the controls of the first."""

    api: Fetches
    unreachable: Fetches
    answers: Callable[[Response], None]
    fails: Callable[[str], None]


@pytest.fixture
def fake_port() -> Port:
    """The fake of the tests."""
    fake, nowhere = FakeInvoiceApi(), FakeInvoiceApi()
    nowhere.will(PATH, ApiUnreachable("refused"))
    return Port(fake, nowhere, lambda given: fake.will(PATH, given), lambda how: fake.will(PATH, ApiUnavailable(how)))


@pytest.fixture
async def simulated_port() -> Port:
    """The API of the simulated world."""
    zenoti, nowhere = (SimulatedZenoti(rng("1"), latency=(0.0, 0.0)) for _ in range(2))
    nowhere.mode = UNREACHABLE

    def answers(given: Response) -> None:
        zenoti.behaviours["as told"] = Behaviour(family="good", truth=Truth.GOOD, answer=lambda _: given)
        zenoti.mode = "as told"

    def fails(how: str) -> None:
        zenoti.mode = how or OK

    port, unreachable = (each.port("p", call_seconds=CALL_SECONDS) for each in (zenoti, nowhere))
    return Port(port, unreachable, answers, fails)


@pytest.fixture
async def real_port(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> Port:
    """The client of the worker."""
    stub, url = vendor

    def answers(given: Response) -> None:
        stub.status, stub.headers, stub.body = given.status, dict(given.headers), given.body

    def fails(how: str) -> None:
        stub.fault = how

    return Port(client(session, url), client(session, f"http://127.0.0.1:{unused_port()}"), answers, fails)


@pytest.fixture(params=["fake", "simulated", "real"])
def port(request: pytest.FixtureRequest) -> Port:
    """The fake, the simulated world's, then the real adapter."""
    found = request.getfixturevalue(f"{request.param}_port")
    assert isinstance(found, Port)
    return found


def nothing_against() -> None:
    """A last look that finds nothing against the call."""


async def fetched(api: Fetches, asked: Request = ASKED, *, last_look: Callable[[], None] = nothing_against) -> Response:
    """An answer, within a bound of the test's own."""
    async with asyncio.timeout(10 * CALL_SECONDS):
        return await api.fetch(asked, last_look=last_look)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 418, 429, 500, 503])
async def test_every_status_is_an_answer(port: Port, status: int) -> None:
    """Whatever the status, it is returned with headers (names in lower case) and body, and nothing is raised."""
    port.answers(Response(status, {"content-type": "application/json", "retry-after": "7"}, b'{"a": 0.10}'))
    answer = await fetched(port.api)
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (status, b'{"a": 0.10}', "7")


async def test_an_answer_of_the_largest_size(port: Port) -> None:
    """An answer of exactly 5 MiB comes whole."""
    large = bytes(range(256)) * (MAX_ANSWER_BYTES // 256)
    port.answers(Response(200, dict(JSON), large))
    assert (await fetched(port.api)).body == large


@pytest.mark.parametrize("how", ["hang", "drip", "cut"])
async def test_an_answer_that_does_not_come_whole_in_time(port: Port, how: str) -> None:
    """No answer, half an answer, or a connection cut in mid-body raises ApiUnavailable, within the call's seconds."""
    port.fails(how)
    with pytest.raises(ApiUnavailable):
        await fetched(port.api)


async def test_unreachable(port: Port) -> None:
    """Where nobody listens it raises ApiUnreachable, which charges nothing."""
    with pytest.raises(ApiUnreachable):
        await fetched(port.unreachable)


async def test_a_failure_spoils_no_later_call(port: Port) -> None:
    """After a connection was cut the next call is answered."""
    port.fails("cut")
    with pytest.raises(ApiUnavailable):
        await fetched(port.api)
    port.fails("")
    port.answers(Response(200, dict(JSON), b"{}"))
    assert (await fetched(port.api)).status == 200


async def test_the_request_on_the_wire(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """A GET of the path beneath the base URL, `expand` once a part in the order given, the key in Authorization."""
    stub, url = vendor
    await fetched(client(session, url + "/base/"))
    [got] = stub.requests
    assert (got.method, got.path) == ("GET", "/base" + PATH)
    assert got.query_string == "expand=InvoiceItems&expand=Transactions&expand=InvoiceItems"
    assert got.headers["Authorization"] == f"apikey {KEY}"
    assert (got.headers["application_name"], got.headers["application_version"]) == ("zenoti-ingest", "1.2.3")


async def test_the_key_is_asked_for_at_each_call(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """A key that was rotated is used from the next call on."""
    stub, url = vendor
    keys = iter(["old", "new"])
    api = InvoiceApi(
        session, base_url=url, api_key=lambda: next(keys), call_seconds=CALL_SECONDS, application_version="1"
    )
    await fetched(api)
    await fetched(api)
    assert [r.headers["Authorization"] for r in stub.requests] == ["apikey old", "apikey new"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(
    vendor: tuple[Vendor, str], session: aiohttp.ClientSession, status: int
) -> None:
    """A redirect is an answer like any other: nobody is asked a second time, so the key goes nowhere else."""
    stub, url = vendor
    stub.status, stub.headers = status, {"Location": f"{url}/elsewhere"}
    assert (await fetched(client(session, url))).status == status
    assert [r.path for r in stub.requests] == [PATH]


async def test_cookies_are_not_kept(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """What one answer sets as a cookie is not sent with the next request."""
    stub, url = vendor
    stub.headers = {"Set-Cookie": "a=b"}
    await fetched(client(session, url))
    await fetched(client(session, url))
    assert [r.headers.get("Cookie") for r in stub.requests] == [None, None]


async def test_a_compressed_answer_is_inflated(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """A gzip'd answer is returned as it was before."""
    stub, url = vendor
    stub.headers, stub.body = {"Content-Encoding": "gzip"}, gzip.compress(b'{"a": 1}')
    assert (await fetched(client(session, url))).body == b'{"a": 1}'


async def test_a_broken_compressed_answer(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """An answer that says gzip and is none raises ApiUnavailable."""
    stub, url = vendor
    stub.headers, stub.body = {"Content-Encoding": "gzip"}, b"no gzip at all"
    with pytest.raises(ApiUnavailable):
        await fetched(client(session, url))


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_a_larger_answer_is_refused(
    vendor: tuple[Vendor, str], session: aiohttp.ClientSession, encoding: str
) -> None:
    """More than 5 MiB, compressed on the wire or not, raises ApiUnavailable."""
    stub, url = vendor
    large = b" " * (MAX_ANSWER_BYTES + 1)
    stub.headers = {"Content-Encoding": encoding} if encoding else {}
    stub.body = gzip.compress(large) if encoding else large
    with pytest.raises(ApiUnavailable, match="larger"):
        await fetched(client(session, url))


async def test_errors_show_no_key(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """The text of an error holds neither the key nor the address."""
    stub, url = vendor
    stub.fault = "cut"
    for api in (client(session, url), client(session, f"http://127.0.0.1:{unused_port()}")):
        with pytest.raises((ApiUnavailable, ApiUnreachable)) as caught:
            await fetched(api)
        assert KEY not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)


async def test_a_server_without_tls(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """Where TLS cannot be spoken it raises ApiUnreachable."""
    _, url = vendor
    with pytest.raises(ApiUnreachable):
        await fetched(client(session, url.replace("http:", "https:")))


async def test_cancelled_while_waiting(vendor: tuple[Vendor, str], session: aiohttp.ClientSession) -> None:
    """A caller who is cancelled in mid-call gets his cancellation."""
    stub, url = vendor
    stub.fault = "hang"
    calling = asyncio.create_task(client(session, url).fetch(ASKED))
    await asyncio.wait([calling], timeout=CALL_SECONDS / 5)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_last_look_that_refuses(port: Port) -> None:
    """What the last look raises is raised, and nothing is sent; the next call goes as ever."""

    def refuse() -> None:
        raise TurnLost("as the test wishes")

    port.answers(Response(200, JSON, b"{}"))
    for _ in range(2):  # on a new connection, then on a kept connection
        with pytest.raises(TurnLost):
            await fetched(port.api, last_look=refuse)
        assert (await fetched(port.api)).status == 200


async def test_what_the_last_look_refuses_is_not_sent(
    vendor: tuple[Vendor, str], session: aiohttp.ClientSession
) -> None:
    """Not a byte of a refused call reaches the API, on a new or a kept connection."""
    stub, url = vendor

    def refuse() -> None:
        raise TurnLost("as the test wishes")

    for so_far in range(2):
        with pytest.raises(TurnLost):
            await fetched(client(session, url), last_look=refuse)
        await fetched(client(session, url))
        assert len(stub.requests) == so_far + 1
