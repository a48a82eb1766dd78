"""What an operator should see first in `status`: alarms about what is wrong, then about what to look at."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from zenoti_ingest.core.operating.receiver_alarms import receiver_alarms, unheard
from zenoti_ingest.core.topology.names import Names
from zenoti_schemas.state import DaemonState
from zenoti_schemas.status import Alarm, Depth, SourceStatus

LONG_BACKLOG_MINUTES = 60
STREAK = 5  # failures in a row; at twenty, Zenoti switches a webhook off


def alarms(
    *,
    names: Names,
    queues: Mapping[str, Depth],
    daemons: Sequence[DaemonState],
    sources: Mapping[str, SourceStatus],
    receivers: Mapping[str, str],
    dead_letters: int,
) -> list[Alarm]:
    """The alarms, with what is wrong first; empty: all is well. `receivers`: receiver name -> queue."""
    unheard_of = unheard(receivers, daemons)
    of_receivers = list(receiver_alarms(names=names, receivers=receivers, queues=queues, daemons=daemons))
    queues = {name: depth for name, depth in queues.items() if name not in unheard_of}
    is_open = [(name, source) for name, source in sources.items() if source.circuit == "open"]
    wrong = [
        *_missing(queues),
        *_daemons(daemons),
        *_unread(queues, names, daemons, resting={names.lane(name) for name, _ in is_open}),
        *_switch_off(daemons),
        *(
            f"circuit of {name} is open after {source.failures} failed call(s): its events wait; the last: "
            f"{source.last_failure or 'unknown'}"
            for name, source in is_open
        ),
    ]
    look = [
        *_spools(daemons),
        *_waiting(queues, names),
        *_in_transit(queues, names),
        *_backlogs(sources),
        *_clocks(daemons),
    ]
    if dead_letters:
        look.insert(0, f"{dead_letters} dead letter(s): `zenoti-ingest dead list`")
    found = [*(Alarm("wrong", text) for text in wrong), *of_receivers, *(Alarm("look", text) for text in look)]
    return sorted(found, key=lambda alarm: alarm.level != "wrong")


def in_hands(depth: Depth) -> int:
    """The number of messages that are not ready; 0 if the counts are unknown."""
    return 0 if depth.messages is None or depth.ready is None else depth.messages - depth.ready


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


def _unread(
    queues: Mapping[str, Depth], names: Names, daemons: Sequence[DaemonState], *, resting: Collection[str]
) -> Iterator[str]:
    """Our queues without a consumer, except `resting`. If no process consumes at all, another alarm reports it."""
    if any(daemon.daemon == "consume" for daemon in daemons):
        for name, depth in queues.items():
            if names.role(name) in ("raw", "lane") and depth.consumers == 0 and name not in resting:
                yield f"nobody reads {name}, {depth.ready} wait: a consumer with its stage must run"


def _switch_off(daemons: Sequence[DaemonState]) -> Iterator[str]:
    """Failures in a row at the door: at twenty, Zenoti stops sending until a person acts."""
    for daemon in daemons:
        for name, source in daemon.sources.items():
            failed = source.streak - source.refused
            if failed >= STREAK:
                yield f"{failed} answers in a row to {name} were not 2xx: Zenoti switches the webhook off at 20"


def _spools(daemons: Sequence[DaemonState]) -> Iterator[str]:
    for daemon in daemons:
        if daemon.spool is not None and (daemon.spool.events or daemon.spool.detail):
            why = f": {daemon.spool.detail}" if daemon.spool.detail else ""
            waiting = f"{daemon.spool.events} event(s) wait" if daemon.spool.events else "no event waits"
            yield f"{waiting} on the disk of {daemon.instance} for the broker{why}"


def _waiting(queues: Mapping[str, Depth], names: Names) -> Iterator[str]:
    unrouted = queues.get(names.unrouted)
    if unrouted is not None and unrouted.ready:
        yield f"{unrouted.ready} event(s) that no downstream wanted, in {names.unrouted}"
    for name, depth in queues.items():
        if names.role(name) in ("out", "") and depth.ready and not depth.consumers:
            yield f"{depth.ready} event(s) wait in {name}, and nobody reads it"


def _in_transit(queues: Mapping[str, Depth], names: Names) -> Iterator[str]:
    """Messages in the broker's dead-letter worker: it keeps them while their target queue takes no more."""
    for name, depth in queues.items():
        if names.role(name) == "retry" and (count := in_hands(depth)):
            yield (
                f"{count} event(s) are on their way back from {name}, in the broker's dead-letter worker: if "
                "that lasts, the queue that they go to takes no more (a policy?)"
            )


def _clocks(daemons: Sequence[DaemonState]) -> Iterator[str]:
    """Wrong clocks, by the process that sees the fewest: a process with a wrong clock sees all others as wrong."""
    kinds = {daemon.instance: daemon.daemon for daemon in daemons}
    observers = [daemon for daemon in daemons if daemon.clocks_ahead_seconds]
    by = min(observers, key=lambda daemon: len(daemon.clocks_ahead_seconds), default=None)
    if by is not None:
        for instance, seconds in by.clocks_ahead_seconds.items():
            how = "ahead of" if seconds > 0 else "behind"
            yield (
                f"clock of {kinds.get(instance, 'a daemon')} {instance} is {abs(seconds):,.0f} s {how} that of "
                f"{by.daemon} {by.instance}: check NTP on both hosts"
            )
        return
    for daemon in daemons:
        for name, source in daemon.sources.items():
            if source.fetched_ahead_seconds:
                yield (
                    f"fetched_at of {name} runs {source.fetched_ahead_seconds:,.0f} s ahead of the clock of "
                    f"{daemon.instance}: a clock was ahead at a receipt or a fetch; check NTP on all hosts"
                )


def _backlogs(sources: Mapping[str, SourceStatus]) -> Iterator[str]:
    for name, source in sources.items():
        if source.backlog.minutes_at_most >= LONG_BACKLOG_MINUTES:
            calls, pace = source.backlog.calls_at_most, source.backlog.calls_per_minute
            yield f"{name}: up to {calls} calls wait, {calls / pace / 60:.1f} h at {pace:g} a minute"
