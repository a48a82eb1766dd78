"""An operator of a simulated installation, with the real commands: what he does, and what came of it.

His commands run in a process of their own, on simulated connections, and print into memory.
"""

import asyncio
import contextlib
import io
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from tests.simulation.broker import SimulatedBroker, SimulatedLink, SimulatedQueue
from tests.simulation.virtual_time import SimulatedProcess
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.management import ManagementApi
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.failures.errors import BrokerUnavailable, WorkerError
from zenoti_ingest.core.operating.archive_entries import Entry, Wanted
from zenoti_ingest.core.topology.declared import definitions
from zenoti_ingest.core.topology.differences import BrokerSnapshot, ObservedBinding, ObservedExchange, ObservedQueue
from zenoti_ingest.core.topology.permissions import ROLES, password_hash, rights, with_users
from zenoti_ingest.operations import archive, dead, redrive, replay, status, topology, trace
from zenoti_ingest.operations.archive_reading import time_of
from zenoti_ingest.operations.letters import Filter
from zenoti_ingest.operations.terminal import document
from zenoti_ingest.settings import Settings
from zenoti_ingest.stages.ports import Clock
from zenoti_schemas.dead_letter import DeadLetterHeaders

ASKED_SECONDS = 5.0  # the management API's own deadline

Document = Mapping[str, Any]
R = TypeVar("R")


class Act(msgspec.Struct, kw_only=True):
    """What an operator did.

    Attributes:
        kind: of the act.
        at: when it ended, in seconds of the event loop's clock.
        exit_status: of the command; None: it failed, or had no answer.
        failure: why it failed.
        document: what it printed.
        tried: receipts of the letters or archived events that it chose, in order; a command that was cut short may
            have come to none of the last.
        done: receipts of those that are surely redriven, discarded or replayed.
        stayed: of a redrive, why a letter could not go back, by its receipt.
    """

    kind: str
    at: float = 0.0
    exit_status: int | None = None
    failure: str = ""
    document: Document = {}
    tried: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    stayed: Mapping[str, str] = {}

    @property
    def alarms(self) -> list[str]:
        """The texts of the alarms that `status` shows."""
        return [alarm["text"] for alarm in self.document.get("alarms", ())]

    @property
    def was_cut_short(self) -> bool:
        """Whether the command did not come to its end."""
        return self.exit_status is None or bool(self.document.get("cut_short"))


class SimulatedManagementApi:
    """RabbitMQ's management API: each question has a connection of its own."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    async def look(self) -> BrokerSnapshot:
        """As the real one's."""
        return await self._asked(snapshot)

    async def in_hands(self) -> dict[str, int]:
        """As the real one's."""
        return await self._asked(in_hands)

    async def _asked(self, action: Callable[[SimulatedBroker], R]) -> R:
        link = SimulatedLink(self._broker)
        try:
            async with asyncio.timeout(ASKED_SECONDS):
                return await link.open_channel().ask(partial(action, self._broker))
        except TimeoutError:
            raise BrokerUnavailable(f"the management API did not answer within {ASKED_SECONDS:g} s") from None
        finally:
            link.end()


def in_hands(broker: SimulatedBroker) -> dict[str, int]:
    """How many messages of each queue a consumer holds."""
    channels = {id(each.channel): each.channel for queue in broker.queues.values() for each in queue.consumers}
    held = Counter(each.queue.name for channel in channels.values() for each, _, _ in channel.unsettled.values())
    return {name: held[name] for name in broker.queues}


def snapshot(broker: SimulatedBroker) -> BrokerSnapshot:
    """All that the broker has, as its management API shows it."""
    exchanges = [(name, broker.exchange(name)) for name in broker.exchanges]
    return BrokerSnapshot(
        [
            ObservedExchange(name, "direct" if not name else found[0], auto_delete=found[2], arguments=found[1])
            for name, found in exchanges
            if found is not None
        ],
        [_observed(queue) for queue in broker.queues.values()],
        [ObservedBinding(source, to, kind, key, key or "~") for source, to, key, kind in broker.bindings],
    )


def _observed(queue: SimulatedQueue) -> ObservedQueue:
    """A queue that refuses is shown as what it is in real life: a queue under a policy."""
    policy = {"max-length": 0, "overflow": "reject-publish"} if queue.refuses else None
    return ObservedQueue(
        queue.name,
        arguments=queue.arguments,
        messages=len(queue.ready),
        consumers=len(queue.consumers),
        policy="full" if policy else None,
        effective_policy_definition=policy,
    )


class SimulatedInstallation(Installation):
    """An installation whose broker is the simulated one.

    Args:
        settings: of it.
        broker: the simulated broker.
        process: in which the operator's commands run.
        clock: the operator's.
    """

    def __init__(self, settings: Settings, broker: SimulatedBroker, *, process: SimulatedProcess, clock: Clock) -> None:
        super().__init__(settings, clock=clock)
        self._broker, self._process = broker, process
        self.links: list[SimulatedLink] = []

    def link(self, name: str) -> Link:
        """A connection that is up."""
        del name
        self.links.append(link := SimulatedLink(self._broker, start=self._process.start))
        return cast("Link", link)

    @asynccontextmanager
    async def connected(self, name: str) -> AsyncIterator[Link]:
        """A connection, for the time of a command."""
        link = cast("SimulatedLink", self.link(name))
        try:
            yield cast("Link", link)
        finally:
            link.end()
            self.links.remove(link)

    def management_api(self) -> ManagementApi | None:
        """The simulated one, where one is configured."""
        return super().management_api() and cast("ManagementApi", SimulatedManagementApi(self._broker))


class _Noting(Filter, frozen=True, kw_only=True):
    """A choice of letters that notes which it chose."""

    noted: dict[str, None]

    def takes(self, letter: DeadLetterHeaders) -> bool:
        found = super().takes(letter)
        if found:
            self.noted[letter.receipt_id] = None
        return found


class _NotingEvents(Wanted, frozen=True, kw_only=True):
    """A choice of archived events that notes which it chose."""

    noted: dict[str, None]

    def covers(self, message: Received) -> bool:
        found = super().covers(message)
        if found and not self.asks_bodies:
            self.noted[message.receipt_id] = None
        return found

    def takes(self, entry: Entry) -> bool:
        found = super().takes(entry)
        if found:
            self.noted[entry.receipt_id] = None
        return found


class Operator:
    """An operator: he does one thing after the other.

    Args:
        settings: of the installation.
        broker: the simulated broker.
        clock: his.
        patience_seconds: after so long he stops a redrive, a discard or a replay, as with Ctrl-C.

    Attributes:
        process: in which his commands run.
        installation: on which.
        acts: all that he did.
    """

    def __init__(
        self, settings: Settings, broker: SimulatedBroker, *, clock: Clock, patience_seconds: float = 60.0
    ) -> None:
        self.process = SimulatedProcess("operator")
        self._patience_seconds = patience_seconds
        self.installation = SimulatedInstallation(settings, broker, process=self.process, clock=clock)
        self.acts: list[Act] = []
        self._free = asyncio.Lock()

    async def act(self, kind: str, **choice: str) -> Act:
        """Do one thing, after what he is at; never raises for what the world does to him.

        Args:
            kind: `look` (status), `list` (dead letters), `show`, `redrive`, `discard`, `archive` (list), `replay`,
                `trace`, `plan` (topology), `export` (definitions, with the users).
            choice: of letters: reason, source, type, id, fingerprint; of archived events: since (`2h`), until, source,
                type, invoice, to (a receiver); of `show` and `trace`: id.
        """
        async with self._free:
            done: Act = await self.process.start(self._done(kind, choice))
        self.acts.append(done)
        return done

    async def _done(self, kind: str, choice: Mapping[str, str]) -> Act:
        noted: dict[str, None] = {}
        failure, status_, printed, stop = "", None, b"", asyncio.Event()
        loop = asyncio.get_running_loop()
        stopping = loop.call_later(self._patience_seconds, stop.set)
        with _captured() as out:
            try:
                status_ = await _KINDS[kind](self.installation, choice, noted, stop)
            except (WorkerError, TimeoutError) as error:
                failure = f"{type(error).__name__}: {error}"
            stopping.cancel()
            sys.stdout.flush()
            printed = out.getvalue()
        content = {} if failure or not printed else msgspec.json.decode(printed)
        act = Act(kind=kind, exit_status=status_, failure=failure, document=content, tried=tuple(noted))
        act.at = loop.time()
        act.stayed = dict(_parted(line) for line in content.get("stayed", ()))
        homeless = bool(content.get("homeless") or content.get("too_large"))
        went = [receipt for receipt in noted if receipt not in act.stayed]
        act.done = () if homeless else tuple(went[: content.get(_WORDS.get(kind, ""), 0)])
        return act


Noted = dict[str, None]
Does = Callable[[Installation, Mapping[str, str], Noted, asyncio.Event], Awaitable[int]]
_WORDS = {"redrive": "redriven", "discard": "discarded", "replay": "replayed"}


async def _look(installation: Installation, _: Mapping[str, str], __: Noted, ___: asyncio.Event) -> int:
    return await status.status(installation, as_json=True)


async def _list(installation: Installation, choice: Mapping[str, str], noted: Noted, _: asyncio.Event) -> int:
    return await dead.list_(installation, _Noting(noted=noted, **choice), as_json=True)


async def _show(installation: Installation, choice: Mapping[str, str], _: Noted, __: asyncio.Event) -> int:
    return await dead.show_(installation, choice["id"], as_json=True)


async def _redrive(installation: Installation, choice: Mapping[str, str], noted: Noted, stop: asyncio.Event) -> int:
    chosen = _Noting(noted=noted, **choice)
    return await redrive.redrive(installation, chosen, stop, dry_run=False, as_json=True)


async def _discard(installation: Installation, choice: Mapping[str, str], noted: Noted, stop: asyncio.Event) -> int:
    chosen = _Noting(noted=noted, **choice)
    return await redrive.discard(installation, chosen, stop, dry_run=False, as_json=True)


async def _archive(installation: Installation, choice: Mapping[str, str], noted: Noted, _: asyncio.Event) -> int:
    return await archive.list_(installation, _wanted(installation, choice, noted), as_json=True)


async def _replay(installation: Installation, choice: Mapping[str, str], noted: Noted, stop: asyncio.Event) -> int:
    return await replay.replay(
        installation,
        _wanted(installation, choice, noted),
        stop,
        after=None,
        rate=None,
        to=choice.get("to"),
        dry_run=False,
        as_json=True,
    )


async def _trace(installation: Installation, choice: Mapping[str, str], _: Noted, __: asyncio.Event) -> int:
    since = time_of(choice.get("since", "24h"), installation.clock)
    return await trace.trace(installation, choice["id"], since, as_json=True)


async def _plan(installation: Installation, _: Mapping[str, str], __: Noted, ___: asyncio.Event) -> int:
    return await topology.plan(installation, as_json=True)


async def _export(installation: Installation, _: Mapping[str, str], __: Noted, ___: asyncio.Event) -> int:
    document(users_of(installation))
    return 0


_KINDS: Mapping[str, Does] = {
    "look": _look,
    "list": _list,
    "show": _show,
    "redrive": _redrive,
    "discard": _discard,
    "archive": _archive,
    "replay": _replay,
    "trace": _trace,
    "plan": _plan,
    "export": _export,
}


def _wanted(installation: Installation, choice: Mapping[str, str], noted: dict[str, None]) -> _NotingEvents:
    times = {name: time_of(choice[name], installation.clock) for name in ("since", "until") if name in choice}
    others = {name: choice[name] for name in ("source", "type", "invoice") if name in choice}
    return _NotingEvents(noted=noted, **{"since": time_of("2h", installation.clock), **times, **others})


def users_of(installation: Installation) -> Document:
    """RabbitMQ's definitions with a user for each role, as `topology export --users` prints them."""
    names, queues = installation.names, list(installation.receiver_queues.values())
    hashes = {role: password_hash(role, salt=b"salt") for role in ROLES}
    given = rights(names, queues=queues)
    made = definitions(installation.topology, vhost=installation.vhost)
    return with_users(made, given, names=names, vhost=installation.vhost, hashes=hashes)


def _parted(line: str) -> tuple[str, str]:
    receipt, _, why = line.partition(": ")
    return receipt, why


@contextlib.contextmanager
def _captured() -> Iterator[io.BytesIO]:
    """What is printed goes into memory; what is said on stderr is forgotten."""
    out = io.BytesIO()
    with (
        contextlib.redirect_stdout(io.TextIOWrapper(out, encoding="utf-8")),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield out
