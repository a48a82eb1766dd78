import json
from typing import Any

import pytest

from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.bucket import Bucket
from zenoti_ingest.simulator.counters import Latencies
from zenoti_ingest.simulator.refusals import SHAPES, refusal
from zenoti_ingest.simulator.switches import ApiSwitches, Switches, WebhookSwitches, WrongSwitch, changed

KEY = "synthetic-key"


def test_a_change_is_merged() -> None:
    """Only what is named is set; a fault is added to those that there are; null takes a value back to its default."""
    first = changed(Switches(), b'{"api": {"faults": {"500": 0.1}, "late": 0.5}, "webhooks": {"rate": 2}}')
    assert first == Switches(api=ApiSwitches(faults={"500": 0.1}, late=0.5), webhooks=WebhookSwitches(rate=2.0))
    second = changed(first, b'{"api": {"faults": {"hang": 0.2}, "latency": [0.1, 0.2]}}')
    assert second.api == ApiSwitches(faults={"500": 0.1, "hang": 0.2}, late=0.5, latency=(0.1, 0.2))
    third = changed(second, b'{"api": {"faults": {"500": null}, "late": null}, "webhooks": null}')
    assert third == Switches(api=ApiSwitches(faults={"hang": 0.2}, latency=(0.1, 0.2)))
    assert changed(third, b'{"api": {"faults": null}}').api.faults == {}


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"\xff", ""),
        (b'{"apis": {}}', "apis"),
        (b'{"api": {"later": 1}}', "later"),
        (b'{"api": 7}', "api: Expected `object`"),
        (b'{"api": {"late": 1.5}}', "api.late: Expected `float` <= 1.0"),
        (b'{"api": {"late": "often"}}', "api.late: Expected `float`"),
        (b'{"api": {"late_calls": 0}}', "api.late_calls"),
        (b'{"api": {"calls_per_minute": 0}}', "api.calls_per_minute"),
        (b'{"api": {"latency": [2, 1]}}', "latency: the shortest first"),
        (b'{"api": {"faults": {"flood": 1}}}', "faults: flood is not a fault; known are cut, hang"),
        (b'{"api": {"faults": {"500": 0.6, "hang": 0.5}}}', "faults: the shares add up"),
        (b'{"webhooks": {"others": 1}}', "webhooks.others: Expected `float` < 1.0"),
        (b'{"webhooks": {"rate": 0}}', "webhooks.rate"),
        (b'{"webhooks": {"on": "yes"}}', "webhooks.on: Expected `bool`"),
    ],
)
def test_an_impossible_change(patch: bytes, fault: str) -> None:
    """What cannot be is refused with its place and what would do."""
    with pytest.raises(WrongSwitch) as caught:
        changed(Switches(), patch)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("500", 500, {"invoice": None, "error": {"code": 500, "message": "An error has occurred."}}),
        ("602", 200, {"invoice": None, "error": {"code": 602, "message": "User does not have access."}}),
        ("602/602", 602, {"invoice": None, "error": {"code": 602, "message": "User does not have access."}}),
        ("AA102", 200, {"invoice": None, "error": {"code": "AA102", "message": "An error has occurred."}}),
        ("438/200/text", 200, {"invoice": None, "error": {"code": "438", "message": "cannot access."}}),
        ("502/200/Error", 200, {"Error": {"StatusCode": 502, "Message": "Bad gateway."}}),
        ("400/400/bare", 400, {"code": 400, "message": "The request is invalid."}),
        ("403/403/StatusCode", 403, {"StatusCode": 403, "Message": "Forbidden.", "InternalMessage": None}),
        ("401/401/Message", 401, {"Message": "Authorization has been denied for this request."}),
    ],
)
def test_refusals(name: str, status: int, body: dict[str, Any]) -> None:
    """A refusal's name says its code, its status where that is another, and its shape."""
    found = refusal(name)
    assert (found.status, json.loads(found.body)) == (status, body)


@pytest.mark.parametrize(
    "name", ["", "5", "5000", "500/", "500/99", "500/200/shout", "hangs", "500/200/error/", "500\n"]
)
def test_no_refusal(name: str) -> None:
    """Any other name is none."""
    with pytest.raises(ValueError, match="no refusal"):
        refusal(name)
    with pytest.raises(WrongSwitch):
        changed(Switches(), json.dumps({"api": {"faults": {name: 1}}}).encode())


def test_every_shape_says_its_text() -> None:
    """Whatever the shape, the text is there."""
    assert all(b"some words" in refusal(f"418/200/{shape}", text="some words").body for shape in SHAPES)


@pytest.mark.parametrize(
    ("speed", "limit", "per_second"),
    [(1.0, "60;w=60;b=60", 1), (60.0, "60;w=1;b=60", 60), (10.0, "60;w=6;b=60", 10), (7.0, "63;w=9;b=60", 7)],
)
def test_the_quota_at_a_speed(speed: float, limit: str, per_second: int) -> None:
    """At a speed the bucket is as large and fills so many times as fast; the headers say so in whole real seconds."""
    bucket = Bucket(calls_per_minute=60, speed=speed, now=0.0)
    assert all(bucket.take(0.0, calls_per_minute=60) for _ in range(60))
    assert not bucket.take(0.0, calls_per_minute=60)
    headers = bucket.headers()
    assert headers["RateLimit-Limit"] == headers["Organization-RateLimit-Limit"] == limit
    assert headers["RateLimit-Reset"] == str(-(-60 // per_second))
    assert bucket.retry_after() == "1"
    assert sum(bucket.take(1.0, calls_per_minute=60) for _ in range(100)) == per_second


@pytest.mark.parametrize(("others", "calls"), [(0.0, 60), (20.0, 40), (60.0, 0), (90.0, 0)])
def test_others_of_the_organisation_spend_too(others: float, calls: int) -> None:
    """What others spend is missing: only the rest of a minute's calls is there for us."""
    bucket = Bucket(calls_per_minute=60, speed=1.0, now=0.0)
    while bucket.take(0.0, calls_per_minute=60, other_calls=others):
        pass
    assert sum(bucket.take(60.0, calls_per_minute=60, other_calls=others) for _ in range(100)) == calls
    assert int(bucket.retry_after()) >= 1


def test_the_board_shows_no_key() -> None:
    """It shows seed, speed, switches and counters, and of the keys only their number."""
    board = Board(keys=[KEY, "second"], seed=7, speed=60.0)
    shown = json.dumps(board.shown())
    assert KEY not in shown
    assert json.loads(shown)["keys"] == 2
    assert json.loads(shown)["counters"]["webhooks"]["answer_milliseconds"] == {"p50": None, "p99": None, "max": None}


@pytest.mark.parametrize("keys", [[], [""], [KEY, ""]])
def test_keys_that_cannot_be(keys: list[str]) -> None:
    """Somebody must be let in, and not nobody in particular."""
    with pytest.raises(WrongSwitch, match="keys"):
        Board(keys=keys)


def test_a_change_that_cannot_be_changes_nothing() -> None:
    """The board stays as it is."""
    board = Board(keys=[KEY])
    with pytest.raises(WrongSwitch):
        board.change(b'{"api": {"late": 0.5}, "webhooks": {"rate": -1}}')
    assert board.switches == Switches()


def test_quantiles() -> None:
    """Of a hundred answers of 1 to 100 ms, half took up to 50, and the longest 100; shown in milliseconds."""
    latencies = Latencies()
    for milliseconds in range(100, 0, -1):
        latencies.add(milliseconds / 1000)
    found = latencies.quantiles()
    assert (found.p50, found.p99, found.max) == (50.0, 99.0, 100.0)
