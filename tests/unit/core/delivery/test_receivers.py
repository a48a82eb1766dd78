from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.delivery.receivers import (
    FIRST_STRANGER_SECONDS,
    KEEP_GONE_LOOKS,
    MAX_STRANGER_SECONDS,
    Gone,
    Receivers,
)

KEY = "main.invoice.closed"


def receivers() -> Receivers:
    """One for everything, one for invoices, one for guests."""
    return Receivers({"all": ("*.#",), "accounting": ("*.invoice.*",), "crm": ("*.guest.#",)})


def test_who_wants_an_event() -> None:
    """By the patterns of each; a receiver named alone gets it only if it wants it."""
    assert receivers().wanting(KEY) == ("all", "accounting")
    assert receivers().wanting(KEY, only="accounting") == ("accounting",)
    assert receivers().wanting(KEY, only="crm") == ()
    assert receivers().wanting(KEY, only="nobody") == ()


def test_one_publish_reaches_all_until_one_refuses() -> None:
    """Events that the refusing receiver wants go to each alone; all others go to all at once."""
    found = receivers()
    assert not found.must_be_apart(("all", "accounting"), now=0)
    assert found.refused("accounting", "a nack", at="t1")
    assert found.must_be_apart(("all", "accounting"), now=0)
    assert not found.must_be_apart(("all", "crm"), now=0)
    assert not found.must_be_apart((), now=0)
    assert not found.refused("accounting", "a nack", at="t2")
    assert found.refusals["accounting"].since == "t1"


def test_one_event_asks_once_nothing_waits() -> None:
    """While events wait none goes past them; then one asks at a time, and what it finds decides."""
    found = receivers()
    found.refused("crm", "a nack", at="t1")
    assert not found.takes("crm")
    found.wait_queue_is_empty("crm")
    assert [found.takes("crm"), found.takes("crm")] == [True, False]
    found.unknown("crm")
    assert found.takes("crm")
    found.refused("crm", "a nack", at="t2")
    assert not found.takes("crm")
    found.wait_queue_is_empty("crm")
    assert found.takes("crm")
    assert found.took("crm")
    assert found.takes("crm")
    assert not found.refusals
    assert not found.took("crm")


def test_a_stranger_that_refuses() -> None:
    """Each receiver is published to alone for a pause that doubles to a bound; the first may be a chance."""
    found, now, pauses = receivers(), 0.0, []
    for _ in range(9):
        found.stranger_refused(now=now)
        began = now
        while found.must_be_apart(("all",), now=now):
            now += 1
        pauses.append(now - began)
    assert pauses[0] == FIRST_STRANGER_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_STRANGER_SECONDS
    assert found.a_stranger_refuses
    found.all_took()
    found.stranger_refused(now=now)
    assert not found.must_be_apart(("all",), now=now + FIRST_STRANGER_SECONDS)


def test_a_queue_that_is_gone() -> None:
    """It is news once; it was deleted after it was last seen; it stays known for a while after it came back."""
    found = receivers()
    assert found.looked((), at="t1") == []
    assert found.looked(("crm",), at="t2") == ["crm"]
    assert found.looked(("crm",), at="t3") == []
    assert found.gone["crm"] == Gone("t1")
    found.looked((), at="t4")
    assert found.gone["crm"] == Gone("t1", "t4")
    assert found.looked(("crm",), at="t5") == ["crm"]
    assert found.gone["crm"] == Gone("t4")
    for _ in range(KEEP_GONE_LOOKS + 1):
        found.looked((), at="t6")
    assert not found.gone


@given(st.lists(st.sampled_from(["refused", "empty", "ask", "took", "unknown"]), max_size=60))
def test_nothing_overtakes_what_waits(steps: list[str]) -> None:
    """Whatever happens in which order: between a refusal and an empty wait queue no event goes straight."""
    found, waits = receivers(), False
    for step in steps:
        if step == "refused":
            found.refused("crm", "a nack", at="t")
            waits = True
        elif step == "empty":
            found.wait_queue_is_empty("crm")
            waits = False
        elif step == "took" and not waits:
            found.took("crm")
        elif step == "unknown":
            found.unknown("crm")
        elif step == "ask":
            assert not (waits and found.takes("crm"))
