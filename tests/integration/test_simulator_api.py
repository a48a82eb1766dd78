import time
from collections.abc import AsyncIterator

import pytest

from tests.simulated import KEY, NOW, UNKNOWN, Client, board_with, client_of
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.switches import ApiSwitches
from zenoti_ingest.simulator.world import World


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        """The monotonic seconds."""
        return self.now


class Scene:
    """A world with a visit, its API, and a client of it."""

    def __init__(self, board: Board, client: Client, clock: Clock, world: World) -> None:
        self.board, self.client, self.clock, self.world = board, client, clock, world
        self.visit = world.visit(now=NOW)
        self.path = f"/v1/invoices/{self.visit.invoice_id}"
        self.get = client.get

    def switch(self, patch: bytes) -> None:
        """Change the board."""
        self.board.change(patch)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """The API as it is by default."""
    world, board, clock = World(1), board_with(), Clock()
    async with client_of(world, board, clock=clock.read) as client:
        yield Scene(board, client, clock, world)


@pytest.mark.parametrize("key", [None, "", "another", f"{KEY}-"])
async def test_a_wrong_key_is_denied(scene: Scene, key: str | None) -> None:
    """Without an accepted key nothing is returned, and the quota is untouched."""
    status, body, headers = await scene.get(scene.path, key=key)
    assert (status, body["error"]) == (401, {"code": 401, "message": "Authorization has been denied for this request."})
    assert "RateLimit-Remaining" not in headers
    assert (scene.board.api.calls, scene.board.api.unauthorised) == (1, 1)
    assert scene.board.api.by_key == {"unknown": 1}


async def test_an_invoice_with_two_parts(scene: Scene) -> None:
    """`expand` is repeated in the query; the answer is the world's own document."""
    for event in scene.visit.events:
        scene.world.sent(event)
    status, body, headers = await scene.get(scene.path + "?expand=InvoiceItems&expand=Transactions")
    assert (status, headers["Content-Type"], body["error"]) == (200, "application/json", None)
    assert body["invoice"]["id"] == scene.visit.invoice_id
    assert body["invoice"]["invoice_items"]
    assert body["invoice"]["transactions"]
    assert body["invoice"]["appointments"] is None


async def test_an_unknown_invoice_is_refused_inside_a_200(scene: Scene) -> None:
    """An unknown id gets the body's code 418, under HTTP 200."""
    status, body, _ = await scene.get(f"/v1/invoices/{UNKNOWN}")
    assert status == 200
    assert body == {
        "invoice": None,
        "error": {"code": 418, "message": f"couldn't find invoice with the id provided, invoice id : {UNKNOWN}"},
    }
    assert (scene.board.api.not_found, scene.board.api.by_status) == (1, {"200": 1})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/invoices/"), ("GET", "/v1/invoices"), ("POST", f"/v1/invoices/{UNKNOWN}")]
)
async def test_no_id_or_another_verb(scene: Scene, method: str, path: str) -> None:
    """An empty id and any verb but GET are 405, in the vendor's words, and cost nothing."""
    status, body, _ = await scene.get(path, method=method)
    assert (status, body["error"]["code"]) == (405, 405)
    assert body["error"]["message"] == f"The requested resource does not support http method '{method}'."
    assert scene.board.api.calls == 0


async def test_the_quota(scene: Scene) -> None:
    """Sixty calls go at once, the next gets the seconds to wait, and after them a call goes."""
    left = []
    for _ in range(60):
        status, _, headers = await scene.get(scene.path)
        left.append((status, headers["RateLimit-Remaining"], headers["RateLimit-Reset"]))
    assert left == [(200, str(59 - n), str(n + 1)) for n in range(60)]
    assert headers["RateLimit-Limit"] == headers["Organization-RateLimit-Limit"] == "60;w=60;b=60"

    status, body, headers = await scene.get(scene.path)
    assert (status, body["error"]["code"], headers["Retry-After"]) == (429, 429, "1")
    scene.clock.now += 0.999
    status, _, headers = await scene.get(scene.path)
    assert (status, headers["Retry-After"]) == (429, "1")
    scene.clock.now += 0.001
    assert (await scene.get(scene.path))[0] == 200
    assert (await scene.get(scene.path))[0] == 429
    scene.clock.now += 3600
    _, _, headers = await scene.get(scene.path)
    assert headers["RateLimit-Remaining"] == "59"
    assert (scene.board.api.calls, scene.board.api.throttled) == (65, 3)
    assert scene.board.api.by_status == {"200": 62, "429": 3}


async def test_the_quota_is_the_organisations(scene: Scene) -> None:
    """Two keys, and whatever applications, drink from one bucket; each key's calls are counted by themselves."""
    scene.board.let_in([KEY, "second"])
    for _ in range(30):
        assert (await scene.get(scene.path))[0] == 200
        assert (await scene.get(scene.path, key="second"))[0] == 200
    assert [(await scene.get(scene.path, key=key))[0] for key in (KEY, "second")] == [429, 429]
    assert scene.board.api.by_key == {"1": 31, "2": 31}


async def test_the_quota_can_be_changed(scene: Scene) -> None:
    """With two calls a minute, set while it runs, the wait is half a minute; the headers can be left out."""
    scene.switch(b'{"api": {"calls_per_minute": 2}}')
    for _ in range(2):
        assert (await scene.get(scene.path))[0] == 200
    status, _, headers = await scene.get(scene.path)
    assert (status, headers["Retry-After"], headers["RateLimit-Limit"]) == (429, "30", "2;w=60;b=2")
    scene.switch(b'{"api": {"quota_headers": false}}')
    _, _, headers = await scene.get(scene.path)
    assert [name for name in headers if "RateLimit" in name] == []


async def test_a_rotation(scene: Scene) -> None:
    """From the rotation on the old key is denied and the new key is accepted; an overlap takes both."""
    scene.board.let_in([KEY, "new"])
    assert [(await scene.get(scene.path, key=key))[0] for key in (KEY, "new")] == [200, 200]
    scene.board.let_in(["new"])
    assert [(await scene.get(scene.path, key=key))[0] for key in (KEY, "new")] == [401, 200]
    assert scene.board.api.by_key == {"1": 2, "2": 2}


async def test_split_expands(scene: Scene) -> None:
    """Where expands are split, a combined call answers null for parts that a call for one part brings."""
    scene.switch(b'{"api": {"split_expands": true}}')
    combined = (await scene.get(scene.path + "?expand=InvoiceItems&expand=Appointments"))[1]["invoice"]
    alone = (await scene.get(scene.path + "?expand=InvoiceItems"))[1]["invoice"]
    twice = (await scene.get(scene.path + "?expand=Appointments&expand=appointments"))[1]["invoice"]
    assert (combined["invoice_items"], combined["appointments"]) == (None, None)
    assert alone["invoice_items"]
    assert alone["appointments"] is None
    assert twice["appointments"]


async def test_late_invoices(scene: Scene) -> None:
    """A late invoice is not found by so many calls, in any letter case, and then it is there for good."""
    scene.switch(b'{"api": {"late": 1, "late_calls": 2}}')
    codes = []
    for path in (scene.path, scene.path.upper().replace("/V1/INVOICES", "/v1/invoices"), scene.path, scene.path):
        _, body, _ = await scene.get(path)
        codes.append((body["error"] or {}).get("code"))
    assert codes == [418, 418, None, None]


async def late_ones() -> list[bool]:
    """Which of sixty invoices are not found at first."""
    world, board = World(1), board_with(api=ApiSwitches(late=0.3))
    paths = [f"/v1/invoices/{world.visit(now=NOW).invoice_id}" for _ in range(60)]
    async with client_of(world, board, clock=Clock().read) as client:
        return [(await client.get(path))[1]["error"] is not None for path in paths]


async def test_a_share_of_the_invoices_is_late() -> None:
    """About that share of the invoices is late, and the same invoices in each run of a seed."""
    found = await late_ones()
    assert 8 <= sum(found) <= 28
    assert await late_ones() == found


async def test_latency(scene: Scene) -> None:
    """The answer takes as long as it is to, in simulated seconds."""
    scene.board.speed = 100.0
    scene.switch(b'{"api": {"latency": [20, 30]}}')
    real = time.monotonic()
    assert (await scene.get(scene.path))[0] == 200
    assert time.monotonic() - real >= 0.19


async def test_what_was_asked_for_is_known(scene: Scene) -> None:
    """An invoice waits for a fetch after each of its events until the API has returned it; a refusal does not count."""
    scene.world.sent(scene.visit.events[0])
    scene.switch(b'{"api": {"faults": {"500": 1}}}')
    await scene.get(scene.path)
    assert scene.world.unasked == 1
    scene.switch(b'{"api": {"faults": null}}')
    await scene.get(scene.path)
    assert scene.world.unasked == 0
    scene.world.sent(scene.visit.events[1])
    assert scene.world.unasked == 1
