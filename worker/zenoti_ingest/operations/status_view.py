"""What `status` shows to a person: what is wrong first, then sources, queues, daemons. Nothing here looks or waits."""

from collections.abc import Iterable
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from zenoti_ingest.core.operating.alarms import in_hands
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.terminal import plain
from zenoti_schemas.status import Depth, Status

_WIDE = 160  # off a terminal, as wide as the widest table needs
_MINUTE, _HOUR, _DAY, _MIB = 60, 3600, 86_400, 2**20
_ORDER = ("raw", "lane", "retry", "wait", "out", "unrouted", "dead", "archive")


def show(found: Status, *, prefix: str) -> None:
    """Print the page; in colour only on a terminal."""
    console = Console(highlight=False)
    whole = render(found, prefix=prefix)
    console.print(whole) if console.is_terminal else Console(highlight=False, width=_WIDE).print(whole)


def render(found: Status | None, *, prefix: str, before: Status | None = None, away: str = "") -> RenderableType:
    """Return the page.

    Args:
        found: the last look; None: there was none yet.
        prefix: first word of the names; the tables leave it out.
        before: the look before the last, to show what has changed.
        away: why there is no newer look; the page then says that it is old. Empty: it is not.
    """
    parts: list[RenderableType] = [_heading(found, prefix)]
    if away:
        parts.append(
            plain(f" ✗ the broker cannot be asked: {away}" + ("; what follows is old" if found else ""), "bold red")
        )
    if found is None:
        return Group(*parts)
    if not away:
        parts.extend(_alarms(found))
    parts += [_letters(found), *_spool(found)]
    parts += [plain(""), _sources(found), plain(""), _queues(found, before, prefix)]
    if found.unseen:
        parts.append(plain(f" {found.unseen}", "dim"))
    parts += [plain(""), _daemons(found)]
    return Group(*parts)


def _heading(found: Status | None, prefix: str) -> Text:
    at = f"  {found.version}  {found.at[:19].replace('T', ' ')} UTC" if found else ""
    return Text.assemble(("zenoti-ingest", "bold"), f"  {prefix}{at}")


def _alarms(found: Status) -> Iterable[Text]:
    if not found.alarms:
        return [plain(" ✓ all is well", "green")]
    marks = {"wrong": (" ✗ ", "bold red"), "look": (" ! ", "yellow")}
    return [plain(marks[alarm.level][0] + alarm.text, marks[alarm.level][1]) for alarm in found.alarms]


def _sources(found: Status) -> Table:
    made = _table("source", "last event", "circuit", "saved", "calls", "waiting", "invoices", "done in")
    for name, source in found.sources.items():
        circuit = plain(
            source.circuit or "-", "bold red" if source.circuit == "open" else "green" if source.circuit else "dim"
        )
        last = source.seconds_since_last_event
        backlog = source.backlog
        made.add_row(
            name,
            "-" if last is None else f"{_span(last)} ago",
            circuit,
            "-" if source.calls_saved is None else f"{source.calls_saved:g}",
            _count(source.calls_in_flight),
            _count(backlog.events),
            _count(backlog.invoices),
            f"≤ {_span(backlog.minutes_at_most * _MINUTE)}" if backlog.calls_at_most else "-",
        )
    return made


def _queues(found: Status, before: Status | None, prefix: str) -> Table:
    """Return the queues in the order of an event's way, without the state stream and empty retry or wait queues."""
    made = _table("queue", "ready", "change", "consumers")
    names = Names(prefix)
    roles = {name: names.role(name) or "out" for name in found.queues}
    for name in sorted((name for name in roles if roles[name] in _ORDER), key=lambda name: _ORDER.index(roles[name])):
        depth = found.queues[name]
        if roles[name] not in {"retry", "wait"} or depth.ready != 0 or in_hands(depth):
            shown = name.removeprefix(f"{prefix}.")
            made.add_row(shown, _ready(roles[name], depth), _change(name, depth, before), _readers(depth))
        if roles[name] == "retry" and in_hands(depth):
            made.add_row(" in transit (dead-letter worker)", plain(f"{in_hands(depth):,}", "yellow"), "", "")
    return made


def _ready(role: str, depth: Depth) -> Text:
    if depth.ready is None:
        return plain("missing", "bold red")
    is_bad = role in ("dead", "unrouted")
    return plain(f"{depth.ready:,}", ("yellow" if is_bad else "bold") if depth.ready else "dim")


def _change(name: str, depth: Depth, before: Status | None) -> Text:
    then = before.queues[name].ready if before and name in before.queues else None
    if then is None or depth.ready is None or then == depth.ready:
        return plain("")
    return plain(f"{depth.ready - then:+,}", "yellow" if depth.ready > then else "green")


def _readers(depth: Depth) -> Text:
    return plain("" if depth.consumers is None else str(depth.consumers), "" if depth.consumers else "dim")


def _daemons(found: Status) -> Table:
    made = _table("daemon", "instance", "version", "port", "state")
    for daemon in found.daemons:
        how = plain("ready", "green") if daemon.ready else plain(daemon.detail or "not ready", "bold red")
        said = (daemon.daemon, daemon.instance, daemon.version, daemon.admin_port)
        made.add_row(*map(plain, said), how)
    return made


def _letters(found: Status) -> Text:
    total = found.dead_letters_total
    if not total:
        return plain(" no dead letters", "dim")
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.dead_letters.items())
    detail = reasons or "too many to read at each look (above 10,000): `zenoti-ingest dead list` shows their reasons"
    return plain(f" dead letters: {total:,}  {detail}", "yellow")


def _spool(found: Status) -> Iterable[Text]:
    at = found.spool
    if at is not None and at.events:
        oldest = "" if at.oldest_seconds is None else f", the oldest {_span(at.oldest_seconds)} old"
        line = f" spool: {at.events:,} events{oldest}; {at.bytes / _MIB:,.1f} of {at.max_bytes / _MIB:,.0f} MiB on disk"
        yield plain(line, "yellow")


def _table(*headings: str) -> Table:
    made = Table(box=box.SIMPLE_HEAD, show_edge=False)
    numbers = {"ready", "change", "consumers", "saved", "calls", "waiting", "invoices", "done in"}
    for heading in headings:
        is_long = heading in {"instance", "state"}
        justify: Literal["left", "right"] = "right" if heading in numbers else "left"
        made.add_column(heading, justify=justify, no_wrap=not is_long, overflow="fold")
    return made


def _count(number: int) -> str:
    return f"{number:,}" if number else "0"


def _span(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.1f} d"
