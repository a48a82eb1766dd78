"""The door's 2xx, as a strict reader of HTTP sees it: it is written by our own hand, for speed."""

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest

from tests.doors import limits
from zenoti_ingest.adapters.http_door import Answer, Arrival, HttpDoor

RECEIPT = "01985a3e-7c40-7abc-8def-0123456789ab"
PATIENCE = 10.0
HEAD = b"POST /webhooks/main HTTP/%s\r\nHost: door\r\n%sContent-Length: 4\r\n\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a door that takes everything."""

    async def receive(arrival: Arrival) -> Answer:
        return Answer(202, receipt_id=RECEIPT) if arrival.body else Answer(200)

    door = HttpDoor(receive, sources=frozenset({"main"}), limits=limits(), answered=lambda *_: None)
    yield await door.listen(host="127.0.0.1", port=0, drain_seconds=1)
    await door.close()


def asked(port: int, request: bytes, times: int = 1) -> tuple[list[http.client.HTTPResponse], list[bytes], bool]:
    """Ask so often on one connection; the answers, their bodies, and whether the door closed it after the last."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        answers, bodies = [], []
        for _ in range(times):
            client.sendall(request)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            answers.append(answer)
            bodies.append(answer.read())
        client.settimeout(0.3)
        try:
            closed = client.recv(1) == b""
        except TimeoutError:
            closed = False
    return answers, bodies, closed


@pytest.mark.parametrize(
    ("version", "header", "says", "closes"),
    [
        (b"1.1", b"", None, False),
        (b"1.1", b"Connection: close\r\n", "close", True),
        (b"1.0", b"", None, True),
        (b"1.0", b"Connection: keep-alive\r\n", "keep-alive", False),
    ],
)
async def test_the_answer_and_the_connection(
    port: int, version: bytes, header: bytes, says: str | None, *, closes: bool
) -> None:
    """Status, reason, type, length, date and body are right, and the connection stays or ends as its header says."""
    request = HEAD % (version, header) + b"good"
    [answer], [body], closed = await asyncio.to_thread(asked, port, request)
    assert (answer.status, answer.reason, answer.version) == (202, "Accepted", 10 if version == b"1.0" else 11)
    assert json.loads(body) == {"status": "accepted", "receipt_id": RECEIPT}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Server"] == "zenoti-ingest"
    assert answer.headers["Connection"] == says
    assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None
    assert closed is closes


async def test_one_connection_many_answers(port: int) -> None:
    """On a connection that stays each request gets its answer, a ping among them its 200."""
    answers, bodies, closed = await asyncio.to_thread(asked, port, HEAD % (b"1.1", b"") + b"good", 3)
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert not closed
    ping = b"POST /webhooks/main HTTP/1.1\r\nHost: door\r\nContent-Length: 0\r\n\r\n"
    [answer], [body], _ = await asyncio.to_thread(asked, port, ping)
    assert (answer.status, json.loads(body)) == (200, {"status": "ping"})
    assert len(set(bodies)) == 1
