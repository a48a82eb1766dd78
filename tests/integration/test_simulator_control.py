from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from tests.eventually import eventually
from tests.simulated import KEY, NOW, board_with
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.listener import listening
from zenoti_ingest.simulator.world import World


class Console:
    """A client of the simulator's control."""

    def __init__(self, session: aiohttp.ClientSession, board: Board, invoice_id: str) -> None:
        self.session, self.board, self.invoice_id = session, board, invoice_id

    async def ask(
        self, method: str, path: str = "/simulator", *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and document."""
        async with self.session.request(method, path, data=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def fetch(self, key: str = KEY) -> int:
        """The status of a call for an invoice."""
        headers = {"Authorization": f"apikey {key}"}
        return (await self.ask("GET", f"/v1/invoices/{self.invoice_id}", headers=headers))[0]


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    """The simulator on a port of its own, at sixty-fold speed."""
    world, board = World(1), board_with(speed=60.0)
    invoice_id, port = world.visit(now=NOW).invoice_id, unused_port()
    async with (
        listening(world, board, host="127.0.0.1", port=port),
        aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as session,
    ):
        yield Console(session, board, invoice_id)


async def test_everything_is_shown(console: Console) -> None:
    """GET shows seed, speed, every switch and every counter; it does not count as a call."""
    await console.fetch()
    status, shown = await console.ask("GET")
    assert status == 200
    assert (shown["seed"], shown["speed"], shown["keys"]) == (1, 60.0, 1)
    assert shown["switches"]["api"]["calls_per_minute"] == 60
    assert shown["switches"]["webhooks"]["on"] is True
    assert shown["counters"]["api"]["by_status"] == {"200": 1}
    assert shown["counters"]["webhooks"]["tried"] == 0


async def test_switches_are_changed(console: Console) -> None:
    """PATCH sets what it names, from the next call on, and shows everything again."""
    status, shown = await console.ask("PATCH", body=b'{"api": {"faults": {"503": 1}}}')
    assert (status, shown["switches"]["api"]["faults"]) == (200, {"503": 1})
    assert await console.fetch() == 503
    await console.ask("PATCH", body=b'{"api": {"faults": {"503": null}}}')
    assert await console.fetch() == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "fault"),
    [
        ("PATCH", "/simulator", b'{"api": {"late": 2}}', "api.late: Expected `float` <= 1.0"),
        ("PATCH", "/simulator", b"late", "malformed"),
        ("PUT", "/simulator/keys", b"[]", "keys: at least one"),
        ("PUT", "/simulator/keys", b'"key"', "JSON list"),
        ("POST", "/simulator/down", b'{"seconds": 0}', "seconds"),
        ("POST", "/simulator/down", b"", "seconds"),
    ],
)
async def test_what_cannot_be(console: Console, method: str, path: str, body: bytes, fault: str) -> None:
    """An impossible wish is a 400 that says what is wrong, and changes nothing."""
    before = console.board.shown()
    status, document = await console.ask(method, path, body=body)
    assert (status, document["status"]) == (400, 400)
    assert fault in document["detail"]
    assert console.board.shown() == before


async def test_keys_are_rotated(console: Console) -> None:
    """PUT accepts only these keys; none of them is shown."""
    status, shown = await console.ask("PUT", "/simulator/keys", body=b'["new-synthetic-key"]')
    assert (status, shown["keys"]) == (200, 1)
    assert "synthetic" not in str(shown)
    assert [await console.fetch(), await console.fetch("new-synthetic-key")] == [401, 200]


async def test_down_and_up_again(console: Console) -> None:
    """The order to go down is answered; then nobody gets in for a while; then all is as it was."""
    status, _ = await console.ask("POST", "/simulator/down", body=b'{"seconds": 0.5}')
    assert status == 202
    with pytest.raises(aiohttp.ClientConnectorError):
        await console.fetch()

    async def is_back() -> bool:
        try:
            return await console.fetch() == 200
        except aiohttp.ClientError:
            return False

    await eventually(is_back)
    assert console.board.api.calls == 1
