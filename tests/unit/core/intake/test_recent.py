from tests.builders import received
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.intake.recent import Recent


def event(number: int, *, size: int = 1) -> Received:
    """The body holds nothing but its size."""
    return received(body=b"x" * size, receipt_id=f"r-{number}", received_at=f"t-{number}")


def ids(recent: Recent) -> list[str]:
    """What it holds; then it holds nothing."""
    return [event.receipt_id for event in recent.take()]


def test_a_good_look_vouches_for_what_was_before_it_began() -> None:
    """What was confirmed while the look was under way stays, what was before goes."""
    recent = Recent()
    recent.add(event(1))
    recent.look_begins()
    recent.add(event(2))
    recent.look_was_good()
    assert ids(recent) == ["r-2"]
    assert ids(recent) == []


def test_a_look_without_an_answer_vouches_for_nothing() -> None:
    """What was confirmed since the last good look stays, whatever looks were begun."""
    recent = Recent()
    recent.add(event(1))
    recent.look_begins()
    recent.look_begins()
    recent.add(event(2))
    assert ids(recent) == ["r-1", "r-2"]
    recent.look_was_good()
    assert ids(recent) == []


def test_it_is_bounded_and_shows_what_it_forgot() -> None:
    """Above the bound the oldest go, and the time of the newest of those is kept, until a good check or a `take`."""
    recent = Recent(max_bytes=10_000)
    for number in range(5):
        recent.add(event(number, size=4_000))
        if number == 1:
            recent.look_begins()
    assert recent.forgotten_at == "t-2"
    recent.look_was_good()
    assert recent.forgotten_at == ""
    assert ids(recent) == ["r-3", "r-4"]
    recent.add(event(9, size=20_000))
    assert (recent.forgotten_at, ids(recent), recent.forgotten_at) == ("t-9", [], "")
