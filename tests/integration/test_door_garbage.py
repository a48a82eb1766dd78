"""What is left of connections that have ended."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.doors import limits
from tests.eventually import eventually
from zenoti_ingest.adapters.http_door import Answer, Arrival, HttpDoor
from zenoti_ingest.telemetry.metrics import door_connections

HEAD = b"POST /webhooks/main HTTP/1.1\r\nHost: door\r\nContent-Length: 4\r\n"
VISITS = 20
SHORT = 0.3  # seconds


async def receive(_: Arrival) -> Answer:
    """A stage that takes all."""
    return Answer(202, receipt_id="01985a3e-7c40-7abc-8def-0123456789ab")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Only what the test itself asks for is collected."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("who_ends", ["sender", "door"])
@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        pytest.param(b"", False, id="nothing"),
        pytest.param(HEAD, False, id="half a head"),
        pytest.param(HEAD + b"Expect: 100-continue\r\n\r\nha", True, id="half a body"),
        pytest.param(HEAD + b"\r\ngood", True, id="a request"),
    ],
)
async def test_who_has_gone_leaves_no_garbage(sent: bytes, answers: bool, who_ends: str) -> None:  # noqa: FBT001
    """However a connection ends, all of it is freed then: Python's collector, which stops the door, has no work."""
    seconds = SHORT if who_ends == "door" else 60
    short = limits(header_seconds=seconds, body_seconds=seconds, keepalive_seconds=seconds)
    door = HttpDoor(receive, sources=frozenset({"main"}), limits=short, answered=lambda *_: None)
    port = await door.listen(host="127.0.0.1", port=0, drain_seconds=1)
    loop = asyncio.get_running_loop()

    async def visit() -> None:
        with closing(socket.socket()) as visitor, suppress(ConnectionError):
            visitor.setblocking(False)
            await loop.sock_connect(visitor, ("127.0.0.1", port))
            visitor.send(sent)
            if answers:
                await loop.sock_recv(visitor, 1000)
            while who_ends == "door" and await loop.sock_recv(visitor, 1000):
                pass

    def all_gone() -> bool:
        return [sample.value for metric in door_connections.collect() for sample in metric.samples] == [0]

    gc.collect()  # what earlier tests have left
    async with asyncio.TaskGroup() as visits:
        for _ in range(VISITS):
            visits.create_task(visit())
    await eventually(all_gone)
    found = gc.collect()
    await door.close()
    assert found < VISITS
