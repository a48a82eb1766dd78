"""The suite is as honest as its ledger: what is lost, wrong or doubled must show."""

import json
from typing import Any

import pytest

from tests.acceptance.conftest import invoice_document
from tests.chaos.events import ALL, GUESTS, INVOICES, Event
from tests.chaos.ledger import FRAME_POISON, Ledger, most_in_a_window

GUEST = Event("g-1", b'{"event_id":"g-1","price":0.10}', frozenset({ALL, GUESTS}))
INVOICE = Event("i-1", b'{"event_id":"i-1"}', frozenset({ALL, INVOICES}), "invoice-1")
POISON = Event("p-1", b'{"event_id":"p-1",', frozenset())


@pytest.fixture
def ledger() -> Ledger:
    """A guest, an invoice and a malformed body, all of them accepted."""
    made = Ledger()
    for event in (GUEST, INVOICE, POISON):
        made.offer(event)
        made.accept(event)
    return made


def out(event: Event, *, status: str = "", **more: Any) -> bytes:
    """The event as it comes out."""
    status = status or ("enriched" if event.invoice_id else "not_applicable")
    enrichment = {"status": status, "reason": None, "fetched_at": "2031-05-06T17:08:11Z"}
    written = {
        "id": f"{event.id}.0",
        "eventid": event.id,
        "receivedat": "2031-05-06T17:08:10Z",
        "data": {"enrichment": enrichment},
        **more,
    }
    invoice = invoice_document(event.invoice_id) if event.invoice_id else b"null"
    return json.dumps(written).encode()[:-1] + b', "event": ' + event.body + b', "invoice": ' + invoice + b"}"


def deliver(ledger: Ledger) -> None:
    """Everything where it belongs."""
    for event in (GUEST, INVOICE):
        for queue in event.queues:
            ledger.arrive(queue, out(event))
    ledger.bury(POISON.body, {"reason": "malformed"})


def test_all_is_well(ledger: Ledger) -> None:
    """Everything in every queue bound for it, the malformed body among the dead letters: the promise is kept."""
    assert ledger.unsettled == 3
    deliver(ledger)
    found = ledger.settlement()
    assert ledger.unsettled == 0
    assert found.ok
    assert found.accepted == 3
    assert found.poisoned == 1
    assert found.deliveries == {ALL: 2, GUESTS: 1, INVOICES: 1}
    assert set(found.duplicates.values()) == {0}


def test_one_queue_lacking_is_a_loss(ledger: Ledger) -> None:
    """An event that came to one of its two queues is lost; so is a malformed body that is no dead letter."""
    ledger.arrive(ALL, out(GUEST))
    ledger.arrive(ALL, out(INVOICE))
    ledger.arrive(INVOICES, out(INVOICE))
    found = ledger.settlement()
    assert not found.ok
    assert found.lost == {"g-1": f"not in {GUESTS}", "p-1": "not among the dead letters"}


def test_an_arrival_before_the_answer_counts() -> None:
    """The door's 202 may come after the event has come out."""
    ledger = Ledger()
    ledger.offer(GUEST)
    for queue in GUEST.queues:
        ledger.arrive(queue, out(GUEST))
    ledger.accept(GUEST)
    assert ledger.unsettled == 0


def test_what_was_not_accepted_is_not_owed() -> None:
    """An event without a 202 may be lost."""
    ledger = Ledger()
    ledger.offer(GUEST)
    assert ledger.settlement().ok


def test_duplicates_are_counted_but_not_the_readers_own(ledger: Ledger) -> None:
    """A second delivery is a duplicate, unless the broker says that this reader may have had it before."""
    deliver(ledger)
    ledger.arrive(ALL, out(GUEST))
    ledger.arrive(ALL, out(GUEST), again=True)
    found = ledger.settlement()
    assert found.duplicates == {ALL: 1, GUESTS: 0, INVOICES: 0}
    assert found.ok


@pytest.mark.parametrize(
    ("queue", "body"),
    [
        pytest.param(INVOICES, out(GUEST), id="in a queue that it is not meant for"),
        pytest.param(ALL, out(Event("x", b"{}", frozenset())), id="an event that nobody sent"),
        pytest.param(ALL, out(GUEST).replace(b"0.10", b"0.1"), id="a body that was written anew"),
        pytest.param(ALL, out(GUEST, status="skipped"), id="a guest with another status"),
        pytest.param(ALL, out(INVOICE, status="failed"), id="an invoice not enriched"),
        pytest.param(ALL, out(INVOICE).replace(b'"id":"invoice-1"', b'"id":"invoice-2"'), id="another's invoice"),
        pytest.param(ALL, out(INVOICE, receivedat="2031-05-06T17:08:12Z"), id="an invoice read too early"),
        pytest.param(ALL, b"\xff", id="no JSON"),
    ],
)
def test_wrong_deliveries_show(ledger: Ledger, queue: str, body: bytes) -> None:
    """Wrong output is reported."""
    deliver(ledger)
    ledger.arrive(queue, body)
    assert len(ledger.settlement().wrong) == 1
    assert not ledger.settlement().ok


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(GUEST.body, "attempts-exhausted", id="a good event"),
        pytest.param(POISON.body, "defect", id="the malformed body, for another reason"),
        pytest.param(b"{}", "malformed", id="nobody's"),
        pytest.param(FRAME_POISON, "refused", id="the unreadable message, for another reason"),
    ],
)
def test_wrong_dead_letters_show(ledger: Ledger, body: bytes, reason: str) -> None:
    """An unexpected dead letter is reported, and is not counted as lost too."""
    deliver(ledger)
    ledger.bury(body, {"reason": reason})
    found = ledger.settlement()
    assert len(found.wrong) == 1
    assert not found.lost


def test_unreadable_messages_are_owed(ledger: Ledger) -> None:
    """Each unreadable message must come to the dead letters, be it by the broker's delivery limit."""
    deliver(ledger)
    ledger.frame_poison()
    assert ledger.unsettled == 1
    assert not ledger.settlement().ok
    ledger.bury(FRAME_POISON, {})
    assert ledger.unsettled == 0
    assert ledger.settlement().ok


def test_a_delay_lasts_until_the_last_queue_has_it() -> None:
    """From the 202 to the last of its queues but those left apart; the first copy counts, and more are copies."""
    ledger = Ledger()
    for event, at in ((GUEST, 10.0), (INVOICE, 20.0)):
        ledger.offer(event)
        ledger.accept(event, at=at, door=1)
    ledger.arrive(ALL, out(GUEST), at=11.0)
    ledger.arrive(GUESTS, out(GUEST), at=14.0)
    ledger.arrive(ALL, out(GUEST), at=18.0)
    ledger.arrive(ALL, out(INVOICE), at=20.5)
    found = ledger.pace(["g-1", "i-1"])
    assert (found.events, found.delays, found.missing, found.copies) == (2, [4.0], ["i-1"], {"g-1": 1})
    assert ledger.answered["g-1"].door == 1
    apart = ledger.pace(["g-1", "i-1"], apart=frozenset({GUESTS, INVOICES}))
    assert apart.delays == [0.5, 1.0]
    assert apart.percentile(0.0) == 0.5
    assert apart.percentile(0.95) == 1.0


def test_who_is_still_on_his_way_of_those_before_a_time() -> None:
    """What was accepted at that time or later is not waited for."""
    ledger = Ledger()
    for event, at in ((GUEST, 10.0), (INVOICE, 20.0)):
        ledger.offer(event)
        ledger.accept(event, at=at)
    assert [ledger.unsettled_before(at) for at in (10.0, 20.0, 21.0)] == [0, 1, 2]
    for queue in GUEST.queues:
        ledger.arrive(queue, out(GUEST), at=11.0)
    assert ledger.unsettled_before(21.0) == 1


def test_a_second_202_moves_nothing_and_no_copy_is_reported_of_what_was_posted_twice(ledger: Ledger) -> None:
    """An event posted twice may come out twice; its delay counts from the first 202."""
    ledger.offer(GUEST)
    ledger.accept(GUEST, at=5.0)
    for queue in (ALL, ALL, GUESTS):
        ledger.arrive(queue, out(GUEST), at=7.0)
    found = ledger.pace(["g-1"])
    assert found.copies == {}
    assert found.delays == [7.0]


def test_no_delay_at_all() -> None:
    """Nothing arrived: the percentile of nothing is none."""
    assert Ledger().pace([]).percentile(0.95) == 0.0


def test_a_letter_without_a_body_is_known_by_its_receipt() -> None:
    """The letter of what is too large has no body, and may be read before the 202 that names the receipt."""
    large = Event("l-1", b"...", frozenset(), letter="too-large")
    ledger = Ledger()
    ledger.offer(large)
    ledger.bury(b"", {"reason": "too-large", "receipt_id": "r-1", "event_id": ""})
    assert ledger.settlement().wrong == ["dead letter of nobody: too-large"]
    ledger.accept(large, receipt="r-1")
    assert ledger.settlement().ok
    assert ledger.settlement().poisoned == 1


@pytest.mark.parametrize(("reason", "is_right"), [("attempts-exhausted", True), ("refused", False)])
def test_each_letter_has_the_reason_that_was_intended(reason: str, *, is_right: bool) -> None:
    """An event that belongs among the dead letters does so for one reason."""
    sick = Event("s-1", b'{"event_id":"s-1"}', frozenset(), "sick-1", letter="attempts-exhausted")
    ledger = Ledger()
    ledger.offer(sick)
    ledger.accept(sick)
    ledger.bury(sick.body, {"reason": reason})
    assert ledger.settlement().ok == is_right


def test_what_is_excused_is_not_lost(ledger: Ledger) -> None:
    """One event, and no other."""
    ledger.excuse("g-1")
    assert set(ledger.settlement().lost) == {"i-1", "p-1"}


@pytest.mark.parametrize(
    ("since", "until", "most"), [(0, 200, 3), (0, 30, 2), (70, 100, 3), (150, 200, 1), (300, 400, 0)]
)
def test_the_worst_window(since: float, until: float, most: int) -> None:
    """A window is open at its beginning, and may begin before the time that is asked about."""
    assert most_in_a_window([10.0, 20.0, 70.0, 75.0, 160.0], seconds=60, since=since, until=until) == most
