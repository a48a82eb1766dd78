"""What `status` shows, as read from the broker. Nothing here prints."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from zenoti_ingest import __version__
from zenoti_ingest.adapters.broker import Link, state_stream
from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.core.failures.groups import by_reason
from zenoti_ingest.core.operating.alarms import alarms
from zenoti_ingest.core.operating.times import instant
from zenoti_ingest.operations.letters import Filter, groups_of
from zenoti_schemas.state import DaemonState, SourceState, SpoolState
from zenoti_schemas.status import Backlog, Depth, SourceStatus, Status

WITHIN_SECONDS = 30.0
READ_LETTERS = 10_000  # above, a look only counts them: to read the letters takes them all and puts them back
READ_LETTERS_AGAIN_SECONDS = 30.0
UNSEEN = "events on their way back from a retry queue cannot be seen"


class Look:
    """Reads from the broker everything that `status` shows; as often as it is asked, on one connection."""

    def __init__(self, installation: Installation, link: Link) -> None:
        self._link, self._names, self._clock = link, installation.names, installation.clock
        self._management = installation.management_api()
        self._wanted_queues = [queue.name for queue in installation.topology.queues]
        self._receiver_queues = installation.receiver_queues
        self._calls_per_minute = {name: source.calls_per_minute for name, source in installation.sources.items()}
        self._letters: Mapping[str, int] = {}
        self._letters_total = 0
        self._letters_read_at = -READ_LETTERS_AGAIN_SECONDS

    async def once(self) -> Status:
        """Look once.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        (queues, unseen), names = await self._with_hands(await self._queues()), self._names
        daemons = await state_stream.latest(self._link, stream=names.state) if names.state in _there(queues) else []
        total = queues[names.dead].ready or 0
        await self._read_letters(total)
        sources = {
            name: self._source(name, daemons, (queues[names.raw(name)], queues[names.lane(name)]), calls_per_minute)
            for name, calls_per_minute in self._calls_per_minute.items()
        }
        return Status(
            at=self._clock.utc_now(),
            version=__version__,
            alarms=alarms(
                names=names,
                queues=queues,
                daemons=daemons,
                sources=sources,
                receivers=self._receiver_queues,
                dead_letters=total,
            ),
            unseen=unseen,
            queues=queues,
            daemons=daemons,
            sources=sources,
            dead_letters=dict(self._letters),
            dead_letters_total=total,
            unrouted=queues[names.unrouted].ready or 0,
            spool=_spool(daemons),
        )

    async def _queues(self) -> dict[str, Depth]:
        wanted = self._wanted_queues
        counted = await self._link.use(partial(depths, queues=wanted), within=WITHIN_SECONDS)
        return {name: Depth(*(counted[name] or (None, None))) for name in wanted}

    async def _with_hands(self, queues: dict[str, Depth]) -> tuple[dict[str, Depth], str | None]:
        """Add to the depths the messages in hand; returns also why they cannot be seen, None where they can."""
        if self._management is None:
            return queues, f"{UNSEEN} without broker.management_url"
        try:
            hands = await self._management.in_hands()
        except BrokerUnavailable as error:
            return queues, f"{UNSEEN}: {error}"
        return {name: _with_messages(depth, hands.get(name)) for name, depth in queues.items()}, None

    async def _read_letters(self, total: int) -> None:
        """Count the letters by reason; read them again only when their number has changed, and at most every 30 s."""
        if not 0 < total <= READ_LETTERS:
            self._letters, self._letters_total = {}, total
            return
        waited = self._clock.monotonic() - self._letters_read_at
        if total == self._letters_total or waited < READ_LETTERS_AGAIN_SECONDS:
            return
        self._letters = by_reason(await groups_of(self._link, self._names, Filter()))
        self._letters_total, self._letters_read_at = total, self._clock.monotonic()

    def _source(
        self, name: str, daemons: list[DaemonState], queues: tuple[Depth, Depth], calls_per_minute: float
    ) -> SourceStatus:
        said = [daemon.sources[name] for daemon in daemons if name in daemon.sources]
        last = max((s.last_event_at for s in said if s.last_event_at), default=None)
        lanes = [s for s in said if s.circuit is not None]
        active: SourceState | None = max(lanes, key=lambda s: (s.circuit == "open", s.events_held), default=None)
        unseen = sum(depth.ready or 0 for depth in queues)
        invoices = sum(s.invoices_waiting for s in lanes)
        return SourceStatus(
            seconds_since_last_event=self._age(last) if last else None,
            circuit=active.circuit if active else None,
            failures=active.failures if active else 0,
            last_failure=active.last_failure if active else "",
            calls_saved=active.calls_saved if active else None,
            calls_in_flight=sum(s.calls_in_flight for s in lanes),
            backlog=Backlog(
                events=unseen + sum(s.events_held for s in lanes),
                invoices=invoices,
                calls_at_most=unseen + invoices,
                calls_per_minute=calls_per_minute,
                minutes_at_most=round((unseen + invoices) / calls_per_minute, 1),
            ),
        )

    def _age(self, at: str) -> float:
        return round((instant(self._clock.utc_now()) - datetime.fromisoformat(at)).total_seconds(), 1)


def _with_messages(depth: Depth, in_hands: int | None) -> Depth:
    """Keep ready and consumers, which AMQP has just counted; the management API's numbers are some seconds old."""
    if depth.ready is None or in_hands is None:
        return depth
    return Depth(depth.ready, depth.consumers, depth.ready + in_hands)


def _there(queues: Mapping[str, Depth]) -> set[str]:
    return {name for name, depth in queues.items() if depth.ready is not None}


def _spool(daemons: list[DaemonState]) -> SpoolState | None:
    spools = [daemon.spool for daemon in daemons if daemon.spool is not None]
    if not spools:
        return None
    return SpoolState(
        events=sum(s.events for s in spools),
        bytes=max(s.bytes for s in spools),  # each measures the whole directory
        max_bytes=max(s.max_bytes for s in spools),
        oldest_seconds=max((s.oldest_seconds for s in spools if s.oldest_seconds is not None), default=None),
        detail="; ".join(sorted({s.detail for s in spools if s.detail})),
    )
