import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.builders import INVOICE_ID, RECEIPT_ID, RECEIVED_AT, received
from zenoti_ingest.core.events.identity import UNKNOWN, Identity
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.events.messages import received as read_message
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.policy import DeadLetter
from zenoti_ingest.core.topology.names import Names
from zenoti_schemas.dead_letter import DeadLetterHeaders

NAMES = Names("zenoti")
DEAD_AT = "2031-05-06T18:00:00.000000Z"


def letter(message: Received, *, stage: str = "enrich") -> Outgoing:
    """A letter of ours about a message."""
    return dead_letter.write(
        message,
        DeadLetter("refused", "the API answered code 400"),
        names=NAMES,
        stage=stage,
        dead_at=DEAD_AT,
        identity=Identity("invoice.closed", "e1", "e1.0123456789abcdef", INVOICE_ID),
    )


def revived(sent: Outgoing) -> Outgoing:
    """The message that a redrive publishes."""
    properties = {
        "message_id": sent.message_id,
        "content_type": sent.content_type,
        "content_encoding": sent.content_encoding,
    }
    return dead_letter.revive(sent.body, sent.headers, names=NAMES, properties=properties)


def x_death(*deaths: tuple[str, str]) -> dict[str, Any]:
    """What the broker writes, newest first: (queue, reason)."""
    return {"x-death": [{"queue": queue, "reason": reason, "count": 1} for queue, reason in deaths]}


def test_letter() -> None:
    """A letter is the body as it stood and every header of the interface: strings, `attempts` an int."""
    found = letter(received(body=b"\xff as received", attempts=3, content_encoding="gzip"))
    assert (found.exchange, found.routing_key) == ("zenoti.work", "zenoti.dead")
    assert (found.body, found.content_encoding, found.message_id) == (b"\xff as received", "gzip", RECEIPT_ID)
    assert found.headers == {
        "reason": "refused",
        "detail": "the API answered code 400",
        "stage": "enrich",
        "source": "main",
        "event_type": "invoice.closed",
        "event_id": "e1",
        "cloudevent_id": "e1.0123456789abcdef",
        "invoice_id": INVOICE_ID,
        "attempts": 3,
        "received_at": RECEIVED_AT,
        "dead_at": DEAD_AT,
        "receipt_id": RECEIPT_ID,
    }


def test_letter_says_what_it_does_not_know() -> None:
    """What could not be read of the event stands in the letter as empty text, `attempts` as 1."""
    verdict = DeadLetter("malformed", "not JSON")
    found = dead_letter.write(received(), verdict, names=NAMES, stage="translate", dead_at=DEAD_AT, identity=UNKNOWN)
    assert {found.headers[name] for name in ("event_type", "event_id", "invoice_id")} == {""}
    assert found.headers["attempts"] == 1


def test_reads_what_it_wrote() -> None:
    """The tools read back every word of a letter of ours."""
    found = letter(received(attempts=2, path_type="Invoice.Closed"))
    assert dead_letter.read(found.headers, names=NAMES) == DeadLetterHeaders(
        reason="refused",
        detail="the API answered code 400",
        stage="enrich",
        source="main",
        event_type="invoice.closed",
        event_id="e1",
        cloudevent_id="e1.0123456789abcdef",
        invoice_id=INVOICE_ID,
        attempts=2,
        received_at=RECEIVED_AT,
        dead_at=DEAD_AT,
        receipt_id=RECEIPT_ID,
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            x_death(("zenoti.raw.main", "delivery_limit")), ("delivery-limit", "translate", "main"), id="raw queue"
        ),
        pytest.param(
            x_death(("zenoti.enrich.m_a.0", "delivery_limit")), ("delivery-limit", "enrich", "m_a"), id="lane"
        ),
        pytest.param(x_death(("zenoti.raw.main", "rejected")), ("delivery-limit", "translate", "main"), id="rejected"),
        pytest.param(
            x_death(("zenoti.enrich.main.0", "delivery_limit"), ("zenoti.retry.5s", "expired")),
            ("delivery-limit", "enrich", "main"),
            id="the newest death counts",
        ),
        pytest.param(x_death(("elsewhere", "maxlen")), ("maxlen", "", ""), id="another queue"),
        pytest.param({}, ("unknown", "", ""), id="no x-death"),
        pytest.param({"x-death": []}, ("unknown", "", ""), id="empty x-death"),
        pytest.param({"x-death": "x"}, ("unknown", "", ""), id="x-death is text"),
        pytest.param({"x-death": ["x"]}, ("unknown", "", ""), id="x-death of text"),
    ],
)
def test_reads_what_the_broker_wrote(headers: dict[str, Any], expected: tuple[str, str, str]) -> None:
    """What the broker itself dead-lettered bears no reason: that, stage and source are read from x-death."""
    found = dead_letter.read({**headers, "receipt_id": "r", "attempts": 2}, names=NAMES, message_id="m")
    assert (found.reason, found.stage, found.source) == expected
    assert (found.receipt_id, found.attempts) == ("r", 2)


def test_reads_what_an_older_release_wrote() -> None:
    """A letter without `cloudevent_id`, whose `event_id` is the id that the event had, is read and found by it."""
    old = {name: value for name, value in letter(received()).headers.items() if name != "cloudevent_id"}
    found = dead_letter.read(old | {"event_id": "sha256:ab"}, names=NAMES)
    assert (found.event_id, found.cloudevent_id, found.bears("sha256:ab")) == ("sha256:ab", "", True)


def test_a_letter_is_found_by_each_of_its_ids() -> None:
    """The CloudEvent's id, the envelope's, the receipt's and the invoice's; by nothing else."""
    found = dead_letter.read(letter(received()).headers, names=NAMES)
    assert all(map(found.bears, (found.cloudevent_id, "e1", RECEIPT_ID, INVOICE_ID)))
    assert not any(map(found.bears, ("main", "e", "refused")))


@pytest.mark.parametrize("reason", [7, True, "", None, ["malformed"]])
def test_a_reason_that_is_no_word(reason: Any) -> None:
    """Every letter has a reason to be found by, whatever a stranger's header says."""
    assert dead_letter.read({"reason": reason}, names=NAMES).reason == "unknown"


def test_reads_what_a_stranger_wrote() -> None:
    """Headers of the wrong type and unknown headers are left out, and the message id stands in for the receipt."""
    headers = {"reason": "refused", "attempts": "3", "event_id": 5, "detail": None, "colour": "blue"}
    found = dead_letter.read(headers, names=NAMES, message_id="m")
    assert found == DeadLetterHeaders(reason="refused", receipt_id="m")


@pytest.mark.parametrize(
    ("stage", "queue"), [("translate", "zenoti.raw.main"), ("enrich", "zenoti.enrich.main.0")], ids=str
)
def test_redrive_puts_back_where_it_came_from(stage: str, queue: str) -> None:
    """A redriven letter is the message that failed, back at its stage, as a first attempt that is no duplicate."""
    message = received(body=b"\x1f\x8b", attempts=8, path_type="Invoice.Closed", replay="r1", content_encoding="gzip")
    again = revived(letter(message, stage=stage))
    assert (again.exchange, again.routing_key) == ("zenoti.work", queue)
    found = read_message(
        again.body,
        again.headers,
        source="main",
        message_id=again.message_id,
        content_type=again.content_type,
        content_encoding=again.content_encoding,
    )
    assert found == received(
        body=b"\x1f\x8b", attempts=1, redriven=True, path_type="Invoice.Closed", replay="r1", content_encoding="gzip"
    )


def test_redrive_leaves_the_letter_behind() -> None:
    """Nothing of a letter's own headers comes back with the message: it could die again and say why anew."""
    again = revived(letter(received(attempts=8)))
    assert set(again.headers) == {"source", "receipt_id", "received_at", "redriven"}


def test_redrive_of_what_the_broker_dead_lettered() -> None:
    """A letter without a reason of ours goes back to the queue that x-death names."""
    sent = received(attempts=3).to(exchange="zenoti.work", routing_key="zenoti.enrich.main.0")
    headers = {**sent.headers, **x_death(("zenoti.enrich.main.0", "delivery_limit"))}
    again = dead_letter.revive(sent.body, headers, names=NAMES, properties={})
    assert again.routing_key == "zenoti.enrich.main.0"
    assert again.headers == {"source": "main", "receipt_id": RECEIPT_ID, "received_at": RECEIVED_AT, "redriven": "1"}
    assert (again.message_id, again.content_type) == (RECEIPT_ID, None)


def test_redrive_without_headers_keeps_the_message_id() -> None:
    """A letter that bears no receipt is named by its message id when it goes back."""
    headers = x_death(("zenoti.raw.main", "delivery_limit"))
    again = dead_letter.revive(b"{}", headers, names=NAMES, properties={"message_id": "m"})
    assert (again.routing_key, again.message_id, again.headers["receipt_id"]) == ("zenoti.raw.main", "m", "m")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("not JSON (byte 17)", "not JSON (byte 2044)"),
        ("not UTF-8 at byte 3", "not UTF-8 at byte 44"),
        ("impossible type at $.data.items[3].id", "impossible type at $.data.items[12].id"),
        (f"no invoice {INVOICE_ID}", "no invoice 0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0009"),
        ("throttled by 1234567", "throttled by 99999"),
    ],
)
def test_a_fault_has_one_fingerprint(first: str, second: str) -> None:
    """Letters that differ only in places and ids share a fingerprint, which is short and always the same."""
    marks = {dead_letter.fingerprint(DeadLetterHeaders(reason="r", detail=detail)) for detail in (first, second)}
    assert len(marks) == 1
    assert re.fullmatch("[0-9a-f]{8}", marks.pop())


def test_faults_have_different_fingerprints() -> None:
    """Reason, stage, the API's code, a field, a defect's type and line each make a fault of its own."""
    letters = [
        DeadLetterHeaders(reason="refused", stage="enrich", detail="code 400"),
        DeadLetterHeaders(reason="refused", stage="enrich", detail="code 438"),
        DeadLetterHeaders(reason="refused", stage="translate", detail="code 400"),
        DeadLetterHeaders(reason="defect", stage="enrich", detail="code 400"),
        DeadLetterHeaders(reason="defect", stage="enrich", detail="KeyError at zenoti_ingest.core.invoices.window:17"),
        DeadLetterHeaders(reason="defect", stage="enrich", detail="KeyError at zenoti_ingest.core.invoices.window:71"),
        DeadLetterHeaders(reason="malformed", detail="impossible type at $.data.id"),
        DeadLetterHeaders(reason="malformed", detail="impossible type at $.data.items[1].id"),
    ]
    assert len({dead_letter.fingerprint(letter) for letter in letters}) == len(letters)


def test_the_broker_shows_when_it_dead_lettered() -> None:
    """The time of a letter by the broker is that of its newest death."""
    at = datetime(2031, 5, 6, 18, 0, 1, tzinfo=timezone(timedelta(hours=1)))
    death = {"queue": "zenoti.raw.main", "reason": "delivery_limit", "time": at}
    assert dead_letter.read({"x-death": [death]}, names=NAMES).dead_at == "2031-05-06T17:00:01.000000Z"


def test_a_letter_without_a_body() -> None:
    """Its body is empty and a header says where the body is; a letter with its body has no such header."""
    whole = letter(received(content_encoding="gzip"))
    bare = dead_letter.without_body(whole, body_at=dead_letter.ARCHIVE)
    assert (bare.body, bare.headers) == (b"", {**whole.headers, "body_at": "archive"})
    assert dead_letter.read(bare.headers, names=NAMES).body_at == "archive"
    assert dead_letter.read(whole.headers, names=NAMES).body_at == ""


def test_a_body_in_a_file() -> None:
    """Host and path are read back, whatever the path; the archive is no file."""
    assert dead_letter.on_disk("host", "/var/lib/spool/r.record") == "disk:host:/var/lib/spool/r.record"
    assert dead_letter.file_of(dead_letter.on_disk("host", "/a:b/c")) == ("host", "/a:b/c")
    assert dead_letter.file_of(dead_letter.ARCHIVE) is None
    assert dead_letter.file_of("") is None
