"""The simulated Zenoti answers, throttles, posts and gives up as the vendor's pages and integrators say."""

import asyncio
from collections import Counter
from math import inf
from typing import Any

import msgspec
import pytest

from tests.fakes import FakeRuntime
from tests.simulation.answers import BEHAVIOURS, DOWN_SECONDS, MODES, SICKNESSES, Behaviour, Truth, drawn
from tests.simulation.bodies import HOSTILE, PING, SHAPES, Bodies, Door, Fate, Mix, Planned, Posted, plan
from tests.simulation.feed import Feed
from tests.simulation.vendor_quota import HEADERS, READINGS, RETRY_AFTER, QuotaTerms, drawn_terms
from tests.simulation.virtual_time import run_in_virtual_time
from tests.simulation.zenoti import KEY, SimulatedZenoti
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.reading import Event, read
from zenoti_ingest.core.failures.errors import (
    ApiFailure,
    ApiThrottled,
    GatewayAnswered,
    Malformed,
    PermanentError,
    TooLarge,
    TransientError,
    WorkerError,
)
from zenoti_ingest.core.failures.policy import DeadLetter, Hold, Ladder, Retry, settle
from zenoti_ingest.core.intake.admission import Accept, Ping, Refuse, judge
from zenoti_ingest.core.invoices.circuit import Blame
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.protocol import Invoice, Response, decipher, request
from zenoti_ingest.core.invoices.quota import Quota, rate_limit
from zenoti_ingest.simulator.invention import rng
from zenoti_ingest.simulator.webhooks import SIGNATURE_HEADER
from zenoti_ingest.stages.invoice_calls import InvoiceCalls

PARTS = ("InvoiceItems", "Transactions", "Appointments")
INVOICE = "7e4e1a62-5982-4b3c-b9ac-0000000000aa"
LADDER = Ladder((5, 30, 120, 600), 8)
LIMIT = 65_536


def nothing_against() -> None:
    """A last look that finds nothing against the call."""


def zenoti(**more: Any) -> SimulatedZenoti:
    """An API that knows the invoice."""
    made = SimulatedZenoti(rng("1"), **more)
    made.happened(INVOICE, "opened")
    return made


async def asked(api: SimulatedZenoti, invoice_id: str = INVOICE, *, expand: tuple[str, ...] = PARTS) -> Invoice:
    """What the worker's own reader makes of an answer."""
    response = await api.port("p").fetch(request(invoice_id, expand=expand), last_look=nothing_against)
    return decipher(response, invoice_id, expand=expand)


async def failed(api: SimulatedZenoti) -> WorkerError:
    """How a call fails."""
    try:
        await asked(api)
    except WorkerError as error:
        return error
    raise AssertionError("it was answered")


def reason_of(error: WorkerError) -> str:
    """The reason of the dead letter that the policy makes of it, at its last attempt, if it is the invoice's own."""
    verdict = settle(error, attempt=LADDER.max_attempts, ladder=LADDER, blame=Blame.KEY)
    return verdict.reason if isinstance(verdict, DeadLetter) else ""


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_every_answer_is_read_as_its_truth_says(name: str) -> None:
    """The worker's reader and policy come to what the vendor's table says: good, dead at once, later, or held."""
    behaviour = BEHAVIOURS[name]

    async def main() -> None:
        api = zenoti()
        api.mode = name
        if behaviour.truth is Truth.GOOD:
            found = await asked(api)
            assert found.missing == ()
            assert b'"version":1' in found.document
            return
        error = await failed(api)
        assert reason_of(error) == behaviour.reason
        needed = behaviour.attempts(few=4, most=8)
        if needed > 1 and behaviour.reason:
            verdict = settle(error, attempt=needed - 1, ladder=LADDER, blame=Blame.KEY)
            assert isinstance(verdict, Retry)
        held = isinstance(settle(error, attempt=1, ladder=LADDER, blame=Blame.API), Hold)
        assert held is (behaviour.truth in (Truth.TRANSIENT, Truth.NOTHING))

    run_in_virtual_time(main())


def test_the_table_is_whole() -> None:
    """Each code of the vendor's table, each shape, each gateway page and each way to fail has its behaviour."""
    families = Counter(behaviour.family for behaviour in BEHAVIOURS.values())
    assert families["gateway"] == 24
    assert set(families) == {
        *("good", "slow", "access-denied", "refused", "defect", "invoice-not-found", "server error", "key"),
        *("throttled", "gateway", "no answer", "unreachable", "cut", "unusable answer"),
    }
    assert {name.split("/")[0] for name in BEHAVIOURS} >= {
        *("602", "438", "401", "400", "405", "418", "429", "500", "502", "503", "504", "AA102"),
        *("408", "421", "425", "407", "423", "403", "404", "409", "410", "451"),
    }
    assert DOWN_SECONDS == 300


def test_pages_are_told_from_the_api() -> None:
    """A gateway's page is known as such, unless its status says that a server failed, or it is JSON with a 200."""

    async def main() -> None:
        api = zenoti()
        for name, behaviour in BEHAVIOURS.items():
            if behaviour.family == "gateway":
                api.mode = name
                is_told = (
                    not name.endswith("/502") and name != "json/200"
                )  # JSON without an invoice: the same comes of it
                assert isinstance(await failed(api), GatewayAnswered) is is_told, name

    run_in_virtual_time(main())


def test_draws_are_even_over_families() -> None:
    """However many shapes a failure has, it is drawn as often as any other kind."""
    random = rng("3")
    counts = Counter(BEHAVIOURS[drawn(random, MODES)].family for _ in range(2000))
    assert min(counts.values()) > 2000 / len(counts) / 2
    assert {BEHAVIOURS[name].family for name in SICKNESSES} >= {"access-denied", "defect", "refused", "key"}


def test_an_invoice_changes() -> None:
    """An answer has the state at the time it was read; parts come only if they are asked for."""

    async def main() -> None:
        api = zenoti()
        first = msgspec.json.decode((await asked(api)).document)
        assert api.happened(INVOICE.upper(), "closed").number == 2
        second = msgspec.json.decode((await asked(api, INVOICE.upper())).document)
        assert (first["version"], first["is_closed"]) == (1, False)
        assert (second["version"], second["is_closed"]) == (2, True)
        assert second["read_at"] >= api.calls[1].at
        api.happened(INVOICE, "refunded")
        document = msgspec.json.decode((await asked(api, expand=("InvoiceItems",))).document)
        assert document["is_refund"]
        assert document["invoice_items"]
        assert document["transactions"] is None
        api.gone(INVOICE)
        assert reason_of(await failed(api)) == "invoice-not-found"

    run_in_virtual_time(main())


def test_a_late_invoice_and_a_sick_one() -> None:
    """An invoice is not found for some calls or some seconds; others are answered meanwhile."""

    async def main() -> None:
        api = zenoti()
        api.happened("other", "opened")
        api.sicken(INVOICE, "418/200/Error", calls=2)
        for _ in range(2):
            assert reason_of(await failed(api)) == "invoice-not-found"
            await asked(api, "other")
        await asked(api)
        api.sicken(INVOICE.upper(), "500", seconds=20)
        await failed(api)
        await asyncio.sleep(20)
        await asked(api)
        api.sicken(INVOICE, "602")
        await failed(api)
        api.heal(INVOICE)
        await asked(api)

    run_in_virtual_time(main())


def test_which_letters_are_true() -> None:
    """A reason is true if the invoice itself failed so, often enough; what the whole API did is no reason."""

    async def main() -> None:
        api = zenoti()

        def is_true(reason: str, attempts: int) -> bool:
            return api.letter_is_true(reason, INVOICE, attempts=attempts, most_attempts=8)

        api.mode = "500"
        for _ in range(8):
            await failed(api)
        assert not is_true("attempts-exhausted", 8)
        api.mode = "ok"
        api.sicken(INVOICE, "500")
        await failed(api)
        assert is_true("attempts-exhausted", 8)
        assert not is_true("attempts-exhausted", 7)
        assert not is_true("access-denied", 1)
        api.sicken(INVOICE, "602/200/bare")
        await failed(api)
        assert is_true("access-denied", 1)
        api.sicken(INVOICE, "418")
        await failed(api)
        assert not is_true("invoice-not-found", 3)
        assert is_true("invoice-not-found", 4)

    run_in_virtual_time(main())


def test_the_way_to_it() -> None:
    """Unreachable and timed-out calls are failures; a slow answer in time is none; a late one is, once."""

    async def main() -> None:
        api = zenoti()
        api.mode = "unreachable"
        await failed(api)
        assert api.calls == []
        port = api.port("p", call_seconds=5.0)
        port.is_cut, api.mode = True, "ok"
        with pytest.raises(ApiFailure):
            await port.fetch(request(INVOICE, expand=()), last_look=nothing_against)
        port.is_cut, api.mode = False, "hang"
        with pytest.raises(ApiFailure):
            await port.fetch(request(INVOICE, expand=()), last_look=nothing_against)
        assert [failure.behaviour for failure in api.failures[INVOICE]] == ["unreachable", "unreachable", "hang"]
        api.mode = "slow"
        await asked(api)
        assert len(api.failures[INVOICE]) == 3

    run_in_virtual_time(main())


def test_a_key_is_rotated() -> None:
    """A key that is not taken any more gets a 401; the new one is answered."""

    async def main() -> None:
        api = zenoti()
        api.keys = {"key-2"}
        port = api.port("p")
        response = await port.fetch(request(INVOICE, expand=()), last_look=nothing_against)
        assert (response.status, port.key_mark()) == (401, KEY)
        port.key = "key-2"
        assert (await port.fetch(request(INVOICE, expand=()), last_look=nothing_against)).status == 200

    run_in_virtual_time(main())


@pytest.mark.parametrize("reading", READINGS)
def test_the_quota(reading: str) -> None:
    """Above it comes a 429 that says when to come again; then calls go; a window refills at once, a bucket evenly."""

    async def main() -> None:
        terms = QuotaTerms(calls_per_minute=6, reading=reading)
        api = zenoti(terms=terms, latency=(0.0, 0.0))
        statuses = Counter[int]()
        last: Response | None = None
        for _ in range(8):
            last = await api.port("p").fetch(request(INVOICE, expand=()), last_look=nothing_against)
            statuses[last.status] += 1
        assert statuses == {200: 6, 429: 2}
        assert last is not None
        said = rate_limit(last.headers)
        assert said.remaining == 0
        assert said.interval_seconds == 10
        assert said.retry_after_seconds is not None
        assert 0 < said.retry_after_seconds <= 60
        await asyncio.sleep(said.retry_after_seconds + 1)
        await asked(api)

    run_in_virtual_time(main())


@pytest.mark.parametrize("reading", READINGS)
def test_others_use_the_quota_too(reading: str) -> None:
    """Within our own share a 429 can come; and the vendor may lower the quota while we go."""

    async def main() -> None:
        api = zenoti(terms=QuotaTerms(calls_per_minute=60, reading=reading, other_calls=50))

        async def throttled() -> int:
            before = sum(call.behaviour == "429" for call in api.calls)
            for _ in range(240):
                await asyncio.sleep(2)
                await api.port("p").fetch(request(INVOICE, expand=()), last_look=nothing_against)
            return sum(call.behaviour == "429" for call in api.calls) - before

        assert await throttled() > 20
        api.terms = QuotaTerms(calls_per_minute=60, reading=reading)
        await asyncio.sleep(60)
        assert await throttled() == 0
        api.terms = QuotaTerms(calls_per_minute=10, reading=reading)
        assert await throttled() > 50

    run_in_virtual_time(main())


@pytest.mark.parametrize("form", RETRY_AFTER)
def test_how_a_429_says_when(form: str) -> None:
    """In seconds, as a date beside the answer's own, or not at all; the quota headers can be absent."""

    async def main() -> None:
        api = zenoti(terms=QuotaTerms(calls_per_minute=1, headers=(), retry_after=form))
        await asked(api)
        error = await failed(api)
        assert isinstance(error, ApiThrottled)
        if form == "none":
            assert error.retry_after == 60
        else:
            assert 50 < error.retry_after <= 61
        [_, call] = api.calls
        assert call.behaviour == "429"
        assert api.failures == {}

    run_in_virtual_time(main())


def test_a_drawn_quota_is_one_of_all() -> None:
    """Draws reach each reading, each set of headers and each form."""
    terms = [drawn_terms(rng(str(seed)), calls_per_minute=60) for seed in range(100)]
    assert {each.reading for each in terms} == set(READINGS)
    assert {each.retry_after for each in terms} == set(RETRY_AFTER)
    assert {HEADERS, ()} < {each.headers for each in terms}
    assert any(each.other_calls for each in terms)


def test_combined_expands_are_ignored() -> None:
    """The real calls get every part all the same, each alone, and remember it."""

    async def main() -> None:
        api = zenoti(splits=True)
        runtime = FakeRuntime()
        quota = Quota(calls_per_minute=60_000, now=0.0)
        lease = Lease(inf)
        lease.renew(0.0)
        calls = InvoiceCalls(api.port("p"), source="main", expand=PARTS, quota=quota, lease=lease, runtime=runtime)
        assert (await calls.fetch(INVOICE)).missing == ()
        assert len(api.calls) == 4
        assert (await calls.fetch(INVOICE)).missing == ()
        assert len(api.calls) == 7

    run_in_virtual_time(main())


class Sink:
    """A door that answers as a test wants.

    Attributes:
        status: what it answers; None: nothing, ever.
        got: what came.
    """

    def __init__(self, status: int | None = 202) -> None:
        self.status = status
        self.got: list[Posted] = []

    async def post(self, posted: Posted) -> int | None:
        """As `Post` says."""
        self.got.append(posted)
        await asyncio.sleep(1e6 if self.status is None else 0.1)
        return self.status


def events(count: int, *, seed: int = 1) -> list[Planned]:
    """Events of different invoices, a second apart."""
    bodies = Bodies(rng(str(seed)), invoices=10 * count)
    return [Planned(float(at), bodies.event(has_invoice=False)) for at in range(count)]


def test_five_tries() -> None:
    """What is not answered within 10 s, or not with a 2xx, is tried five times, 30 s to 10 min apart."""

    async def main() -> None:
        for status in (None, 503, 302):
            sink = Sink(status)
            feed = Feed(sink.post, random=rng("1"))
            await feed.run(events(1))
            gaps = [later.at - earlier.ended_at for earlier, later in zip(feed.tries, feed.tries[1:], strict=False)]
            assert [round(gap) for gap in gaps] == [30, 81, 221, 600]
            assert [each.number for each in feed.tries] == [1, 2, 3, 4, 5]
            assert feed.tries[0].ended_at - feed.tries[0].at == pytest.approx(10 if status is None else 0.1)
            assert (len(feed.given_up), feed.accepted, feed.is_on) == (1, [], True)

    run_in_virtual_time(main())


def test_switched_off_after_20_failures_in_a_row() -> None:
    """Nothing is sent until an operator switches it on and tests it; what happened meanwhile never comes."""

    async def main() -> None:
        sink = Sink(503)
        happened: list[Posted] = []
        feed = Feed(sink.post, random=rng("1"), happened=happened.append, operator_seconds=(100, 100))
        running = asyncio.create_task(feed.run(events(200)))
        await asyncio.sleep(60)
        assert (feed.is_on, feed.switched_off) == (False, 1)
        assert 20 <= len(feed.tries) <= 22
        sink.status = 202
        await running
        await asyncio.sleep(100)
        assert feed.is_on
        assert len(happened) == 200
        assert len(feed.accepted) + len(feed.never_sent) + len(feed.given_up) == 200
        assert len(feed.never_sent) > 80
        assert len(feed.accepted) > 70
        assert feed.tests == [202]
        assert sink.got.count(PING) == 1

    run_in_virtual_time(main())


def test_the_first_tries_of_an_invoice_are_in_order() -> None:
    """An event of an invoice is first sent when the first try of the one before has ended, and others do not wait."""

    async def main() -> None:
        bodies = Bodies(rng("1"), invoices=1)
        planned = [Planned(0.0, bodies.closed("a", note=b"%d" % number)) for number in range(3)]
        planned.append(Planned(0.0, bodies.guest("b")))
        sink = Sink()
        feed = Feed(sink.post, random=rng("1"))
        began = asyncio.get_running_loop().time()
        await feed.run(planned)
        assert [each.posted for each in feed.tries if each.posted.invoice_id] == [each.posted for each in planned[:3]]
        assert [round(each.at - began, 1) for each in feed.tries] == [0.0, 0.0, 0.1, 0.2]

    run_in_virtual_time(main())


def event_of(posted: Posted) -> Event:
    """What the worker's reader makes of a request."""
    encoding = dict(posted.headers).get("Content-Encoding")
    message = Received(
        body=posted.body,
        source="main",
        receipt_id="r",
        received_at="t",
        path_type=posted.path_type,
        content_encoding=encoding,
    )
    return read(message, max_bytes=LIMIT)


def is_as_said(posted: Posted) -> None:
    """What comes out is what the request says."""
    event = event_of(posted)
    found = (event.id, event.event_id, event.type, event.invoice_id, event.body)
    assert found == (posted.cloud_id, posted.event_id, posted.type, posted.invoice_id, posted.plain), posted.kind


def test_events_of_every_type() -> None:
    """All types of the catalogue come, each as it says, and no two are the same event."""
    bodies = Bodies(rng("7"), invoices=5)
    made = [bodies.event() for _ in range(1500)]
    for posted in made:
        is_as_said(posted)
    assert len({posted.cloud_id for posted in made}) == len(made)
    types = {posted.type for posted in made}
    assert {"invoice.closed", "appointmentgroup.delete", "guestpass.redeemed", "guest.membership.freeze"} <= types
    assert len(types) > 35
    assert {posted.change for posted in made} == {"", "opened", "changed", "closed", "refunded"}
    assert {posted.status for posted in made} == {"enriched", "not_applicable", "skipped"}
    named = {posted.invoice_id for posted in made if posted.wants_invoice}
    assert {(each or "").lower() for each in named} == set(bodies.invoice_ids)
    assert len(named) == 10  # in two spellings each


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies(name: str) -> None:
    """Each becomes what it says."""
    bodies = Bodies(rng("7"), invoices=5, limit=LIMIT)
    for _ in range(20):
        posted = bodies.hostile(name)
        match posted.fate:
            case Fate.DELIVERED:
                is_as_said(posted)
            case Fate.MALFORMED:
                with pytest.raises(Malformed):
                    event_of(posted)
            case Fate.TOO_LARGE if name == "beyond it once inflated":
                with pytest.raises(TooLarge):
                    event_of(posted)
            case _:
                assert posted.fate is Fate.TOO_LARGE
                assert len(posted.body) > LIMIT - 250


def test_copies_and_twins() -> None:
    """A copy is the same event; a twin has its `event_id` and is another event."""
    bodies = Bodies(rng("2"), invoices=3)
    bodies_of_copies = set()
    for _ in range(50):
        posted = bodies.event()
        copy = bodies.again(posted)
        assert (copy.cloud_id, copy.is_copy, copy.change) == (posted.cloud_id, True, "")
        is_as_said(copy)
        bodies_of_copies.add(copy.body == posted.body)
        if posted.event_id:
            twin = bodies.twin(posted)
            is_as_said(twin)
            assert twin.event_id == posted.event_id
            assert twin.cloud_id != posted.cloud_id
    assert bodies_of_copies == {True, False}


@pytest.mark.parametrize("door", [Door(secret=b"s"), Door(token="t"), Door(secret=b"s", token="t"), Door()])
def test_what_the_door_makes_of_it(door: Door) -> None:
    """Zenoti's requests pass, the test request is a ping, and a stranger's are refused."""
    bodies = Bodies(rng("4"), invoices=3, door=door)

    def verdict(posted: Posted) -> object:
        signatures = [value for name, value in posted.headers if name == SIGNATURE_HEADER]
        return judge(posted.body, signatures=signatures, tokens=posted.tokens, rule=door.rule())

    made = [bodies.event() for _ in range(20)] + [bodies.hostile() for _ in range(60)]
    for posted in [*made, *(bodies.again(each) for each in made)]:
        assert verdict(posted) == Accept(), posted.kind
    assert verdict(PING) == Ping()
    if not door.is_open:
        assert all(isinstance(verdict(bodies.forged()), Refuse) for _ in range(100))


def drawn_plan(seed: int, shape: str = "closing time") -> list[Planned]:
    """A plan with everything in it."""
    random = rng(str(seed))
    bodies = Bodies(random, invoices=20, door=Door(secret=b"s"))
    mix = Mix(hostile=0.2, twice=0.2, twins=0.1, forged=0.1, tests=0.1)
    return plan(random, bodies, shape=shape, events=100, seconds=600, mix=mix)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_plan_is_in_order(shape: str) -> None:
    """Its times do not decrease; a seed decides all of it."""
    made = drawn_plan(5, shape)
    assert [each.at for each in made] == sorted(each.at for each in made)
    assert len(made) > 100
    assert made == drawn_plan(5, shape)
    assert made != drawn_plan(6, shape)


def test_a_seed_decides_every_call() -> None:
    """Calls side by side are answered in the same order and at the same times."""

    async def main() -> list[tuple[float, Any]]:
        random = rng("9")
        api = zenoti(terms=drawn_terms(random, calls_per_minute=60), odd_share=0.2)
        found: list[tuple[float, Any]] = []

        async def call(name: str) -> None:
            api.mode = name
            try:
                outcome: Any = (await asked(api)).document
            except (PermanentError, TransientError) as error:
                outcome = str(error)
            found.append((asyncio.get_running_loop().time(), outcome))

        await asyncio.gather(*(call(drawn(random, [*MODES, *SICKNESSES])) for _ in range(100)))
        return found

    assert run_in_virtual_time(main()) == run_in_virtual_time(main())


def test_a_behaviour_of_a_test() -> None:
    """A test may add a way to answer."""

    async def main() -> None:
        api = zenoti()
        teapot = Response(418, {}, b'{"Message": "short and stout"}')
        api.behaviours["teapot"] = Behaviour(family="good", truth=Truth.GOOD, answer=lambda _: teapot)
        api.mode = "teapot"
        assert (await api.port("p").fetch(request(INVOICE, expand=()), last_look=nothing_against)).body == teapot.body

    run_in_virtual_time(main())
