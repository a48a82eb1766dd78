from pathlib import Path

import pytest

from tests.bench.closing_time.quota_use import Call, Waited, calls_of, idle, one_call_an_event, reference
from tests.bench.closing_time.report import figures, table
from tests.bench.closing_time.run import Trace, closing_time

# A third of the trace with a third of the quota: as many events a call as in the whole, in eighteen seconds.
SMALL = Trace(speed=60, processes=2, invoices=100, calls_per_minute=20)
# A pause of the machine is sixty times as long here: while a call takes a tenth of a second six seconds go by, in
# which an event comes late for its call. The whole run, at a lower speed, is held to 1.1 (docs/quota.md).
MOST_CALLS = 1.25
PACE = 60.5 / 60  # seconds between two calls at 60 a minute, with the margin of core/invoices/quota.py


@pytest.mark.xdist_group("heavy")  # one of them at a time
@pytest.mark.timeout(240)
async def test_closing_time(broker_url: str, tmp_path: Path) -> None:
    """All salons close, the active consumer dies: every event comes out, fresh, by hardly more calls than needed."""
    found = figures(await closing_time(broker_url, tmp_path, SMALL), SMALL)
    assert found.throttled == 0, table(found)
    assert found.stale == 0, table(found)
    assert found.killed_was_active, table(found)
    assert found.ratio <= MOST_CALLS, table(found)
    assert found.reference.calls < found.obvious.calls, "nothing to coalesce: the run shows nothing"


def test_the_reference_takes_all_that_wait_for_an_invoice() -> None:
    """A token goes to the invoice whose event has waited longest, and serves all that wait for it by then."""
    received = [(0.0, "a"), (0.1, "b"), (0.2, "c"), (0.3, "b"), (5.0, "b")]
    served = reference(received, calls_per_minute=60)
    assert [(event.received_at, event.invoice_id) for event in served] == [
        (0.0, "a"),
        (0.1, "b"),
        (0.3, "b"),
        (0.2, "c"),
        (5.0, "b"),
    ]
    assert [event.served_at for event in served] == pytest.approx([0.0, PACE, PACE, 2 * PACE, 5.0])
    assert (calls_of(served), calls_of(one_call_an_event(received, calls_per_minute=60))) == (4, 5)


def test_the_reference_saves_up_ten() -> None:
    """After a long pause ten calls go at once; those after them share out what is left of the minute."""
    served = reference([(0.0, "x"), *((100.0, f"i-{n:02}") for n in range(12))], calls_per_minute=60)
    later = 60.5 / 50
    assert [event.served_at for event in served] == pytest.approx([0.0, *[100.0] * 10, 100 + later, 100 + 2 * later])


def test_an_idle_token_is_found() -> None:
    """Idle is a token with an event to spend it on: received, and its invoice not in flight."""
    calls = [Call(at, at + 0.1, "a", 0, 200) for at in (0.0, 1.0)]
    pace = 60.5 / 150
    assert idle(calls, [Waited(0.0, "a", 1.0)], calls_per_minute=60) == []
    ((since, seconds),) = idle(calls, [Waited(0.0, "b", 2.0)], calls_per_minute=150)
    assert (since, seconds) == pytest.approx((pace, 1 - pace))
    assert idle(calls, [Waited(0.75, "b", 1.0)], calls_per_minute=150) == [(0.75, 0.25)]
    assert idle(calls, [Waited(0.02, "a", 1.0)], calls_per_minute=1200) == [(0.1, 0.9)]
    assert idle(calls, [Waited(1.2, "b", 2.0)], calls_per_minute=150) == []


def test_what_the_rules_forbid_is_not_idle() -> None:
    """After a burst the pace is reduced, and nothing is saved up while an event waits: that is no idle token."""
    burst = [Call(60.0, 60.1, f"i-{n}", 0, 200) for n in range(10)]
    calls = [Call(0.0, 0.1, "x", 0, 200), *burst, Call(61.21, 61.3, "y", 0, 200)]
    assert idle(calls, [Waited(60.0, "y", 61.21)], calls_per_minute=60) == []
    late = [*calls, *(Call(at, at + 0.1, "z", 0, 200) for at in (70.0, 71.21))]
    events = [Waited(60.0, "y", 61.21), *(Waited(61.0, "w", at) for at in (70.0, 71.21))]
    ((since, seconds),) = idle(late, events, calls_per_minute=60)
    assert (since, seconds) == pytest.approx((62.42, 7.58))
