"""Raw answers of the invoice API: what becomes of the event, by the real lane, client and broker."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.eventually import eventually
from tests.raw_api import INVOICE_ID, NOT_FOUND, RawApi, good, http, served
from tests.way import Way, body, event, event_ids
from zenoti_ingest.adapters.invoice_api import InvoiceApi, new_session
from zenoti_ingest.core.failures.policy import FEW_ATTEMPTS, Ladder
from zenoti_ingest.stages.enrich import Lane

CALL_SECONDS = 2.0
ONE_ATTEMPT = Ladder((2,), 1)  # whatever is charged is a dead letter
LADDER = Ladder((2,), 8)
ID = INVOICE_ID.encode()
INVOICE = b'{"id":"%s","invoice_number":"I1","guest":{"first_name":"A"}}' % ID
HTML = b"<html><h1>Bad Request - Invalid Hostname</h1></html>"


def answer(invoice: bytes = INVOICE, error: bytes = b"null", **how: object) -> bytes:
    """An answer with an invoice and an error, as HTTP of the given kind."""
    return http(b'{"invoice":%s,"error":%s}' % (invoice, error), **how)  # type: ignore[arg-type]  # passed on


def with_name(name: bytes) -> bytes:
    """An invoice whose guest has this name, written as JSON."""
    return b'{"id":"%s","guest":{"first_name":"%s"}}' % (ID, name)


GOOD = {
    "an unpaired high surrogate": answer(with_name(rb"x \ud83d")),
    "an unpaired low surrogate": answer(with_name(rb"\uDE00 x")),
    "a high surrogate before another escape": answer(with_name(rb"\ud83d\u0041 \ud83d\n")),
    "backslashes before an unpaired surrogate": answer(with_name(rb"\\\ud83d and \\ud83d")),
    "a pair and a half": answer(with_name(rb"\ud83d\ude00\ude00")),
    "error empty text": answer(error=b'""'),
    "error false": answer(error=b"false"),
    "error empty list": answer(error=b"[ ]"),
    "error empty object": answer(error=b"{}"),
    "error without a code": answer(error=b'{"code":null,"message":null}'),
    "code empty": answer(error=b'{"code":"","message":""}'),
    "code 0": answer(error=b'{"code":0}'),
    "code '0'": answer(error=b'{"code":"0","message":""}'),
    "code 200": answer(error=b'{"code":200,"message":"OK"}'),
    "code 200.0": answer(error=b'{"code":200.0}'),
    "code '200'": answer(error=b'{"code":"200"}'),
    "Error with StatusCode 200": http(b'{"invoice":%s,"Error":{"StatusCode":200,"Message":""}}' % INVOICE),
    "a bare code 200": http(b'{"invoice":%s,"code":200,"message":"Success"}' % INVOICE),
    "a message beside": http(b'{"invoice":%s,"error":null,"Message":"Success"}' % INVOICE),
    "status 203": answer(status=203),
    "status 201": answer(status=201),
    "status 206": answer(status=206),
    "escaped dashes in the id": answer(INVOICE.replace(b"-", rb"\u002d")),
    "another letter case": answer(INVOICE.replace(ID, ID.upper())),
    "an escaped letter in the id": answer(INVOICE.replace(b"7e4e", rb"7\u00654e")),
    "no id, but a number": answer(b'{"invoice_number":"I1"}'),
    "a number that no float holds": answer(b'{"id":"%s","total":1e400,"n":-0.0E-9999}' % ID),
    "two BOMs": http(b"\xef\xbb\xbf\xef\xbb\xbf" + b'{"invoice":%s}' % INVOICE),
    "blanks around": http(b' \r\n{ "error" : null ,\n "invoice" : %s } \n' % INVOICE),
    "text/plain": answer(kind=b"text/plain"),
    "no content type": answer(kind=b""),
    "a header of 9 kB": answer(more=b"Set-Cookie: a=" + b"b" * 9000 + b"\r\n"),
    "a header of 40 kB": answer(more=b"X-Trace: " + b"b" * 40_000 + b"\r\n"),
    "200 headers": answer(more=b"".join(b"X-%d: v\r\n" % n for n in range(200))),
    "the same header 300 times": answer(more=b"Set-Cookie: a=b\r\n" * 300),
    "a long reason": answer().replace(b" 200 X", b" 200 " + b"x" * 9000, 1),
    "no reason": answer().replace(b" 200 X", b" 200", 1),
    "HTTP/1.0": answer(protocol=b"HTTP/1.0", more=b"Connection: close\r\n"),
    "http/1.1 in lower case": answer(protocol=b"http/1.1"),
    "Http/1.1": answer(protocol=b"Http/1.1"),
}
_DEADLOCK = b'{"Message":"Transaction was deadlocked"}'
# The page once, then a good answer: nothing of it is about the invoice.
ONCE = {
    **{f"HTML with {status}": http(HTML, status=status, kind=b"text/html") for status in (400, 401, 403, 404)},
    **{f"nothing with {status}": http(b"", status=status) for status in (408, 418, 421, 460)},
    "407 that closes": http(b"<html>", status=407, more=b"Connection: close\r\n"),
    "foreign JSON with 400": http(b'{"message":"no Route matched with those values"}', status=400),
    "Azure's gateway": http(b'{"statusCode":404,"message":"Resource not found"}', status=404),
    "an empty error": http(b'{"error":{"code":"","message":""}}', status=404),
    "a redirect to a login": http(b"", status=302, more=b"Location: /login\r\n"),
    "a captive portal": http(HTML, kind=b"text/html"),
    "200 without a body": http(b""),
    "204": b"HTTP/1.1 204 X\r\n\r\n",
    "foreign JSON with 200": http(b'{"status":"healthy"}'),
    "an invoice {}": answer(b"{}"),
    "an invoice []": answer(b"[]"),
    "another invoice": answer(INVOICE.replace(b"aa", b"bb")),
    "an invoice cut off": http(b'{"invoice":%s' % INVOICE),
    "an error that is a text": answer(error=b'"try again"'),
    "500 with a 418 inside": http(b'{"error":{"code":418,"message":"m"}}', status=500),
    "503": http(HTML, status=503, kind=b"text/html"),
    "408 in the API's own shape": http(b'{"Message":"Request timed out"}', status=408),
    "502 inside 200": http(b'{"Error":{"StatusCode":502,"Message":"m"}}'),
    "401 of the API": http(b'{"Message":"Authorization has been denied for this request."}', status=401),
    "no answer": b"",
    "half a head": b"HTTP/1.1 200 X\r\nContent-Ty",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "Content-Length too short": answer(length=30),
    "Content-Length too long": answer(length=5000, more=b"Connection: close\r\n"),
    "gzip that is none": answer(more=b"Content-Encoding: gzip\r\n"),
    "a broken chunk": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n{}\r\n",
    "an endless head": b"HTTP/1.1 200 X\r\n" + b"X-Y: " + b"z" * 1000 + (b"\r\nX-Y: " + b"z" * 1000) * 400,
}
# Said by the API about this invoice: charged, believed after a few attempts.
CHARGED = {
    "400": (http(_DEADLOCK, status=400), "refused"),
    "400 inside 200": (http(b'{"error":{"code":"400","message":"m"}}'), "refused"),
    "400 with a word": (http(b'{"error":{"code":"AA102","message":"m"}}', status=400), "refused"),
    "418": (NOT_FOUND, "invoice-not-found"),
    "418.0 as text": (http(b'{"Error":{"StatusCode":"418.0","Message":"m"}}'), "invoice-not-found"),
}
# Said by the API about this invoice, once and for all.
DEAD = {
    "602": (http(b'{"error":{"code":602,"message":"m"}}'), "access-denied"),
    "438": (http(b'{"StatusCode":438,"Message":"m","InternalMessage":null}'), "access-denied"),
    "403 in ASP.NET's shape": (http(b'{"Message":"Forbidden"}', status=403), "refused"),
    "404 in a bare shape": (http(b'{"code":"X1","message":"m"}', status=404), "refused"),
    "410 inside 200": (http(b'{"error":{"code":410,"message":"m"}}'), "refused"),
    "602 beneath 404": (http(b'{"error":{"code":602,"message":"m"}}', status=404), "access-denied"),
    "405": (http(b'{"Message":"does not support http method"}', status=405), "defect"),
}


@asynccontextmanager
async def lane_to(
    way: Way, api: RawApi, *, ladder: Ladder = ONE_ATTEMPT, call_seconds: float = CALL_SECONDS, **how: object
) -> AsyncIterator[Lane]:
    """The lane before these bytes, by the worker's own client, running."""
    async with served(api), new_session() as session:
        client = InvoiceApi(
            session, base_url=api.url, api_key=lambda: "key", call_seconds=call_seconds, application_version="1"
        )
        lane = way.lane(client, ladder=ladder, **how)
        async with way.running(lane):
            yield lane


async def put(way: Way, event_id: str, invoice_id: str = INVOICE_ID, *, attempts: int = 1) -> None:
    """One event of the invoice, on the lane."""
    await way.put(way.lane_queue, event(body(event_id, invoice=invoice_id), attempts=attempts))


async def came_out(way: Way, *wanted: str, within: float = 15.0) -> None:
    """These events, in any order, all enriched."""
    came = await way.came(len(wanted), within=within)
    assert sorted(event_ids(came)) == sorted(wanted)
    assert {json.loads(m.body)["data"]["enrichment"]["status"] for m in came} == {"enriched"}


def invoice_of(given: bytes) -> bytes:
    """The invoice of an answer, byte for byte, as it stands between its key and what follows."""
    text = given.partition(b"\r\n\r\n")[2].decode()
    begin = text.index("{", text.index('"invoice"'))
    return text[begin : json.JSONDecoder().raw_decode(text, begin)[1]].encode()


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_answer(way: Way, name: str) -> None:
    """A good answer enriches at its first call, the invoice byte for byte as it came; nothing is charged."""
    api = RawApi({INVOICE_ID: [GOOD[name]]})
    async with lane_to(way, api):
        await put(way, "e-1")
        [came] = await way.came(within=5)
    assert b'"invoice":' + invoice_of(GOOD[name]) in came.body
    assert b'"status":"enriched"' in came.body
    assert api.asked == [INVOICE_ID]
    assert await way.left() == {}


@pytest.mark.parametrize("name", ONCE)
async def test_what_says_nothing_of_the_invoice(way: Way, name: str) -> None:
    """The event is held, uncharged, and enriched by the invoice's next call."""
    api = RawApi({INVOICE_ID: [ONCE[name], good()]})
    async with lane_to(way, api):
        await put(way, "e-1")
        await came_out(way, "e-1")
    assert api.asked == [INVOICE_ID] * 2
    assert await way.left() == {}


@pytest.mark.parametrize("name", CHARGED)
async def test_what_the_api_says_and_may_take_back(way: Way, name: str) -> None:
    """The event goes down the ladder, charged; after a few attempts it is a dead letter; other invoices go on."""
    given, reason = CHARGED[name]
    api = RawApi({INVOICE_ID: [given]})
    async with lane_to(way, api, ladder=LADDER) as lane:
        await put(way, "e-1")
        [again] = await way.came(queue=way.names.retry(2), within=10)
        await put(way, "e-2", attempts=FEW_ATTEMPTS)
        [letter] = await way.came(queue=way.names.dead, within=10)
        assert not lane.circuit.failures
    assert (again.headers["attempts"], letter.headers["reason"]) == (2, reason)
    assert len(api.asked) == 2


async def test_a_deadlock_of_theirs_passes(way: Way) -> None:
    """A 400 in the API's own shape, then a good answer: enriched by a later attempt."""
    async with lane_to(way, RawApi({INVOICE_ID: [CHARGED["400"][0], good()]}), ladder=LADDER):
        await put(way, "e-1")
        await came_out(way, "e-1")
    assert await way.left() == {}


@pytest.mark.parametrize("name", DEAD)
async def test_what_the_api_says_for_good(way: Way, name: str) -> None:
    """A dead letter at once, with its word, after one call."""
    given, reason = DEAD[name]
    api = RawApi({INVOICE_ID: [given]})
    async with lane_to(way, api, ladder=LADDER):
        await put(way, "e-1")
        [letter] = await way.came(queue=way.names.dead, within=10)
    assert letter.headers["reason"] == reason
    assert api.asked == [INVOICE_ID]
    assert await way.left() == {}


SICK = {
    "500": http(b'{"Message":"An error has occurred."}', status=500),
    "401": http(b'{"Message":"Authorization has been denied for this request."}', status=401),
    "401 HTML": http(HTML, status=401),
    "no answer": b"",
    "an unreadable answer": http(b'{"invoice":'),
    "a head of 400 kB": ONCE["an endless head"],
    "a page of a WAF": http(HTML, status=403),
}


@pytest.mark.parametrize("name", SICK)
@pytest.mark.parametrize("count", [1, 2])
async def test_sick_invoices_in_a_quiet_hour(way: Way, name: str, count: int) -> None:
    """Invoices that always fail alone: a probe shows that the API works, they are charged, and good invoices go out."""
    sick = [f"5ick-{n}" for n in range(count)]
    api = RawApi({invoice: [SICK[name]] for invoice in sick})
    async with lane_to(way, api, ladder=LADDER):
        for n, invoice in enumerate(sick):
            await put(way, f"sick-{n}", invoice)
        charged = await way.came(count, queue=way.names.retry(2), within=10)
        assert {m.headers["attempts"] for m in charged} == {2}
        for n in range(6):
            api.will(f"600d-{n}", good(f"600d-{n}"))
            await put(way, f"good-{n}", f"600d-{n}")
        await came_out(way, *(f"good-{n}" for n in range(6)), within=5)


@pytest.mark.parametrize("name", ["500", "an unreadable answer", "a head of 400 kB"])
async def test_two_invoices_that_fail_again_and_again(way: Way, name: str) -> None:
    """Two sick invoices have failed so often that they could have opened the circuit: good invoices still go out."""
    sick = ["5ick-0", "5ick-1"]
    api = RawApi({invoice: [SICK[name]] for invoice in sick})
    async with lane_to(way, api, ladder=LADDER):
        for n, invoice in enumerate(sick):
            await put(way, f"sick-{n}", invoice)
        await eventually(lambda: sum(path_asked in sick for path_asked in api.asked) >= 7, within=30)
        for n in range(6):
            api.will(f"600d-{n}", good(f"600d-{n}"))
            await put(way, f"good-{n}", f"600d-{n}")
        await came_out(way, *(f"good-{n}" for n in range(6)), within=15)


@pytest.mark.parametrize(("name", "reason"), [("401", "access-denied"), ("500", "attempts-exhausted")])
async def test_a_sick_invoice_at_its_last_attempt(way: Way, name: str, reason: str) -> None:
    """While the API answers for others the failure is the invoice's: at the end the letter says so, at once."""
    api = RawApi({"600d": [good("600d")], "5ick": [SICK[name]]})
    async with lane_to(way, api, ladder=LADDER):
        await put(way, "good", "600d")
        await came_out(way, "good")
        await put(way, "sick", "5ick", attempts=LADDER.max_attempts)
        [letter] = await way.came(queue=way.names.dead, within=1)
    assert letter.headers["reason"] == reason
    assert api.asked == ["600d", "5ick"]


async def test_twelve_sick_invoices(way: Way) -> None:
    """More sick invoices than open the circuit: a probe closes it, they are charged, and good invoices go out."""
    sick = [f"5ick-{n}" for n in range(12)]
    api = RawApi({invoice: [SICK["500"]] for invoice in sick})
    async with lane_to(way, api, ladder=Ladder((2,), 2)):
        for n, invoice in enumerate(sick):
            await put(way, f"sick-{n}", invoice)
        for n in range(6):
            api.will(f"600d-{n}", good(f"600d-{n}"))
            await put(way, f"good-{n}", f"600d-{n}")
        await came_out(way, *(f"good-{n}" for n in range(6)), within=20)
        letters = await way.came(12, queue=way.names.dead, within=60)
    assert {m.headers["reason"] for m in letters} == {"attempts-exhausted"}


PAGES: Sequence[tuple[str, bytes]] = [
    ("a gateway's 404", http(HTML, status=404, kind=b"text/html")),
    ("a captive portal", http(HTML, kind=b"text/html")),
]


@pytest.mark.parametrize("page", [page for _, page in PAGES], ids=[name for name, _ in PAGES])
async def test_a_gateway_speaks_while_events_wait(way: Way, page: bytes) -> None:
    """The API is down, then a gateway answers for it, then it is well: all events out, none charged, none dead."""
    api = RawApi()
    api.otherwise = http(HTML, status=503, kind=b"text/html")
    async with lane_to(way, api, call_seconds=20) as lane:  # a busy machine must not look like a silent API
        for n in range(40):
            await put(way, f"e-{n}", f"1d-{n}")
        await eventually(lambda: lane.circuit.is_open)
        api.otherwise = page
        seen = len(api.asked)
        await eventually(lambda: len(api.asked) > seen + 1, within=10)
        assert lane.circuit.is_open
        for n in range(40):
            api.will(f"1d-{n}", good(f"1d-{n}"))
        api.otherwise = NOT_FOUND
        await came_out(way, *(f"e-{n}" for n in range(40)), within=40)
    assert await way.left() == {}
