"""Every fault of the simulated API, as the worker's own client meets it and its deciphering reads it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.eventually import eventually
from tests.simulated import KEY, NOW, board_with
from zenoti_ingest.adapters.invoice_api import InvoiceApi, new_session
from zenoti_ingest.core.failures.errors import (
    AccessDenied,
    ApiRefusedUs,
    ApiThrottled,
    ApiUnavailable,
    ApiUnreachable,
    GatewayAnswered,
    InvoiceNotFound,
    Refused,
    RequestDefect,
    RequestInvalid,
    WorkerError,
)
from zenoti_ingest.core.invoices.protocol import Invoice, decipher, request
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.listener import Listener, listening
from zenoti_ingest.simulator.refusals import SHAPES
from zenoti_ingest.simulator.switches import WIRE_FAULTS, ApiSwitches
from zenoti_ingest.simulator.world import World

CALL_SECONDS = 0.5
EXPAND = ("InvoiceItems", "Transactions", "Appointments")

# How each fault of the wire is met, and each row of the vendor's error table.
MET: dict[str, type[WorkerError]] = {
    **dict.fromkeys(WIRE_FAULTS, ApiUnavailable),
    **dict.fromkeys(("empty", "truncated-json", "redirect"), GatewayAnswered),
    "400": RequestInvalid,
    "401": ApiRefusedUs,
    "401/200": ApiRefusedUs,
    "403": Refused,
    "404": Refused,
    "405": RequestDefect,
    "418": InvoiceNotFound,
    "418/200": InvoiceNotFound,
    "429": ApiThrottled,
    "438": AccessDenied,
    "438/200": AccessDenied,
    "500": ApiUnavailable,
    "502": ApiUnavailable,
    "503": ApiUnavailable,
    "504/504/Message": ApiUnavailable,
    "602": AccessDenied,
    "602/400": AccessDenied,
    "602/602": AccessDenied,
    "AA102": ApiUnavailable,
    "AA102/400": RequestInvalid,
} | {f"418/200/{shape}": InvoiceNotFound for shape in SHAPES if shape != "Message"}


class Met:
    """The simulated API with one invoice, and the worker's client of it."""

    def __init__(self, session: aiohttp.ClientSession, listener: Listener, board: Board, invoice_id: str) -> None:
        self.board, self.listener, self.invoice_id = board, listener, invoice_id
        self.url = f"http://127.0.0.1:{listener.port}"
        self._session = session

    async def fetch(self) -> Invoice:
        """One call, deciphered."""
        client = InvoiceApi(
            self._session,
            base_url=self.url,
            api_key=lambda: KEY,
            call_seconds=CALL_SECONDS,
            application_version="1",
        )
        async with asyncio.timeout(10 * CALL_SECONDS):
            response = await client.fetch(request(self.invoice_id, expand=EXPAND))
        return decipher(response, self.invoice_id, expand=EXPAND)


@pytest.fixture
async def met() -> AsyncIterator[Met]:
    """It is well by default."""
    world, board = World(1), board_with(api=ApiSwitches(calls_per_minute=6000))
    visit = world.visit(now=NOW)
    async with listening(world, board, host="127.0.0.1", port=0) as listener, new_session() as session:
        yield Met(session, listener, board, visit.invoice_id)


@pytest.mark.parametrize("fault", MET)
async def test_a_fault_is_met(met: Met, fault: str) -> None:
    """Each fault ends as its row of the table says, in time, after one call; the next is answered well."""
    met.board.change(b'{"api": {"faults": {"%s": 1}}}' % fault.encode())
    with pytest.raises(MET[fault]) as caught:
        await met.fetch()
    assert type(caught.value) is MET[fault]
    met.board.change(b'{"api": {"faults": null}}')
    assert not (await met.fetch()).missing
    assert met.board.api.by_fault == {fault: 1}
    assert sum(met.board.api.by_status.values()) == met.board.api.calls == 2


async def test_the_shape_without_a_code(met: Met) -> None:
    """ASP.NET's own error inside a 200 has no code; the answer holds no invoice."""
    met.board.change(b'{"api": {"faults": {"418/200/Message": 1}}}')
    with pytest.raises(ApiUnavailable):
        await met.fetch()


async def test_split_expands_are_met(met: Met) -> None:
    """A combined call lacks all its parts."""
    met.board.change(b'{"api": {"split_expands": true}}')
    assert (await met.fetch()).missing == EXPAND


async def test_shares_are_kept_and_repeatable(met: Met) -> None:
    """Faults come by their shares, and a seed has them in the same order of calls."""
    orders = []
    for _ in range(2):
        world, board = World(1), board_with(api=ApiSwitches(calls_per_minute=6000, faults={"500": 0.2, "418": 0.3}))
        met.invoice_id = world.visit(now=NOW).invoice_id
        async with listening(world, board, host="127.0.0.1", port=0) as listener:
            met.url = f"http://127.0.0.1:{listener.port}"
            orders.append([await outcome(met) for _ in range(100)])
        assert 8 <= board.api.by_fault["500"] <= 35
        assert 18 <= board.api.by_fault["418"] <= 45
    assert orders[0] == orders[1]


async def outcome(met: Met) -> str:
    """The name of what a call ends with."""
    try:
        await met.fetch()
    except WorkerError as error:
        return type(error).__name__
    return "Invoice"


async def test_down_for_a_while(met: Met) -> None:
    """While it is down old connections are cut and new connections are refused; then the same port answers again."""
    await met.fetch()  # leaves a connection open
    await met.listener.close_for(2)
    first = await outcome(met)  # by the old connection, where its end has not been noticed yet
    assert first in {"ApiUnavailable", "ApiUnreachable"}
    with pytest.raises(ApiUnreachable):
        await met.fetch()
    assert met.board.api.calls == 1

    async def is_back() -> bool:
        return await outcome(met) == "Invoice"

    await eventually(is_back)
