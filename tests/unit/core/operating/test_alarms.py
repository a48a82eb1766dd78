from typing import Any

import msgspec
import pytest

from zenoti_ingest.core.operating.alarms import alarms
from zenoti_ingest.core.topology.names import Names
from zenoti_schemas.state import DaemonState, ReceiverState, SourceState, SpoolState
from zenoti_schemas.status import Backlog, Depth, SourceStatus

NAMES = Names("zenoti")
QUEUES = {
    "zenoti.raw.main": Depth(0, 1),
    "zenoti.enrich.main.0": Depth(0, 2),
    "zenoti.dead": Depth(0, 0),
    "zenoti.unrouted": Depth(0, 0),
    "zenoti.out.crm": Depth(5, 1),
    "theirs": Depth(0, 0),
}
SOURCE = SourceStatus(
    seconds_since_last_event=1.0,
    circuit="closed",
    failures=0,
    last_failure="",
    calls_saved=3.0,
    calls_in_flight=0,
    backlog=Backlog(events=59, invoices=0, calls_at_most=59, calls_per_minute=1, minutes_at_most=59),
)


def daemon(name: str, *, ready: bool = True, detail: str = "") -> DaemonState:
    """A daemon's last word."""
    return DaemonState(
        daemon=name, instance=f"host-{name}", version="1", started_at="", at="", ready=ready, detail=detail
    )


def raised(**other: Any) -> list[tuple[str, str]]:
    """The alarms of an installation that is well but for what is given."""
    well: dict[str, Any] = {
        "names": NAMES,
        "queues": QUEUES,
        "daemons": [daemon("intake"), daemon("consume")],
        "sources": {"main": SOURCE},
        "receivers": {"crm": "zenoti.out.crm", "other": "theirs"},
        "dead_letters": 0,
    }
    return [(alarm.level, alarm.text) for alarm in alarms(**(well | other))]


def test_all_is_well() -> None:
    """Work that is under way, a receiver that reads, an empty queue that nobody reads: no alarm."""
    assert raised() == []
    assert raised(queues={}) == []


@pytest.mark.parametrize(
    ("queue", "depth", "level", "words"),
    [
        ("zenoti.raw.main", Depth(None, None), "wrong", "missing: zenoti.raw.main: `zenoti-ingest topology plan`"),
        ("zenoti.raw.main", Depth(7, 0), "wrong", "nobody reads zenoti.raw.main, 7 wait"),
        ("zenoti.enrich.main.0", Depth(0, 0), "wrong", "nobody reads zenoti.enrich.main.0"),
        ("zenoti.unrouted", Depth(2, 0), "look", "2 event(s) that no downstream wanted"),
        ("zenoti.out.crm", Depth(3, 0), "look", "3 event(s) wait in zenoti.out.crm, and nobody reads it"),
        ("theirs", Depth(3, 0), "look", "3 event(s) wait in theirs"),
    ],
)
def test_a_queue(queue: str, depth: Depth, level: str, words: str) -> None:
    """A queue that is missing, or that nobody reads though it must be read, is reported."""
    ((found, text),) = raised(queues=QUEUES | {queue: depth})
    assert found == level
    assert text.startswith(words)


def test_daemons() -> None:
    """A daemon that is silent or not ready is reported; without any consumer its queues are not reported separately."""
    assert raised(daemons=[daemon("consume")]) == [("wrong", "no intake has said anything lately: is one running?")]
    unread = QUEUES | {"zenoti.raw.main": Depth(9, 0)}
    assert raised(daemons=[daemon("intake")], queues=unread) == [
        ("wrong", "no consume has said anything lately: is one running?")
    ]
    unready = [daemon("intake"), daemon("consume", ready=False, detail="topology: missing: x")]
    assert raised(daemons=unready) == [("wrong", "consume host-consume is not ready: topology: missing: x")]


def test_sources() -> None:
    """An open circuit, because of which nobody reads the lane, is reported once; so are calls of an hour or more."""
    is_open = msgspec.structs.replace(SOURCE, circuit="open", failures=5, last_failure="code 503")
    ((level, text),) = raised(sources={"main": is_open}, queues=QUEUES | {"zenoti.enrich.main.0": Depth(9, 0)})
    assert (level, text) == (
        "wrong",
        "circuit of main is open after 5 failed call(s): its events wait; the last: code 503",
    )
    long = Backlog(events=9000, invoices=0, calls_at_most=9000, calls_per_minute=60, minutes_at_most=150)
    assert raised(sources={"main": msgspec.structs.replace(SOURCE, backlog=long)}) == [
        ("look", "main: up to 9000 calls wait, 2.5 h at 60 a minute")
    ]


def test_what_is_wrong_stands_first() -> None:
    """Dead letters are to be looked at, after all that is wrong."""
    found = raised(dead_letters=3, daemons=[daemon("intake")], queues=QUEUES | {"zenoti.unrouted": Depth(1, 0)})
    assert [level for level, _ in found] == ["wrong", "look", "look"]
    assert found[1][1] == "3 dead letter(s): `zenoti-ingest dead list`"


def test_a_switch_off_is_near() -> None:
    """Five failed answers in a row are reported; refusals of strangers do not count."""
    near = msgspec.structs.replace(daemon("intake"), sources={"main": SourceState(streak=7, refused=2)})
    [(level, text)] = raised(daemons=[near, daemon("consume")])
    assert level == "wrong"
    assert text.startswith("5 answers in a row to main")
    far = msgspec.structs.replace(daemon("intake"), sources={"main": SourceState(streak=7, refused=3)})
    assert raised(daemons=[far, daemon("consume")]) == []


@pytest.mark.parametrize(
    ("events", "detail", "waiting"),
    [(3, "", "3 event(s) wait"), (0, "the disk is full", "no event waits"), (3, "x: is locked", "3 event(s) wait")],
)
def test_a_spool_in_use(events: int, detail: str, waiting: str) -> None:
    """Events on a disk, or a disk that takes none, are something to look at; an empty spool is not."""
    spool = SpoolState(events=events, bytes=0, max_bytes=1, detail=detail)
    [(level, text)] = raised(daemons=[msgspec.structs.replace(daemon("intake"), spool=spool), daemon("consume")])
    assert (level, text.startswith(f"{waiting} on the disk of host-intake")) == ("look", True)
    assert detail in text
    empty = SpoolState(events=0, bytes=0, max_bytes=1)
    assert raised(daemons=[msgspec.structs.replace(daemon("intake"), spool=empty), daemon("consume")]) == []


def consumer(**receiver: Any) -> DaemonState:
    """A consumer that says something of the receiver `crm`."""
    return msgspec.structs.replace(daemon("consume"), receivers={"crm": ReceiverState(**receiver)})


@pytest.mark.parametrize(
    ("ready", "receiver", "level", "words"),
    [
        pytest.param(
            230,
            {"refusing_since": "2031-05-06T17:08:10Z", "detail": "a queue takes no more", "in_hand": 1},
            "wrong",
            "crm takes no events since 2031-05-06T17:08:10Z; 231 event(s) wait in zenoti.wait.crm",
            id="refuses",
        ),
        pytest.param(7, {}, "look", "crm: 7 event(s) wait in zenoti.wait.crm and go out in order", id="drains"),
        pytest.param(
            7,
            {"gone_since": "2031-05-06T17:08:10Z"},
            "wrong",
            "`zenoti-ingest archive replay --since 2031-05-06T17:08:10Z --to crm`",
            id="is gone",
        ),
        pytest.param(
            0,
            {"gone_since": "2031-05-06T17:08:10Z", "back_at": "2031-05-06T17:08:20Z"},
            "look",
            "--since 2031-05-06T17:08:10Z --until 2031-05-06T17:08:20Z --to crm",
            id="was gone",
        ),
    ],
)
def test_a_receiver_that_takes_no_events(ready: int, receiver: dict[str, Any], level: str, words: str) -> None:
    """The alarm names the receiver, how many events wait and since when, or the command that sends them again."""
    queues = QUEUES | {"zenoti.wait.crm": Depth(ready, 1), "zenoti.out.crm": Depth(3, 0)}
    [(found, text)] = raised(queues=queues, daemons=[daemon("intake"), consumer(**receiver)])
    assert found == level
    assert words in text


def test_several_processes_see_one_refusal() -> None:
    """The earliest time counts, and what each has in hand waits too; there is one alarm."""
    daemons = [
        daemon("intake"),
        consumer(refusing_since="2031-05-06T17:08:12Z", in_hand=2),
        consumer(refusing_since="2031-05-06T17:08:10Z", in_hand=3),
    ]
    [(_, text)] = raised(queues=QUEUES | {"zenoti.wait.crm": Depth(5, 2)}, daemons=daemons)
    assert "since 2031-05-06T17:08:10Z; 10 event(s) wait" in text


def test_a_queue_of_somebody_else_that_refuses() -> None:
    """It is named as what it is, with where to look."""
    strange = msgspec.structs.replace(daemon("consume"), stranger_refuses=True)
    [(level, text)] = raised(daemons=[daemon("intake"), strange])
    assert level == "wrong"
    assert "bound to zenoti.events" in text


def test_events_in_the_brokers_dead_letter_worker() -> None:
    """Events that have left a retry queue and are not back yet are reported, if they can be seen."""
    [(level, text)] = raised(queues=QUEUES | {"zenoti.retry.5s": Depth(0, 0, 5)})
    assert (level, text.startswith("5 event(s) are on their way back from zenoti.retry.5s")) == ("look", True)
    assert raised(queues=QUEUES | {"zenoti.retry.5s": Depth(3, 0, 3), "zenoti.raw.main": Depth(0, 1, 5)}) == []
    assert raised(queues=QUEUES | {"zenoti.retry.5s": Depth(3, 0)}) == []


def test_clocks_that_differ() -> None:
    """A wrong clock has a single alarm, as seen by processes with a right clock, not an alarm from each of these."""
    right = msgspec.structs.replace(daemon("consume"), clocks_ahead_seconds={"host-2": -3600.4})
    wrong = {"host-consume": 3600.4, "host-intake": 3600.2}
    second = msgspec.structs.replace(daemon("consume"), instance="host-2", clocks_ahead_seconds=wrong)
    [(level, text)] = raised(daemons=[daemon("intake"), second, right])
    assert level == "look"
    assert text == "clock of consume host-2 is 3,600 s behind that of consume host-consume: check NTP on both hosts"
    [(_, text)] = raised(
        daemons=[daemon("intake"), msgspec.structs.replace(right, clocks_ahead_seconds={"host-intake": 7.0})]
    )
    assert text == "clock of intake host-intake is 7 s ahead of that of consume host-consume: check NTP on both hosts"


def test_a_lane_that_runs_ahead() -> None:
    """Times that an event from a wrong clock pushed ahead are reported, unless the clocks themselves are."""
    ahead = msgspec.structs.replace(daemon("consume"), sources={"main": SourceState(fetched_ahead_seconds=7200)})
    [(level, text)] = raised(daemons=[daemon("intake"), ahead])
    assert (level, text.startswith("fetched_at of main runs 7,200 s ahead")) == ("look", True)
    both = msgspec.structs.replace(ahead, clocks_ahead_seconds={"host-intake": 7200})
    assert len(raised(daemons=[daemon("intake"), both])) == 1
