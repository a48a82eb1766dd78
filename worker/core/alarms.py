"""What an operator should see first: from what `status` has found, the things that are wrong, then those to look at."""

from collections.abc import Iterator, Mapping, Sequence

from schemas.state import DaemonState
from schemas.status import Alarm, Depth, SourceStatus
from worker.core.differences import role
from worker.core.topology import Names

LONG_BACKLOG_MINUTES = 60


def alarms(
    *,
    names: Names,
    queues: Mapping[str, Depth],
    daemons: Sequence[DaemonState],
    sources: Mapping[str, SourceStatus],
    dead_letters: int,
) -> list[Alarm]:
    """What is wrong first; empty: all is well."""
    wrong = [
        *_missing(queues),
        *_daemons(daemons),
        *_unread(queues, names, daemons),
        *(
            f"circuit of {name} is open after {source.failures} failed call(s): the API is asked by probes alone"
            for name, source in sources.items()
            if source.circuit == "open"
        ),
    ]
    look = [*_waiting(queues, names), *_backlogs(sources)]
    if dead_letters:
        look.insert(0, f"{dead_letters} dead letter(s): `zenoti-ingest dead list`")
    return [*(Alarm("wrong", text) for text in wrong), *(Alarm("look", text) for text in look)]


def _missing(queues: Mapping[str, Depth]) -> Iterator[str]:
    missing = [name for name, depth in queues.items() if depth.ready is None]
    if missing:
        yield f"missing: {', '.join(missing)}: `zenoti-ingest topology plan`"


def _daemons(daemons: Sequence[DaemonState]) -> Iterator[str]:
    heard = {daemon.daemon for daemon in daemons}
    for name in ("intake", "consume"):
        if name not in heard:
            yield f"no {name} has said anything lately: is one running?"
    for daemon in daemons:
        if not daemon.ready:
            yield f"{daemon.daemon} {daemon.instance} is not ready: {daemon.detail}"


def _unread(queues: Mapping[str, Depth], names: Names, daemons: Sequence[DaemonState]) -> Iterator[str]:
    """Queues of ours without a consumer; without any consumer process that is told already."""
    if any(daemon.daemon == "consume" for daemon in daemons):
        for name, depth in queues.items():
            if role(name, names) in ("raw", "lane") and depth.consumers == 0:
                yield f"nobody reads {name}, {depth.ready} wait: a consumer with its stage must run"


def _waiting(queues: Mapping[str, Depth], names: Names) -> Iterator[str]:
    unrouted = queues.get(names.unrouted)
    if unrouted is not None and unrouted.ready:
        yield f"{unrouted.ready} event(s) that no downstream wanted, in {names.unrouted}"
    for name, depth in queues.items():
        if role(name, names) in ("out", "") and depth.ready and not depth.consumers:
            yield f"{depth.ready} event(s) wait in {name}, and nobody reads it"


def _backlogs(sources: Mapping[str, SourceStatus]) -> Iterator[str]:
    for name, source in sources.items():
        if source.backlog.minutes_at_most >= LONG_BACKLOG_MINUTES:
            calls, pace = source.backlog.calls_at_most, source.backlog.calls_per_minute
            yield f"{name}: up to {calls} calls wait, {calls / pace / 60:.1f} h at {pace:g} a minute"
