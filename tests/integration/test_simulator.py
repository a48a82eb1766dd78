"""The simulated sender against doors: the post itself, the vendor's rules of trying again, what goes out of a plan."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from tests.eventually import eventually
from tests.simulated import NOW, SECRET, Door, board_with, now, sender_to
from zenoti_ingest.simulator import plans
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.registration import RETRY_SECONDS, Registration, patience_seconds
from zenoti_ingest.simulator.sending import send, send_visits
from zenoti_ingest.simulator.switches import WebhookSwitches
from zenoti_ingest.simulator.webhooks import WebhookSender, sign
from zenoti_ingest.simulator.world import WebhookEvent, World

FAST = 1e5  # a retry's ten minutes are six milliseconds
Posts = list[tuple[WebhookEvent, int]]


# --- the post


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


async def test_another_secret_shows_in_the_status() -> None:
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


async def test_a_late_answer_is_none() -> None:
    """A door that takes longer than the vendor waits has not answered."""

    class Slow(Door):
        async def take(self, request: web.Request) -> web.Response:
            await asyncio.sleep(5)
            return await super().take(request)

    async with sender_to(Slow(), patience_seconds=0.1) as sender:
        began = time.monotonic()
        assert await sender.post(World(1).visit(now=NOW).events[0]) == 0
        assert time.monotonic() - began < 4


async def test_a_redirect_is_an_answer() -> None:
    """A redirect is not followed: it would lose the body."""
    door = Door([302])
    async with sender_to(door) as sender:
        assert await sender.post(World(1).visit(now=NOW).events[0]) == 302
    assert len(door.requests) == 1


async def test_any_type_fits_in_the_path() -> None:
    """A type with spaces, slashes, question and other marks arrives as it is, beside the token."""
    event = World(1).visit(now=NOW).events[0]
    door = Door()
    odd = "Loyalty/Points? Earned+100%25 #ü"
    async with sender_to(door, token="t") as sender:
        assert await sender.post(WebhookEvent(odd, event.body, "", "", path_type=odd)) == 202
    assert door.types == [odd]
    assert door.requests[0][1] == {"token": "t"}


# --- the vendor's rules


async def sent(door: Door, world: World, board: Board, *, visits: int) -> Posts:
    """Send so many visits by the rules, disturbed as the board says."""
    posts: Posts = []

    def note(event: WebhookEvent, status: int) -> None:
        posts.append((event, status))

    def switched() -> WebhookSwitches:
        return board.switches.webhooks

    async with sender_to(door) as sender:
        plan = plans.disturbed(plans.visits(world, count=visits, now=now, switched=switched), world, switched=switched)
        await send(plan, world, Registration(sender, board), board=board, on_sent=note)
    return posts


def fast_board(**switches: Any) -> Board:
    """A board on which the vendor's minutes are milliseconds."""
    return board_with(speed=FAST, webhooks=WebhookSwitches(**{"rate": 1000.0, **switches}))


def test_the_waits_between_tries() -> None:
    """Five tries are four waits, exponential from half a minute to ten minutes; the patience is ten seconds."""
    assert [round(seconds) for seconds in RETRY_SECONDS] == [30, 81, 221, 600]
    assert [patience_seconds(speed) for speed in (1.0, 2.0, 60.0)] == [10.0, 5.0, 2.0]


async def test_a_webhook_is_tested_first() -> None:
    """Before the first event goes the empty test request, once; it is no event, and its refusal does no harm."""
    door, board = Door([500]), fast_board()
    posts = await sent(door, World(1), board, visits=2)
    assert [bool(body) for body in door.bodies].count(False) == 1
    assert door.bodies[0] == b""
    assert [status for _, status in posts] == [202] * 10
    assert (board.webhooks.tests, board.webhooks.tests_refused, board.webhooks.tried) == (1, 1, 10)


async def test_a_refused_event_is_tried_again() -> None:
    """What is refused comes again, the same bytes, until it is taken; what comes after need not wait for it."""
    door, board = Door([200, 503]), fast_board()
    posts = await sent(door, World(1), board, visits=1)
    assert sorted(status for _, status in posts) == [202] * 5
    first = door.bodies[1]
    assert door.bodies.count(first) == 2
    assert len(door.requests) == 7
    counted = board.webhooks
    assert (counted.tried, counted.retried, counted.taken, counted.refused) == (6, 1, 5, {"503": 1})
    assert board.answers.quantiles().max is not None


async def test_an_event_is_given_up_after_five_tries() -> None:
    """Five tries are refused, and the event is gone."""
    event = World(1).visit(now=NOW).events[0]
    door, board = Door([200, 503, 500, 503, 502, 504]), fast_board()
    async with sender_to(door) as sender:
        registration = Registration(sender, board)
        assert await registration.first_try(event) == 503
        assert await registration.later_tries(event) == 504
    assert door.bodies == [b""] + 5 * [event.body]
    assert (board.webhooks.given_up, board.webhooks.failures_in_a_row) == (1, 5)


async def test_twenty_failures_in_a_row_switch_it_off() -> None:
    """After the twentieth failure in a row nothing is sent: neither what waits to be tried again nor what comes."""
    door, board = Door([200] + [503] * 1000), fast_board()
    posts = await sent(door, World(1), board, visits=40)
    counted = board.webhooks
    assert not board.switches.webhooks.on
    assert counted.switched_off == 1
    assert 20 <= counted.tried == len(door.requests) - 1 <= 20 + 127  # what was under way as it went off
    assert {status for _, status in posts} <= {503, 0}
    assert counted.events == len(posts) == 200
    assert counted.unsent + counted.given_up == 200


async def test_a_success_forgives() -> None:
    """Nineteen failures and a success begin anew."""
    event, door, board = World(1).visit(now=NOW).events[0], Door([200]), fast_board()
    async with sender_to(door) as sender:
        registration = Registration(sender, board)
        for statuses in ([503] * 19, [], [503] * 19):
            door.statuses += statuses
            for _ in statuses or [202]:
                await registration.first_try(event)
        assert board.switches.webhooks.on
        door.statuses = [401]
        await registration.first_try(event)
    assert not board.switches.webhooks.on


async def test_a_person_switches_it_on() -> None:
    """Switched on, it is tested, sends again, and begins with no failures."""
    event, door, board = World(1).visit(now=NOW).events[0], Door([200] + [503] * 20), fast_board()
    async with sender_to(door) as sender:
        registration = Registration(sender, board)
        for _ in range(20):
            await registration.first_try(event)
        assert await registration.first_try(event) is None
        board.change(b'{"webhooks": {"on": true}}')
        assert board.webhooks.failures_in_a_row == 0
        assert await registration.first_try(event) == 202
    assert door.bodies[-2:] == [b"", event.body]
    assert (board.webhooks.tests, board.webhooks.unsent) == (2, 1)


async def test_nobody_there_is_a_failure_too() -> None:
    """Where nobody listens each try is a failure, counted as without an answer."""
    board = fast_board()
    async with aiohttp.ClientSession() as session:
        sender = WebhookSender(f"http://127.0.0.1:{unused_port()}/", secret=None, token=None, session=session)
        await send_all(Registration(sender, board), board)
    assert board.webhooks.refused == {"none": board.webhooks.tried}
    assert not board.switches.webhooks.on


async def send_all(registration: Registration, board: Board) -> None:
    """Send ten visits."""
    world = World(1)
    plan = plans.visits(world, count=10, now=now, switched=lambda: board.switches.webhooks)
    await send(plan, world, registration, board=board, on_sent=lambda *_: None)


# --- what goes out


async def test_all_events_arrive_each_visit_in_order() -> None:
    """Every event of every visit arrives once; a visit's own are in order, and visits are mixed."""
    door = Door()
    posts = await sent(door, World(1), fast_board(), visits=12)
    assert [status for _, status in posts] == [202] * 60
    assert sorted(door.bodies[1:]) == sorted(event.body for event, _ in posts)
    invoices = {event.body: event.invoice_id for event, _ in posts}
    by_visit: dict[str, list[str]] = {}
    for body in door.bodies[1:]:
        by_visit.setdefault(invoices[body], []).append(json.loads(body)["event_type"])
    kinds = ["AppointmentGroup.Created", "AppointmentGroup.Status"]
    kinds += ["Appointment.Started", "Appointment.Completed", "Invoice.Closed"]
    assert list(by_visit.values()) == [kinds] * 12
    assert len({event.invoice_id for event, _ in posts[:8]}) > 1


async def test_the_invoice_is_closed_when_its_closing_arrives() -> None:
    """A fetch of the invoice on receipt of its closing finds it closed."""
    world = World(1)
    seen: list[bool] = []

    class Looking(Door):
        async def take(self, request: web.Request) -> web.Response:
            posts = json.loads(await request.read() or b"{}")
            if posts.get("event_type") == "Invoice.Closed":
                found = world.invoice(posts["data"]["invoice"]["id"], expand=()) or b""
                seen.append(b'"is_closed":true' in found)
            return await super().take(request)

    await sent(Looking(), world, fast_board(), visits=3)
    assert seen == [True, True, True]


async def test_disturbances_arrive_and_are_counted() -> None:
    """Duplicates come twice, under two delivery ids; bare bodies at the path of their type; all of it is counted."""
    door, board = Door(), fast_board(duplicates=0.3, reordered=0.3, bare=0.3, others=0.2)
    posts = await sent(door, World(3), board, visits=20)
    counted = board.webhooks
    assert counted.events == counted.taken == len(posts) == 125 + counted.duplicates
    assert min(counted.duplicates, counted.reordered, counted.bare) > 15
    ids = [json.loads(body).get("event_id") for body in door.bodies[1:] if b'"event_id"' in body]
    assert len(ids) > len(set(ids))
    assert len({json.loads(body)["id"] for body in door.bodies[1:] if b'"event_id"' in body}) == len(ids)
    assert sum(kind != "" for kind in door.types) == counted.bare


async def test_a_duplicate_asks_for_nothing() -> None:
    """An event that comes again makes nobody wait for another call: it may be dropped."""
    world, board = World(3), fast_board(duplicates=1.0, reordered_by=1)
    waiting: dict[bytes, int] = {}

    class Asking(Door):
        async def take(self, request: web.Request) -> web.Response:
            body = await request.read()
            if body:
                posts = json.loads(body)
                waiting[body] = world.unasked
                world.asked(posts["data"].get("invoice_id") or posts["data"]["invoice"]["id"])
            return await super().take(request)

    await sent(Asking(), world, board, visits=1)
    assert sorted(waiting.values()) == [0] * 5 + [1] * 5
    assert world.unasked == 0


async def test_visits_go_on_until_cancelled() -> None:
    """Without a number of visits there is always a next visit; cancelling ends it."""
    posts: list[str] = []
    async with sender_to(Door()) as sender:
        sending = asyncio.create_task(
            send_visits(
                sender,
                World(1),
                visits=None,
                rate=1e6,
                now=now,
                on_sent=lambda event, _: posts.append(event.invoice_id),
            )
        )
        await eventually(lambda: len(set(posts)) > 20)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.mark.parametrize(("rate", "speed"), [(100.0, 1.0), (1.0, 100.0)])
async def test_the_rate_is_kept(rate: float, speed: float) -> None:
    """Ten events at a hundred a second take at least ninety milliseconds, be the rate so or the speed."""
    board = board_with(speed=speed, webhooks=WebhookSwitches(rate=rate))
    began = time.monotonic()
    await sent(Door(), World(1), board, visits=2)
    assert time.monotonic() - began >= 0.09
