import pytest

from worker.core.circuit import FAILURES, FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS, Circuit

NOW = 1000.0


def opened() -> Circuit:
    """A circuit that has just opened."""
    circuit = Circuit()
    circuit.failed("a", now=NOW, at_once=True)
    return circuit


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
def test_opens_on_failures_in_a_row(invoices: str, is_open: bool) -> None:  # noqa: FBT001  # a table's column
    """Five failures in a row over at least two invoices open the circuit; fewer do not."""
    circuit = Circuit()
    for invoice_id in invoices:
        circuit.failed(invoice_id, now=NOW)
    assert circuit.is_open is is_open
    assert circuit.failures == len(invoices)


def test_opens_at_once_where_the_key_is_refused() -> None:
    """One refusal of our key is enough, and its invoice is the one to probe with."""
    circuit = opened()
    assert circuit.is_open
    assert circuit.probe_invoice == "a"
    assert circuit.probe_in(NOW) == FIRST_PROBE_SECONDS == 1.0


def test_success_begins_a_new_row() -> None:
    """A success between failures forgets those before it, their invoices too."""
    circuit = Circuit()
    for invoice_id in "abcd":
        circuit.failed(invoice_id, now=NOW)
    circuit.succeeded()
    for _ in range(FAILURES):
        circuit.failed("e", now=NOW)
    assert not circuit.is_open
    circuit.failed("f", now=NOW)
    assert circuit.is_open


def test_probes_double_to_the_bound() -> None:
    """Each probe that fails doubles the wait for the next, from one second to thirty."""
    circuit, now, waits = opened(), NOW, []
    for _ in range(8):
        waits.append(circuit.probe_in(now))
        now += waits[-1]
        assert circuit.probe_in(now) == 0.0
        circuit.probe_failed(now=now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, MAX_PROBE_SECONDS]


def test_what_was_in_flight_as_it_opened_tells_nothing() -> None:
    """Calls that were under way when the circuit opened, and fail after it, delay no probe and change no invoice."""
    circuit = opened()
    remembered = circuit.probe_invoice
    for late in "pqrstuvw":
        circuit.failed(late, now=NOW)
    assert circuit.probe_in(NOW) == 1.0
    assert circuit.probe_invoice == remembered


def test_a_sick_invoice_does_not_keep_it_open() -> None:
    """Each probe asks for another of the invoices that failed: one that is sick by itself must not hold the others."""
    circuit, asked = Circuit(), []
    for invoice_id in "abcda":
        circuit.failed(invoice_id, now=NOW)
    for _ in range(4):
        asked.append(circuit.probe_invoice)
        circuit.probe_failed(now=NOW)
    assert sorted(asked) == ["a", "b", "c", "d"]


def test_probe_is_due_from_its_time_on() -> None:
    """The wait for the probe runs down to zero and stays there."""
    circuit = opened()
    assert circuit.probe_in(NOW + 0.75) == 0.25
    assert circuit.probe_in(NOW + 1.0) == 0.0
    assert circuit.probe_in(NOW + 50.0) == 0.0


def test_success_closes_and_forgets_the_doubling() -> None:
    """After a success the circuit is closed, and when it opens again probes begin at one second."""
    circuit = opened()
    circuit.failed("a", now=NOW)
    circuit.succeeded()
    assert not circuit.is_open
    assert circuit.failures == 0
    assert circuit.probe_in(NOW) == 0.0
    circuit.failed("b", now=NOW, at_once=True)
    assert circuit.probe_in(NOW) == FIRST_PROBE_SECONDS
