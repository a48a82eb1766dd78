"""The turn of a process on a lane: between fakes where a fault must come at one moment, and on a real RabbitMQ."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import pytest

from tests.conftest import OpenLink
from tests.eventually import eventually
from tests.fakes import FakeBatons, FakeClock, FakeInvoiceApi, FakeLink, FakePublisher, FakeStates, FakeSubscription
from tests.way import Way, answer, between_fakes, body, event, lane, path
from zenoti_ingest.adapters.broker.batons import BatonQueues
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import ApiUnreachable
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.invoices.protocol import Request, Response
from zenoti_ingest.core.invoices.quota import Spent
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.enrich import Lane
from zenoti_ingest.stages.turn import Turn

NAMES = Names("zi-fake")
AWAY = Response(503, {}, b"")
LEASE = 0.5
LATE = 0.15  # seconds that a call may be noted late on a busy machine


class Timed(FakeInvoiceApi):
    """An API that notes in a log, its own or one for several, when calls reached it."""

    def __init__(
        self, answers: Mapping[str, Sequence[Response | Exception]], *, log: list[float] | None = None
    ) -> None:
        super().__init__(answers)
        self.at: list[float] = [] if log is None else log

    async def fetch(self, request: Request, *, last_look: Callable[[], None] = lambda: None) -> Response:
        """Note it once it has gone."""
        last_look()
        self.at.append(time.monotonic())
        return await super().fetch(request)


class Frozen(Timed):
    """The process stands still during the first call, between the spending and the sending."""

    was_frozen = False

    async def fetch(self, request: Request, *, last_look: Callable[[], None] = lambda: None) -> Response:
        """Stand still once."""
        if not self.was_frozen:
            self.was_frozen = True
            time.sleep(2 * LEASE)  # noqa: ASYNC251  # as after a SIGSTOP
        return await super().fetch(request, last_look=last_look)


def well(*invoices: str, log: list[float] | None = None) -> Timed:
    """An API that knows these invoices."""
    return Timed({path(invoice): [answer(invoice)] for invoice in invoices}, log=log)


def waiting(count: int) -> list[Outgoing]:
    """So many events, of an invoice each."""
    return [
        event(body(f"e-{n}", invoice=f"i-{n}"), number=n).to(exchange=NAMES.work, routing_key=NAMES.lane("main"))
        for n in range(count)
    ]


def holder(api: FakeInvoiceApi, batons: FakeBatons, publisher: FakePublisher | None = None, **more: Any) -> Lane:
    """A lane that knows of others."""
    given = {"calls_per_minute": 600, "lease_seconds": LEASE, "max_in_flight": 20} | more
    return lane(publisher or FakePublisher(), api, NAMES, batons=batons, **given)


async def test_a_baton_is_taken_and_handed_on() -> None:
    """With a baton a call goes at once, under the quota of those before; who leaves in order leaves one of its own."""
    batons, api = FakeBatons(), well("i-0", "i-1", "i-2")
    batons.lying["main"] = Baton(Spent(calls=(2.0, 1.0), tokens=1.0))
    began, link = time.monotonic(), FakeLink(*waiting(3))
    async with between_fakes(holder(api, batons, lease_seconds=5.0), link):
        await eventually(lambda: not link.unacked)
    assert api.at[0] - began < 5.0, "no lease was waited for"
    assert all(after - before > 0.09 for before, after in pairwise(api.at)), "one token, then a call each 0.1 s"
    left = batons.lying["main"].spent
    assert len(left.calls) == 5
    assert left.calls[0] > 2.0
    assert left.tokens < 1.5


async def test_no_baton_means_the_worst() -> None:
    """Without one the lease of the predecessor runs out first, then a burst is taken for spent: ten intervals more."""
    batons, api = FakeBatons(), well("i-0", "i-1")
    began, link = time.monotonic(), FakeLink(*waiting(2))
    async with between_fakes(holder(api, batons), link):
        await eventually(lambda: not link.unacked)
    assert LEASE + 1.0 <= api.at[0] - began < LEASE + 2.0
    assert set(batons.lying) == {"main"}


async def test_a_baton_that_comes_too_late() -> None:
    """A baton put there while the successor waits proves nothing afterwards: it is discarded."""
    batons, api = FakeBatons(), well("i-0")
    link = FakeLink(*waiting(1))
    async with between_fakes(holder(api, batons), link):
        await eventually(lambda: link.subscriptions)
        await asyncio.sleep(LEASE / 2)
        batons.lying["main"] = Baton()
        await eventually(lambda: not link.unacked)
        assert not batons.lying


async def test_a_channel_that_was_lost_says_nothing_of_the_next() -> None:
    """Who leaves in order, before it has asked anything on its new channel, leaves a baton all the same."""
    batons, link = FakeBatons(), FakeLink()
    turn = Turn(holder(well(), batons).calls, source="main", clock=FakeClock(), batons=batons)
    for is_lost in (True, False):
        batons.lying["main"] = Baton()
        subscription = link.subscribe("lane", prefetch=1, on_delivery=never)
        subscription.channel.lost = is_lost
        turn.open()
        await turn.take_over(subscription)
        if is_lost:
            await turn.keep(subscription, wake=lambda: None)
            assert subscription.ended.is_set()
        await turn.hand_over(subscription)
        assert bool(batons.lying) is not is_lost


async def never(_: Delivery) -> None:
    """Nothing is delivered."""
    raise AssertionError


async def test_a_stop_while_waiting_for_a_lease() -> None:
    """Who was not yet the holder leaves no baton, and does not wait for the end of the lease."""
    batons, api = FakeBatons(), well("i-0")
    link = FakeLink(*waiting(1))
    began = time.monotonic()
    async with between_fakes(holder(api, batons, lease_seconds=5.0), link):
        await eventually(lambda: link.subscriptions)
        await asyncio.sleep(0.1)
    assert time.monotonic() - began < 2
    assert not batons.lying
    assert not api.at


async def test_a_broker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off: once the lease is over no call goes, and no baton is left, until the broker answers."""
    answers = asyncio.Event()
    answers.set()

    async def asked(_: FakeSubscription) -> None:
        await answers.wait()

    monkeypatch.setattr(FakeSubscription, "acks_arrived", asked)
    batons, api = FakeBatons(), well(*(f"i-{n}" for n in range(40)))
    batons.lying["main"] = Baton()
    async with between_fakes(holder(api, batons), FakeLink(*waiting(40))):
        await eventually(lambda: api.at)
        answers.clear()
        silent_at = time.monotonic()
        await asyncio.sleep(3 * LEASE)
        assert max(api.at) < silent_at + LEASE + 0.1
        so_far = len(api.at)
        answers.set()
        await eventually(lambda: len(api.at) > so_far)
        answers.clear()
        await asyncio.sleep(1.2 * LEASE)
    assert not batons.lying


async def test_a_call_that_is_stopped_at_the_last_moment() -> None:
    """The lease ends between the spending and the sending: nothing is sent nor charged, and it goes again later."""
    batons, publisher, link = FakeBatons(), FakePublisher(), FakeLink(*waiting(1))
    batons.lying["main"] = Baton()
    api = Frozen({path("i-0"): [answer("i-0")]})
    async with between_fakes(holder(api, batons, publisher), link):
        await eventually(lambda: not link.unacked)
    assert len(api.at) == 1
    assert [message.exchange for message in publisher.published] == [NAMES.events]


async def test_a_state_that_is_not_confirmed_ends_the_calls() -> None:
    """A broker that is blocked confirms nothing; what it would not take is not asked for."""
    batons, states, api = FakeBatons(), FakeStates(), well(*(f"i-{n}" for n in range(40)))
    batons.lying["main"] = Baton()
    async with between_fakes(holder(api, batons, states=states), FakeLink(*waiting(40))):
        await eventually(lambda: api.at)
        states.are_confirmed = False
        blocked_at = time.monotonic()
        await asyncio.sleep(3 * LEASE)
        assert max(api.at) < blocked_at + LEASE + 0.1


async def test_an_open_circuit_is_handed_on() -> None:
    """A successor goes on with the probes of the open circuit, and makes no call for events; so does the next."""
    batons = FakeBatons()
    batons.lying["main"] = Baton()
    down = Timed({path(f"i-{n}"): [AWAY] for n in range(6)})
    first, link = holder(down, batons, lease_seconds=5.0), FakeLink(*waiting(6))
    async with between_fakes(first, link):
        await eventually(lambda: len(link.subscriptions) > 1)
        assert (first.circuit.is_open, first.prefetch) == (True, 1)
    opened = batons.lying["main"].opened
    assert opened is not None
    so_far = len(down.at)
    second = holder(down, batons, lease_seconds=5.0)
    async with between_fakes(second, FakeLink(*waiting(6))):
        await eventually(lambda: second.circuit.is_open)
        await asyncio.sleep(0.5)
    assert len(down.at) - so_far <= 1, "a probe at most"
    assert batons.lying["main"].opened is not None
    link = FakeLink(*waiting(6))
    async with between_fakes(holder(well(*(f"i-{n}" for n in range(6))), batons), link):
        await eventually(lambda: not link.unacked, within=10)


async def rivals(way: Way, open_link: OpenLink, apis: Sequence[FakeInvoiceApi], **more: Any) -> list[Lane]:
    """The lanes of several processes, a baton for the first to come."""
    batons = [BatonQueues(await open_link(), await open_link(), names=way.names) for _ in apis]
    assert await batons[0].put("main", Baton(), within=5)
    given = {"lease_seconds": LEASE, "calls_per_minute": 600} | more
    return [way.lane(api, batons=own, **given) for api, own in zip(apis, batons, strict=True)]


async def test_in_order_at_once(way: Way, open_link: OpenLink) -> None:
    """Of two processes the first is stopped: the second calls within moments, at the pace of both together."""
    calls: list[float] = []
    invoices = [f"i-{n}" for n in range(12)]
    first, second = await rivals(way, open_link, [well(*invoices, log=calls), well(*invoices, log=calls)])
    async with way.running(first) as stop:
        await eventually(lambda: way.hand.consumers(way.lane_queue))
        async with way.running(second):
            await way.put(way.lane_queue, *(event(body(f"e-{invoice}", invoice=invoice)) for invoice in invoices))
            await eventually(lambda: len(calls) >= 4)
            stop.set()
            assert len(await way.came(12)) == 12
    for (early, at), (late, then) in combinations(enumerate(calls), 2):
        assert then - at > 0.1 * (late - early) - LATE, "never faster than the quota"
    assert max(after - before for before, after in pairwise(calls)) < LEASE + 1.0, (
        "the second did not wait for a lease, and found a baton: else a burst is spent"
    )


async def test_circuits_of_three_processes(way: Way, open_link: OpenLink) -> None:
    """Where the API is down, three processes together make five calls and then one probe at a time."""
    calls: list[float] = []
    invoices = [f"i-{n}" for n in range(8)]
    apis = [Timed({path(invoice): [ApiUnreachable("down")] for invoice in invoices}, log=calls) for _ in range(3)]
    stages = await rivals(way, open_link, apis, max_in_flight=1)
    await way.put(way.lane_queue, *(event(body(f"e-{invoice}", invoice=invoice)) for invoice in invoices))
    async with way.running(*stages):
        await eventually(lambda: all(stage.circuit.is_open for stage in stages), within=10)
        await asyncio.sleep(4)
        assert len(calls) <= 5 + 4, "the probe while in doubt, and those after 1 s, 2 s more, 4 s more"
        for api in apis:
            for invoice in invoices:
                api.will(path(invoice), answer(invoice))
        assert len(await way.came(8, within=20)) == 8
    assert await way.left() == {}
