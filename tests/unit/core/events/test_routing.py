import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zenoti_ingest.core.events.routing import (
    MAX_ROUTING_KEY_BYTES,
    any_matches,
    binding_keys,
    matches,
    names_type,
    normal_type,
    routing_key,
    wants_enrichment,
)

words = st.sampled_from(["a", "b", "ab", "a-b", ""])
keys = st.lists(words, min_size=1, max_size=5).map(".".join).filter(bool)
patterns = st.lists(words | st.sampled_from(["*", "#"]), min_size=1, max_size=5).map(".".join).filter(bool)


def routes(pattern: list[str], key: list[str]) -> bool:
    """AMQP 0-9-1 topic matching, word by word, as in the specification."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return routes(pattern[1:], key) or (bool(key) and routes(pattern, key[1:]))
    return bool(key) and pattern[0] in ("*", key[0]) and routes(pattern[1:], key[1:])


@settings(max_examples=200, deadline=None)
@given(pattern=patterns, key=keys)
@example(pattern="#.#", key="a")
@example(pattern="#.a", key="a")
@example(pattern="a.#", key="a")
@example(pattern="a.#.b", key="a.b")
@example(pattern="#.*.#", key="a")
@example(pattern="*.#.*", key="a")
@example(pattern="#.a.#.a.#", key="a.b.a")
@example(pattern="a.#.#.#.b", key="a..b")
@example(pattern="a-b", key="axb")
def test_matches_as_amqp_does(pattern: str, key: str) -> None:
    """A pattern matches exactly the keys that a topic exchange would route by it."""
    assert matches(pattern, key) is routes(pattern.split("."), key.split("."))


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("#", "invoice.closed", True),
        ("#.#", "invoice", True),
        ("*", "invoice.closed", False),
        ("*.*", "invoice.closed", True),
        ("appointment.*", "appointment.started", True),
        ("appointment.*", "appointment", False),
        ("appointment.*", "appointment.a.b", False),
        ("guest.#", "guest", True),
        ("guest.#", "guest.membership.created", True),
        ("guest.#", "guests", False),
        ("#.deleted", "deleted", True),
        ("Invoice.Closed", "invoice.closed", True),
        ("invoice.close", "invoice.closed", False),
        ("invoice.c*", "invoice.closed", False),
        ("i.voice", "invoice", False),
    ],
    ids=repr,
)
def test_matches(pattern: str, key: str, expected: bool) -> None:  # noqa: FBT001  # a table's column
    """One star is one word, a hash is none or more, everything else is itself in any letter case."""
    assert matches(pattern, key) is expected


@settings(max_examples=100, deadline=None)
@given(event_type=st.text(max_size=300))
@example(event_type="\u0130" * 300)
@example(event_type="A" * 1000)
@example(event_type="\u00df\u1e9e\ufb03")
def test_normal_type_can_stand_in_a_routing_key(event_type: str) -> None:
    """Any text becomes 1 to 200 bytes of `[a-z0-9._-]`, and stays what it is from then on."""
    found = normal_type(event_type)
    assert re.fullmatch(r"[a-z0-9._-]{1,200}", found)
    assert normal_type(found) == found


@settings(max_examples=50, deadline=None)
@given(source=st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True), event_type=st.text(max_size=300))
def test_routing_key_is_bounded(source: str, event_type: str) -> None:
    """A routing key begins with the source's word and has at most 200 bytes."""
    key = routing_key(source, normal_type(event_type))
    assert key.startswith(f"{source}.")
    assert len(key.encode()) <= MAX_ROUTING_KEY_BYTES == 200


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [
        ("Invoice.Closed", "invoice.closed"),
        ("  Guest.OptedIn ", "guest.optedin"),
        ("Guest Pass/redeemed", "guest-pass-redeemed"),
        ("AppointmentGroup_V2-x", "appointmentgroup_v2-x"),
        ("a*#b", "a--b"),
        ("", "unknown"),
        (" \t", "unknown"),
    ],
    ids=repr,
)
def test_normal_type(given_type: str, expected: str) -> None:
    """Lower case, dashes for what is outside the charset, `unknown` for nothing."""
    assert normal_type(given_type) == expected


def test_any_matches() -> None:
    """One pattern that matches is enough, and none is none."""
    assert any_matches(("guest.#", "invoice.*"), "invoice.closed")
    assert not any_matches(("guest.#", "invoice"), "invoice.closed")
    assert not any_matches((), "invoice.closed")


@pytest.mark.parametrize(
    ("patterns", "event_type", "expected"),
    [
        (("#",), "invoice.closed", True),
        (("guest.#",), "invoice.closed", False),
        (("#",), "appointmentgroup.delete", False),
        (("#",), "guest.deleted", False),
        (("appointmentgroup.*", "guest.#"), "appointmentgroup.delete", False),
        (("#", "*.delete"), "appointmentgroup.delete", True),
        (("*.delete",), "guest.deleted", False),
        (("#.deleted",), "class.booking.deleted", True),
        (("AppointmentGroup.Delete",), "appointmentgroup.delete", True),
        (("guest.deleted",), "employee.deleted", False),
        (("#",), "guest.undeleted", True),
        ((), "invoice.closed", False),
    ],
    ids=repr,
)
def test_wants_enrichment(patterns: tuple[str, ...], event_type: str, expected: bool) -> None:  # noqa: FBT001  # a table's column
    """Any type that a pattern matches is worth a call, a deletion only where a pattern names deletions."""
    assert wants_enrichment(patterns, event_type) is expected


def test_binding_keys() -> None:
    """A downstream is bound for every source with every event, in lower case."""
    found = binding_keys(sources=("main", "*"), events=iter(["Invoice.Closed", "guest.#"]))
    assert found == ("main.invoice.closed", "main.guest.#", "*.invoice.closed", "*.guest.#")


@pytest.mark.timeout(5)
def test_a_strangers_key_costs_no_more_than_its_length() -> None:
    """Many `#` in an operator's pattern and many words in a stranger's key are no trouble: nothing is tried twice."""
    assert not matches("#.a." * 5 + "b", ".".join("a" * 97))
    assert matches("#.a." * 5 + "b", ".".join("a" * 97) + ".b")


def test_an_operators_word_for_a_type() -> None:
    """A type is meant in any spelling; with a star or a hash it is a pattern."""
    assert names_type("Invoice.Closed", "invoice.closed")
    assert names_type(" guest merge ", "guest-merge")
    assert names_type("Invoice.*", "invoice.closed")
    assert not names_type("invoice", "invoice.closed")
    assert not names_type("guest.#", "invoice.closed")
