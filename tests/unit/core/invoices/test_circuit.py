from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.invoices.circuit import (
    FAILURES,
    FIRST_PROBE_SECONDS,
    MAX_PROBE_SECONDS,
    RECENT_SECONDS,
    REMEMBERED,
    Blame,
    Circuit,
)

NOW = 1000.0
RANDOM = "random"


def opened(invoices: str = "ab") -> Circuit:
    """A circuit that two 401 have just opened."""
    circuit = Circuit()
    for invoice_id in invoices:
        circuit.failed(invoice_id, now=NOW, refused=True)
    assert circuit.is_open
    return circuit


def probed(circuit: Circuit, count: int) -> list[str]:
    """Which invoices so many probes ask for, each of which fails."""
    asked = []
    for _ in range(count):
        asked.append(circuit.probe_key(random_id=RANDOM))
        circuit.probe_failed(asked[-1], now=NOW)
    return asked


@pytest.mark.parametrize(
    ("invoices", "is_open"),
    [
        pytest.param("", False, id="nothing yet"),
        pytest.param("abcd", False, id="four failures"),
        pytest.param("aaaab", True, id="five over two invoices"),
        pytest.param("abcde", True, id="five over five invoices"),
        pytest.param("a" * 50, False, id="one sick invoice"),
        pytest.param("a" * 50 + "b", True, id="one sick invoice and another"),
    ],
)
def test_opens_on_failures_in_doubt(invoices: str, is_open: bool) -> None:  # noqa: FBT001  # a table's column
    """Five failures of at least two invoices open the circuit where nothing was answered; fewer do not."""
    circuit = Circuit()
    blames = [circuit.failed(invoice_id, now=NOW) for invoice_id in invoices]
    assert circuit.is_open is is_open
    assert circuit.failures == len(invoices)
    assert set(blames[:-1]) <= {Blame.UNKNOWN}
    assert not blames or blames[-1] is (Blame.API if is_open else Blame.UNKNOWN)


@pytest.mark.parametrize(
    ("invoices", "is_open"), [("a", False), ("aaaaaaa", False), ("ab", True), ("aab", True)], ids=str
)
def test_opens_where_the_key_is_refused_for_two(invoices: str, is_open: bool) -> None:  # noqa: FBT001  # a column
    """A 401 for one invoice followed by a 401 for another opens the circuit; for one invoice alone it is in doubt."""
    circuit = Circuit()
    for invoice_id in invoices:
        circuit.failed(invoice_id, now=NOW, refused=True)
    assert circuit.is_open is is_open


def test_a_401_and_another_failure_do_not_make_a_refused_key() -> None:
    """A 401 for one invoice and a 500 for another count as two failures."""
    circuit = Circuit()
    circuit.failed("a", now=NOW, refused=True)
    circuit.failed("b", now=NOW)
    assert not circuit.is_open


def test_a_refused_probe_shows_a_wrong_key() -> None:
    """A 401 for one invoice, and a 401 for the probe's random id: the key is refused."""
    circuit = Circuit()
    circuit.failed("a", now=NOW, refused=True)
    circuit.probe_failed(RANDOM, now=NOW, refused=True)
    assert circuit.is_open


@pytest.mark.parametrize("refused", [False, True], ids=["500", "401"])
@pytest.mark.parametrize(
    ("answered", "ago", "expected"),
    [
        ("b", 0.0, Blame.KEY),
        ("b", RECENT_SECONDS - 1, Blame.KEY),
        ("b", RECENT_SECONDS + 1, Blame.UNKNOWN),
        ("a", 0.0, Blame.UNKNOWN),
        ("A", 0.0, Blame.UNKNOWN),
    ],
)
def test_the_api_answered_for_another(answered: str, ago: float, expected: Blame, refused: bool) -> None:  # noqa: FBT001  # a column
    """A failure is the invoice's if the API answered for another within a minute, and in doubt otherwise."""
    circuit = Circuit()
    circuit.answered(answered, now=NOW - ago)
    assert circuit.failed("a", now=NOW, refused=refused) is expected


def test_five_failures_outweigh_an_answer() -> None:
    """The API may have gone down since its last answer: from the sixth failure in a row on each is in doubt."""
    circuit = Circuit()
    circuit.answered("x", now=NOW)
    blames = [circuit.failed(invoice_id, now=NOW) for invoice_id in "abcdefghij"]
    assert blames == [Blame.KEY] * FAILURES + [Blame.UNKNOWN] * (FAILURES - 1) + [Blame.API]


def test_an_answer_begins_a_new_row() -> None:
    """An answer between failures forgets those before it, their invoices too."""
    circuit = Circuit()
    for invoice_id in "abcd":
        circuit.failed(invoice_id, now=NOW)
    circuit.answered("a", now=NOW)
    assert circuit.failures == 0
    assert circuit.probe_in(NOW) == inf


def test_probes_double_to_the_bound() -> None:
    """Each probe that fails doubles the wait for the next, from one second to thirty."""
    circuit, now, waits = opened(), NOW, []
    for _ in range(8):
        waits.append(circuit.probe_in(now))
        now += waits[-1]
        assert circuit.probe_in(now) == 0.0
        circuit.probe_failed("a", now=now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, MAX_PROBE_SECONDS]


def test_the_first_probe_after_the_opening() -> None:
    """When doubts become certain the probes begin again, a second after the opening."""
    circuit = Circuit()
    circuit.failed("a", now=NOW)
    probed(circuit, 2)
    for invoice_id in "bcd":
        circuit.failed(invoice_id, now=NOW + 9)
    assert circuit.is_open
    assert circuit.probe_in(NOW + 9) == FIRST_PROBE_SECONDS


def test_what_was_in_flight_as_it_opened_shows_nothing() -> None:
    """Calls that were under way when the circuit opened, and fail after it, delay no probe and change no invoice."""
    circuit = opened()
    assert {circuit.failed(late, now=NOW) for late in "pqrstuvw"} == {Blame.API}
    assert circuit.probe_in(NOW) == 1.0
    assert circuit.probe_key(random_id=RANDOM) == "b"
    assert circuit.failures == 2


def test_probes_take_turns() -> None:
    """A failed key, a waiting key, an answered key; each kind in its turn."""
    circuit = Circuit()
    for well in "xy":
        circuit.answered(well, now=NOW - 2 * RECENT_SECONDS)
    for invoice_id in "ab":
        circuit.failed(invoice_id, now=NOW, refused=True)
    circuit.note_waiting(["a", "w", "v"])
    assert probed(circuit, 6) == ["b", "v", "y", "a", "w", "x"]


def test_a_random_id_where_none_was_answered() -> None:
    """Without an answer before, or where that invoice fails now, the API's own 418 for a random id must do."""
    circuit = Circuit()
    circuit.answered("a", now=NOW - 2 * RECENT_SECONDS)
    circuit.failed("a", now=NOW)
    assert probed(circuit, 4) == ["a", RANDOM, RANDOM, "a"]


def test_a_probe_that_says_nothing() -> None:
    """A throttled probe counts as no failure; the next probe asks for another invoice."""
    circuit = opened()
    circuit.probe_passed_over(now=NOW)
    assert circuit.failures == 2
    assert circuit.probe_in(NOW) == 2.0
    assert circuit.probe_key(random_id=RANDOM) == RANDOM


def test_probe_is_due_from_its_time_on() -> None:
    """The wait for the probe runs down to zero and stays there."""
    circuit = opened()
    assert circuit.probe_in(NOW + 0.75) == 0.25
    assert circuit.probe_in(NOW + 1.0) == 0.0
    assert circuit.probe_in(NOW + 50.0) == 0.0


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["answered", "failed", "refused", "probe"]), st.sampled_from("abcdef"), st.just(1.0)),
        max_size=60,
    )
)
def test_any_history(steps: list[tuple[str, str, float]]) -> None:
    """Whatever happened: open means a probe is due within 30 s; an answer closes; two invoices make an opening."""
    circuit, now, since = Circuit(), NOW, set[str]()
    for what, invoice_id, seconds in steps:
        now += seconds
        match what:
            case "answered":
                circuit.answered(invoice_id, now=now)
                since.clear()
            case "probe":
                circuit.probe_failed(invoice_id, now=now)
                since.add(invoice_id)
            case _:
                blame = circuit.failed(invoice_id, now=now, refused=what == "refused")
                since.add(invoice_id)
                assert (blame is Blame.API) is circuit.is_open
        assert not circuit.is_open or len(since) >= 2
        assert circuit.is_open is False or circuit.probe_in(now) <= MAX_PROBE_SECONDS
        assert what != "answered" or not (circuit.is_open or circuit.failures)


@given(invoices=st.lists(st.text(min_size=1, max_size=3), max_size=50))
def test_remembers_a_bounded_number(invoices: list[str]) -> None:
    """However many invoices were answered or wait, probes choose among the latest few."""
    circuit = Circuit()
    for at, invoice_id in enumerate(invoices):
        circuit.answered(invoice_id, now=NOW + at)
    circuit.failed("never answered", now=NOW + 2000)
    circuit.note_waiting(invoices)
    asked = set()
    for _ in range(30):
        asked.add(circuit.probe_key(random_id=RANDOM))
        circuit.probe_passed_over(now=NOW)
    latest = list(dict.fromkeys(reversed(invoices)))[:REMEMBERED]
    assert asked <= {"never answered", RANDOM, *latest, *invoices[:REMEMBERED]}


def test_a_hand_over_of_an_open_circuit() -> None:
    """The next holder continues the same probes at the same times, by another clock; a closed circuit has nothing."""
    first, there = Circuit(), NOW - 1e6
    first.answered("well", now=NOW)
    assert first.hand_over(NOW) is None
    for n in range(12):
        first.failed(f"i-{n % 3}", now=NOW + 100)
    first.note_waiting(["w-1"])
    first.probe_failed("i-0", now=NOW + 101)
    opened, second = first.hand_over(NOW + 102), Circuit()
    assert opened is not None
    second.take_over(opened, now=there)
    assert (second.is_open, second.failures) == (True, first.failures)
    assert second.probe_in(there) == first.probe_in(NOW + 102)
    for now, at in ((NOW + 103, there + 1), (NOW + 120, there + 18), (NOW + 160, there + 58)):
        asked = first.probe_key(random_id="random")
        assert second.probe_key(random_id="random") == asked
        first.probe_failed(asked, now=now)
        second.probe_failed(asked, now=at)
        assert second.probe_in(at) == pytest.approx(first.probe_in(now))
    second.take_over(None, now=there)
    assert (second.is_open, second.failures) == (False, 0)
