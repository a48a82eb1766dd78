"""The vendor's error table, row by row and shape by shape: what becomes of an event, by real consumer and client."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.eventually import eventually
from tests.simulated import KEY, NOW, board_with
from tests.way import Way, body, event
from zenoti_ingest.adapters.invoice_api import InvoiceApi, new_session
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.failures.policy import FEW_ATTEMPTS, Ladder
from zenoti_ingest.simulator.api import Api
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.listener import listening
from zenoti_ingest.simulator.refusals import SHAPES
from zenoti_ingest.simulator.switches import WIRE_FAULTS, ApiSwitches
from zenoti_ingest.simulator.world import World
from zenoti_ingest.stages.enrich import Lane

CALL_SECONDS = 2.0  # a busy machine answers in time, and a call that hangs is not long in the way
LADDER = Ladder((2,), 8)
WITH_A_CODE = [shape for shape in SHAPES if shape != "Message"]

DEAD = {
    **dict.fromkeys(("403", "404", "404/404/Message"), "refused"),
    **dict.fromkeys(("438", "602/400", "602/602"), "access-denied"),
    "405": "defect",
    **{f"602/200/{shape}": "access-denied" for shape in WITH_A_CODE},
    **{f"438/200/{shape}": "access-denied" for shape in WITH_A_CODE},
    **{f"405/200/{shape}": "defect" for shape in WITH_A_CODE},
}
# Charged, retried a few times, and what it is called then.
RETRIED = {
    **dict.fromkeys(("418", "418/418/Message"), "invoice-not-found"),
    **{f"418/200/{shape}": "invoice-not-found" for shape in WITH_A_CODE},
    **dict.fromkeys(("400", "AA102/400", "400/400/Message"), "refused"),
    **{f"400/200/{shape}": "refused" for shape in WITH_A_CODE},
}
# Of one invoice alone, while the API answers for another; and its name once its attempts are used up.
FAILED = {
    **dict.fromkeys(WIRE_FAULTS, "attempts-exhausted"),
    **dict.fromkeys(("500", "502", "503", "503/503/Message", "504", "AA102", "418/200/Message"), "attempts-exhausted"),
    **{f"502/200/{shape}": "attempts-exhausted" for shape in WITH_A_CODE},
    "401": "access-denied",
}
REFUSED_US = ("401", "401/401/Message", *(f"401/200/{shape}" for shape in WITH_A_CODE))
THROTTLED = ("seconds", "date", "none")


class Table:
    """A lane on a real broker before the simulated API, which knows as many invoices as are asked for."""

    def __init__(self, way: Way, board: Board, world: World) -> None:
        self.way, self.board = way, board
        self._world = world
        self._made = 0

    def event(self, *, attempts: int = 1) -> tuple[str, Received]:
        """An event of a new invoice, and its id."""
        self._made += 1
        invoice_id = self._world.visit(now=NOW).invoice_id
        content = body(f"e-{self._made}", invoice=invoice_id)
        return f"e-{self._made}", event(content, number=self._made, attempts=attempts)

    async def put(self, *, attempts: int = 1) -> str:
        """Such an event, on the lane; returns its id."""
        event_id, made = self.event(attempts=attempts)
        await self.way.put(self.way.lane_queue, made)
        return event_id

    def goes(self, fault: str | None) -> None:
        """From now on each call goes wrong so; None: well."""
        self.board.change(b'{"api": {"faults": null}}')
        if fault is not None:
            self.board.change(b'{"api": {"faults": {"%s": 1}}}' % fault.encode())

    async def goes_on(self) -> None:
        """The lane serves the next event as if nothing had been."""
        self.goes(None)
        event_id = await self.put()
        assert await self.way.ids(1, within=15) == [event_id]


@pytest.fixture
def board() -> Board:
    """All is well by default."""
    return board_with(api=ApiSwitches(calls_per_minute=6000))


@pytest.fixture
def world() -> World:
    """No invoice yet."""
    return World(1)


@pytest.fixture
def table(way: Way, board: Board, world: World) -> Table:
    """Nothing runs yet."""
    return Table(way, board, world)


@asynccontextmanager
async def lane_to(way: Way, url: str) -> AsyncIterator[Lane]:
    """The lane before the API at this address, by the worker's own client, running."""
    async with new_session() as session:
        client = InvoiceApi(
            session, base_url=url, api_key=lambda: KEY, call_seconds=CALL_SECONDS, application_version="1"
        )
        made = way.lane(client, ladder=LADDER)
        async with way.running(made):
            yield made


@pytest.fixture
async def lane(way: Way, board: Board, world: World) -> AsyncIterator[Lane]:
    """It runs before the simulated API."""
    async with (
        listening(world, board, host="127.0.0.1", port=0) as listener,
        lane_to(way, f"http://127.0.0.1:{listener.port}") as made,
    ):
        yield made


@pytest.mark.parametrize("row", DEAD)
@pytest.mark.usefixtures("lane")
async def test_a_dead_letter(table: Table, row: str) -> None:
    """What cannot be mended by waiting is a dead letter at once, after one call, and the lane goes on."""
    table.goes(row)
    event_id, made = table.event()
    await table.way.put(table.way.lane_queue, made)
    [letter] = await table.way.came(queue=table.way.names.dead, within=15)
    found = {name: letter.headers[name] for name in ("reason", "stage", "attempts", "event_id")}
    assert found == {"reason": DEAD[row], "stage": "enrich", "attempts": 1, "event_id": event_id}
    assert letter.body == made.body
    assert table.board.api.calls == 1
    await table.goes_on()


@pytest.mark.parametrize("row", [*RETRIED, *FAILED])
@pytest.mark.usefixtures("lane")
async def test_retried(table: Table, row: str) -> None:
    """What may pass goes down the ladder, charged; with its attempts used up it is a dead letter; the lane goes on."""
    await table.goes_on()  # the API answers for another invoice
    table.goes(row)
    last = FEW_ATTEMPTS if row in RETRIED else LADDER.max_attempts
    await table.put()
    [again] = await table.way.came(queue=table.way.names.retry(2), within=15)
    assert again.headers["attempts"] == 2
    event_id = await table.put(attempts=last)
    [letter] = await table.way.came(queue=table.way.names.dead, within=15)
    found = {name: letter.headers[name] for name in ("reason", "attempts", "event_id")}
    assert found == {"reason": (RETRIED | FAILED)[row], "attempts": last, "event_id": event_id}
    assert table.board.api.calls == 3
    await table.goes_on()


@pytest.mark.parametrize("row", FAILED)
@pytest.mark.usefixtures("lane")
async def test_held_while_nothing_else_is_answered(table: Table, row: str) -> None:
    """The same, while nobody knows whether the API is well: the event is held and loses not even its last attempt."""
    table.goes(row)
    event_id = await table.put(attempts=LADDER.max_attempts)
    await eventually(lambda: table.board.api.calls == 1)
    table.goes(None)
    assert await table.way.ids(1, within=15) == [event_id]
    assert await table.way.hand.ready(table.way.names.dead) == 0


@pytest.mark.usefixtures("lane")
async def test_a_late_invoice(table: Table) -> None:
    """An invoice that is not there at first is asked for again after the delay, and its event delivered."""
    table.board.change(b'{"api": {"late": 1, "late_calls": 1}}')
    event_id = await table.put()
    assert await table.way.ids(1, within=15) == [event_id]
    assert (table.board.api.calls, table.board.api.not_found) == (2, 1)


@pytest.mark.parametrize("row", REFUSED_US)
async def test_held_while_the_key_is_refused(table: Table, lane: Lane, row: str) -> None:
    """401 holds the event uncharged, and the lane with it, until a call succeeds."""
    table.goes(row)
    event_id = await table.put(attempts=LADDER.max_attempts)
    await eventually(lambda: lane.circuit.is_open)

    await eventually(lambda: lane.prefetch == 1 and len(lane.window) == 1)
    table.goes(None)
    assert await table.way.ids(1, within=15) == [event_id]
    assert await table.way.hand.ready(table.way.names.dead) == 0


@pytest.mark.parametrize("given", THROTTLED)
async def test_held_while_throttled(table: Table, world: World, given: str) -> None:
    """429 holds the event, uncharged, and no call goes for the time in the answer, or for a minute without a time."""

    async def retell(_: web.Request, response: web.StreamResponse) -> None:
        if given == "seconds" or "Retry-After" not in response.headers:
            return
        del response.headers["Retry-After"]
        if given == "date":
            at = datetime.now(UTC) + timedelta(seconds=2)
            response.headers["Retry-After"] = format_datetime(at, usegmt=True)

    app = web.Application()
    app.add_routes(Api(world, table.board).routes())
    app.on_response_prepare.append(retell)
    table.board.change(b'{"api": {"quota_headers": false, "faults": {"429": 1}}}')
    async with TestServer(app) as server, lane_to(table.way, str(server.make_url(""))) as lane:
        begun = time.monotonic()
        event_id = await table.put(attempts=LADDER.max_attempts)
        await eventually(lambda: lane.window.in_flight == 0 and table.board.api.calls == 1 and len(lane.window) == 1)
        if given == "none":
            assert 50 < lane.quota.wait(time.monotonic()) <= 60
            return
        table.goes(None)
        assert await table.way.ids(1, within=15) == [event_id]
        assert time.monotonic() - begun > 0.9
        assert table.board.api.calls == 2
