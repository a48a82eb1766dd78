"""The page that `status` shows, as text."""

from typing import Any

import msgspec
import pytest
from rich.console import Console

from zenoti_ingest.operations.status_view import render
from zenoti_schemas.state import DaemonState, SpoolState
from zenoti_schemas.status import Alarm, Backlog, Depth, SourceStatus, Status

DAEMON = DaemonState(daemon="intake", instance="host-7", version="1", started_at="", at="", ready=True, admin_port=9090)
SOURCE = SourceStatus(
    seconds_since_last_event=200.0,
    circuit="open",
    failures=5,
    last_failure="code 503",
    calls_saved=0.5,
    calls_in_flight=2,
    backlog=Backlog(events=12_345, invoices=7, calls_at_most=12_000, calls_per_minute=60, minutes_at_most=200),
)
FOUND = Status(
    at="2031-05-06T17:08:10.000001Z",
    version="0.1.0",
    alarms=[Alarm("wrong", "the circuit [red]is open"), Alarm("look", "letters")],
    queues={"zi.raw.main": Depth(1200, 1), "zi.dead": Depth(3, 0), "theirs": Depth(None, None)},
    daemons=[DAEMON, msgspec.structs.replace(DAEMON, instance="host-8", ready=False, detail="broker: gone")],
    sources={"main": SOURCE},
    dead_letters={"malformed": 3},
    dead_letters_total=3,
    unrouted=0,
)


def shown(found: Status | None, *, width: int = 150, **how: Any) -> str:
    """The page as it would be printed, without colours."""
    console = Console(width=width, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(render(found, prefix="zi", **how))
    return captured.get()


def test_what_is_wrong_is_first() -> None:
    """Alarms stand above all tables, nothing in them is taken for markup; then sources, queues, daemons, letters."""
    text = shown(FOUND)
    order = ["✗ the circuit [red]is open", "! letters", "12,345", "3 min ago", "3.3 h", "1,200", "missing", "host-8"]
    places = [text.index(word) for word in order[:2]] + [text.index("source")]
    assert places == sorted(places)
    assert all(word in text for word in [*order, "broker: gone", "dead letters: 3  malformed 3"])
    assert "zi.raw.main" not in text, "the prefix stands in the heading alone"


def test_all_is_well() -> None:
    """Without alarms the page says so; what nobody has reported is a dash."""
    unknown = SourceStatus(
        seconds_since_last_event=None,
        circuit=None,
        failures=0,
        last_failure="",
        calls_saved=None,
        calls_in_flight=0,
        backlog=Backlog(events=0, invoices=0, calls_at_most=0, calls_per_minute=60, minutes_at_most=0),
    )
    changes: dict[str, Any] = {"alarms": [], "sources": {"main": unknown}, "dead_letters": {}, "dead_letters_total": 0}
    text = shown(msgspec.structs.replace(FOUND, **changes))
    assert "✓ all is well" in text
    assert "no dead letters" in text
    assert "None" not in text


def test_what_has_changed_since_the_look_before() -> None:
    """Beside a depth stands by how much it has changed; not where it has not, or was not there."""
    before = msgspec.structs.replace(FOUND, queues={"zi.raw.main": Depth(1000, 1), "zi.dead": Depth(4, 0)})
    text = shown(FOUND, before=before)
    assert "+200" in text
    assert "-1" in text
    assert "+" not in shown(FOUND, before=FOUND)


def test_a_broker_that_is_away() -> None:
    """It is reported, whether anything was seen before or not; what was seen is marked old, without its alarms."""
    assert "the broker cannot be asked: gone" in shown(None, away="gone")
    text = shown(FOUND, away="gone")
    assert "what follows is old" in text
    assert "1,200" in text
    assert "the circuit" not in text


def test_too_many_letters_to_read() -> None:
    """Where the letters were only counted, the page says so and how to see them."""
    text = shown(msgspec.structs.replace(FOUND, dead_letters={}, dead_letters_total=100_000))
    assert "dead letters: 100,000  too many to read" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0 s ago"), (119, "119 s ago"), (7199, "120 min ago"), (86_400, "24.0 h"), (2e5, "2.3 d")],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    """A length of time has the usual unit."""
    source = msgspec.structs.replace(SOURCE, seconds_since_last_event=seconds)
    assert words in shown(msgspec.structs.replace(FOUND, sources={"main": source}))


def test_eighty_columns_are_enough() -> None:
    """Names, numbers and instances stand whole on a narrow terminal; what is long goes on in the next line."""
    long = msgspec.structs.replace(DAEMON, instance="ingest-worker-7d9f8b-x2k4q-18734", ready=False, detail="x " * 60)
    text = shown(msgspec.structs.replace(FOUND, daemons=[long]), width=80)
    assert "…" not in text
    assert all(word in text for word in ("invoices", "12,345", "≤ 3.3 h", "consumers"))
    assert max(len(line) for line in text.splitlines()) <= 80


def test_queues_stand_in_the_order_of_the_way() -> None:
    """From the door to the end; empty steps of the ladder and the daemons' own stream are left out."""
    names = ("zi.dead", "zi.state", "zi.out.crm", "zi.retry.5s", "zi.retry.30s", "zi.enrich.main.0", "zi.raw.main")
    queues = {name: Depth(0 if name == "zi.retry.5s" else 1, 1) for name in names}
    text = shown(msgspec.structs.replace(FOUND, queues=queues))
    rows = [line.split()[0] for line in text[text.index(" queue ") :].splitlines()[2:] if line.strip()][:5]
    assert rows == ["raw.main", "enrich.main.0", "retry.30s", "out.crm", "dead"]


def test_what_the_dead_letter_worker_has() -> None:
    """Events on their way back from a retry queue are shown with it, though it is empty; not those of other queues."""
    queues = {"zi.retry.5s": Depth(0, 0, 1234), "zi.retry.30s": Depth(0, 0, 0), "zi.raw.main": Depth(1, 1, 77)}
    text = shown(msgspec.structs.replace(FOUND, queues=queues))
    assert "retry.5s" in text
    assert "in transit (dead-letter worker)" in text
    assert "1,234" in text
    assert "retry.30s" not in text
    assert "76" not in text
    assert "transit" not in shown(FOUND)


def test_what_cannot_be_seen_is_said() -> None:
    """A line below the queues says what the broker does not show, and why."""
    text = shown(msgspec.structs.replace(FOUND, unseen="this cannot be seen"))
    assert text.index("this cannot be seen") > text.index("consumers")


def test_what_is_not_read_and_what_waits_on_disk_is_shown() -> None:
    """Too many letters to read have no reasons, and the page says so; a spool has its number, age and size."""
    spool = SpoolState(events=42, bytes=3 * 2**20, max_bytes=2**30, oldest_seconds=300)
    text = shown(msgspec.structs.replace(FOUND, dead_letters={}, dead_letters_total=10_001, spool=spool))
    assert "dead letters: 10,001  too many to read at each look (above 10,000)" in text
    assert "spool: 42 events, the oldest 5 min old; 3.0 of 1,024 MiB on disk" in text
