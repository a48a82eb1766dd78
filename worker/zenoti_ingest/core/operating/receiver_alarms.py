"""Alarms about receivers that do not take their events: which, how many events wait, since when, what to do."""

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from zenoti_ingest.core.topology.names import Names
from zenoti_schemas.state import DaemonState, ReceiverState
from zenoti_schemas.status import Alarm, Depth


def receiver_alarms(
    *, names: Names, receivers: Mapping[str, str], queues: Mapping[str, Depth], daemons: Sequence[DaemonState]
) -> Iterator[Alarm]:
    """The alarms of all receivers.

    Args:
        names: the names of exchanges and queues.
        receivers: receiver name -> queue.
        queues: queue name -> depth.
        daemons: the state of each process.
    """
    for name, queue in receivers.items():
        states = [daemon.receivers[name] for daemon in daemons if name in daemon.receivers]
        depth = queues.get(names.waiting(name), Depth(None, None))
        waiting = (depth.ready or 0) + sum(state.in_hand for state in states)
        yield from _of_one(name, queue, names.waiting(name), waiting, states)
    if any(daemon.stranger_refuses for daemon in daemons):
        yield Alarm(
            "wrong",
            f"a queue that belongs to no receiver is bound to {names.events} and refuses events; each receiver gets "
            "its own publish. `zenoti-ingest topology plan` shows it as a surplus binding: unbind it, or read it",
        )


def unheard(receivers: Mapping[str, str], daemons: Sequence[DaemonState]) -> set[str]:
    """Queues with a more exact alarm above than "missing" or "unread"."""
    return {receivers[name] for daemon in daemons for name in daemon.receivers if name in receivers}


def _of_one(name: str, queue: str, wait_queue: str, waiting: int, states: Sequence[ReceiverState]) -> Iterator[Alarm]:
    wait = f"{waiting} event(s) wait in {wait_queue}"
    refusing = [state for state in states if state.refusing_since]
    gone = min((state for state in states if state.gone_since), key=attrgetter("gone_since"), default=None)
    if gone is not None and gone.back_at is None:
        yield Alarm(
            "wrong",
            f"{name}: its queue {queue} is gone, last seen {gone.gone_since}; {wait} until it is declared again "
            f"(`zenoti-ingest topology plan`). What it held is lost; {_replay(name, gone)}",
        )
    elif refusing:
        first = min(refusing, key=attrgetter("refusing_since"))
        yield Alarm(
            "wrong",
            f"{name} takes no events since {first.refusing_since}; {wait} and go out in order once it does. "
            f"Let {queue} be read, or raise its limit ({first.detail})",
        )
    elif waiting:
        yield Alarm("look", f"{name}: {wait} and go out in order as {queue} takes them")
    if gone is not None and gone.back_at is not None:
        yield Alarm(
            "look",
            f"{name}: its queue {queue} was gone between {gone.gone_since} and {gone.back_at}. What it held is lost; "
            f"{_replay(name, gone)}",
        )


def _replay(name: str, gone: ReceiverState) -> str:
    until = f" --until {gone.back_at}" if gone.back_at else ""
    return f"`zenoti-ingest archive replay --since {gone.gone_since}{until} --to {name}` sends again what came out then"
