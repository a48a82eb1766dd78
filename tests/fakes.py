"""The world in memory, behind the same ports as the adapters; tests/contract holds both to one contract."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import msgspec

from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import (
    BrokerUnavailable,
    PublishRefused,
    PublishUnconfirmed,
    SpoolUnavailable,
    TooLarge,
    Unroutable,
)
from zenoti_ingest.core.intake.spool_record import Spooled
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.invoices.protocol import Request, Response
from zenoti_ingest.core.operating.times import as_text
from zenoti_ingest.stages.ports import Chance, Clock, Ids


class FakeClock:
    """The port `Clock`: time passes only when the test says so.

    Attributes:
        seconds: what `monotonic` returns.
        unix: what `unix_microseconds` returns; the test may set it to anything.
    """

    def __init__(self, *, seconds: float = 1000.0, unix: int = 1_935_853_690_000_000) -> None:
        self.seconds = seconds
        self.unix = unix

    def pass_(self, seconds: float) -> None:
        """So much later."""
        self.seconds += seconds
        self.unix += round(seconds * 1_000_000)

    def monotonic(self) -> float:
        """As the port says."""
        return self.seconds

    def unix_microseconds(self) -> int:
        """As the port says."""
        return self.unix

    def utc_now(self) -> str:
        """As the port says."""
        return as_text(self.unix_microseconds())


class FakeChance:
    """The port `Chance`: the same seed draws the same numbers."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311  # that it can be repeated is the point

    def below(self, count: int) -> int:
        """As the port says."""
        return self._random.randrange(count)


class FakeIds:
    """The port `Ids`: counts; the first is 00000000-0000-7000-8000-000000000001."""

    def __init__(self) -> None:
        self._number = 0

    def sortable(self) -> str:
        """As the port says."""
        return self._next(7)

    def random(self) -> str:
        """As the port says."""
        return self._next(4)

    def _next(self, version: int) -> str:
        self._number += 1
        return str(UUID(int=version << 76 | 0x8 << 60 | self._number))


class FakeRuntime:
    """The port `Runtime`: time, chance and ids in the test's hand."""

    def __init__(self) -> None:
        self.clock: Clock = FakeClock()
        self.chance: Chance = FakeChance()
        self.ids: Ids = FakeIds()


class FakePublisher:
    """The port `Publishes`: keeps what was published, in order.

    Attributes:
        published: what has been confirmed.
        unconfirmed: so many of the next publishes are not confirmed.
        missing: exchanges that are not there.
        unroutable: routing keys that no queue is bound for.
        full: routing keys of queues that take no more.
        away: there is no broker.
        max_bytes: what the broker takes of a body.
        refused: how many publishes were not confirmed.
    """

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.unconfirmed = 0
        self.missing: set[str] = set()
        self.unroutable: set[str] = set()
        self.full: set[str] = set()
        self.away = False
        self.max_bytes = DEFAULT_MAX_MESSAGE_BYTES
        self.refused = 0

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """Keep it, or raise as the test has set."""
        if len(message.body) > self.max_bytes:
            raise TooLarge(f"{len(message.body)} bytes; the broker takes at most {self.max_bytes}")
        self.refused += 1
        if self.away or message.exchange in self.missing:
            raise PublishUnconfirmed(f"not confirmed within {within:g} s")
        if self.unconfirmed:
            self.unconfirmed -= 1
            raise PublishUnconfirmed("not confirmed, as the test wishes")
        if message.routing_key in self.full:
            raise PublishRefused(f"the queue of {message.routing_key} takes no more")
        if message.routing_key in self.unroutable:
            raise Unroutable(f"no queue is bound for {message.routing_key}")
        self.refused -= 1
        self.published.append(message)


class Kept(msgspec.Struct, frozen=True, eq=False):
    """An event in the fake spool; each is itself alone."""

    spooled: Spooled


class FakeSpool:
    """The port `Spools`: keeps what was put, in order.

    Attributes:
        kept: what waits.
        is_full: it takes nothing.
        set_aside_bodies: what was moved to files.
    """

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.is_full = False
        self.set_aside_bodies: list[bytes] = []
        self._arrived = asyncio.Condition()

    async def put(self, spooled: Spooled) -> None:
        """Keep it, or raise as the test has set."""
        if self.is_full:
            raise SpoolUnavailable("full, as the test wishes")
        self.kept.append(Kept(spooled))
        async with self._arrived:
            self._arrived.notify_all()

    async def wait_for(self, source: str) -> None:
        """As the port says."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: any(item.spooled.event.source == source for item in self.kept))

    async def oldest(self, source: str, *, limit: int) -> list[Kept]:
        """As the port says."""
        return [item for item in self.kept if item.spooled.event.source == source][:limit]

    async def forget(self, source: str, items: Sequence[Any]) -> None:
        """As the port says."""
        del source
        self.kept = [item for item in self.kept if item not in items]

    async def set_aside(self, source: str, item: Any, note: Callable[[Path], Spooled]) -> None:
        """As the port says."""
        self.set_aside_bodies.append(item.spooled.event.body)
        await self.put(note(Path(f"/aside/{len(self.set_aside_bodies)}")))
        await self.forget(source, [item])


Answer = Response | Exception
NOT_FOUND = Response(418, {}, b'{"Message": "no such invoice"}')


class FakeInvoiceApi:
    """The port `Fetches`: answers by path, each list one answer after the other, the last for ever.

    Attributes:
        requests: what was asked for, in order.
        gate: calls wait until it is open; it is open at first.
        waiting: calls that are under way.
    """

    def __init__(self, answers: Mapping[str, Sequence[Answer]] | None = None) -> None:
        self._answers = {path: list(given) for path, given in (answers or {}).items()}
        self.requests: list[Request] = []
        self.key = "key"
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0

    def will(self, path: str, *answers: Answer) -> None:
        """From now on answer a path so."""
        self._answers[path] = list(answers)

    def key_mark(self) -> object:
        """The key."""
        return self.key

    async def fetch(self, request: Request, *, last_look: Callable[[], None] = lambda: None) -> Response:
        """Answer or raise as the test has set; an unknown path is a 418."""
        last_look()
        self.requests.append(request)
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        answers = self._answers.get(request.path, [NOT_FOUND])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeStates:
    """The port `States`: this process alone, whose states are confirmed at once, or as the test has set.

    Attributes:
        are_confirmed: whether the broker confirms what is said.
        describe: what is said; called for each state.
        number: how many states have been said.
    """

    def __init__(self) -> None:
        self.are_confirmed = True
        self.describe: Callable[[], None] = lambda: None
        self.number = 0
        self._is_wanted = False

    def say_soon(self) -> None:
        """Say it as soon as somebody waits for it."""
        self._is_wanted = True

    async def said(self) -> bool:
        """Say it, if it is to be confirmed."""
        if self.are_confirmed and self._is_wanted:
            self._is_wanted = False
            self.number += 1
            self.describe()
            return True
        return False

    async def catch_up(self) -> bool:
        """There is nobody else."""
        self.say_soon()
        return await self.said()


class FakeBatons:
    """The port `Batons`: one place for each lane.

    Attributes:
        lying: the batons that nobody has taken, by source.
        are_confirmed: whether the broker takes any.
    """

    def __init__(self) -> None:
        self.lying: dict[str, Baton] = {}
        self.are_confirmed = True

    async def take(self, source: str) -> Baton | None:
        """As the port says."""
        return self.lying.pop(source, None)

    async def put(self, source: str, given: Baton, *, within: float) -> bool:
        """As the port says."""
        del within
        if self.are_confirmed:
            self.lying[source] = given
        return self.are_confirmed


class FakeChannel:
    """Where deliveries are settled: keeps the tags that were acked, and those left to the broker."""

    def __init__(self) -> None:
        self.acked: list[int] = []
        self.rejected: list[int] = []
        self.lost = False

    def settle(self, tag: int) -> bool:
        """Ack, or report that the channel is closed."""
        if not self.lost:
            self.acked.append(tag)
        return not self.lost


class FakeSubscription:
    """A subscription that delivers what it may at once, while it is being entered, as a broker may."""

    def __init__(
        self,
        waiting: Mapping[int, Outgoing],
        on_delivery: Callable[[Delivery], Awaitable[None]],
        *,
        prefetch: int,
        max_bytes: int,
    ) -> None:
        self._waiting = dict(waiting)
        self._on_delivery = on_delivery
        self.prefetch = prefetch  # for the tests to see
        self._max_bytes = max_bytes
        self._handling: list[asyncio.Future[None]] = []
        self.channel = FakeChannel()
        self.ended = asyncio.Event()
        self.leaving = asyncio.Event()
        self.unsettled: dict[int, float] = {}
        self.in_hand: dict[int, int] = {}
        self.bytes_in_hand = 0
        self.most_returned = 0
        self.passed_at = 0
        self.filled = asyncio.Event()
        self.delivered = 0
        self.lost = False
        self.orderly = False
        self.by_defect = False
        self.detail = ""

    async def __aenter__(self) -> Self:
        self._deliver()
        await asyncio.sleep(0)
        return self

    def settle(self, tag: int) -> bool:
        """Ack a delivery, which lets the next come."""
        self._forget(tag)
        return self.channel.settle(tag)

    def _deliver(self) -> None:
        """As many as may be in hand."""
        while self._waiting and len(self.in_hand) < self.prefetch and not self.passed_at:
            tag = next(iter(self._waiting))
            message = self._waiting.pop(tag)
            self.delivered += 1
            if self.in_hand and self.bytes_in_hand + len(message.body) > self._max_bytes:
                self.passed_at = len(self.in_hand)
                self.fail("more bytes than may be in hand", orderly=True)
                return
            self.in_hand[tag] = len(message.body)
            self.unsettled[tag] = asyncio.get_running_loop().time()
            self.bytes_in_hand += len(message.body)
            if len(self.in_hand) >= self.prefetch:
                self.filled.set()
            delivered = delivery(message, self.settle, tag=tag)
            self._handling.append(asyncio.ensure_future(self._on_delivery(delivered)))

    def _forget(self, tag: int) -> None:
        self.unsettled.pop(tag, None)
        self.bytes_in_hand -= self.in_hand.pop(tag, 0)
        if not self.channel.lost:
            self._deliver()

    async def __aexit__(self, *_: object) -> None:
        self.channel.lost = True

    def reject(self, tag: int) -> None:
        """Leave it to the broker, as a dead letter."""
        self.channel.rejected.append(tag)
        self._forget(tag)

    async def acks_arrived(self) -> None:
        """The broker answers, unless the channel is lost."""
        if self.channel.lost:
            raise BrokerUnavailable("lost, as the test wishes")

    async def handled(self) -> None:
        """Return once every delivery has been handled; a receiver must not fail."""
        while self._handling:
            handling, self._handling = self._handling, []
            await asyncio.gather(*handling)

    def fail(self, detail: str, *, orderly: bool = False, defect: bool = False) -> None:
        """End it."""
        self.orderly = orderly
        self.by_defect = defect
        self.detail = self.detail or detail
        self.ended.set()
        self.leaving.set()

    def held_seconds(self) -> float:
        """As the port says."""
        oldest = next(iter(self.unsettled.values()), None)
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest


class FakeLink:
    """A connection to one queue: each subscription delivers what none before it has acked.

    Attributes:
        subscriptions: all there were.
        asked: how often somebody asked what is ready.
    """

    def __init__(self, *messages: Outgoing) -> None:
        self._messages = dict(enumerate(messages, start=1))
        self.subscriptions: list[FakeSubscription] = []
        self.asked = 0

    async def wait_ready(self) -> None:
        """It always is."""

    async def ready(self, queue: str) -> int:
        """As the port says."""
        del queue
        self.asked += 1
        held = {tag for each in self.subscriptions if not each.channel.lost for tag in each.in_hand}
        return len(self._waiting.keys() - held)

    @property
    def _waiting(self) -> dict[int, Outgoing]:
        """What no subscription has acked or rejected."""
        rejected = {tag for each in self.subscriptions for tag in each.channel.rejected}
        return {tag: message for tag, message in self.unacked.items() if tag not in rejected}

    @property
    def unacked(self) -> dict[int, Outgoing]:
        """What none has acked."""
        acked = {tag for subscription in self.subscriptions for tag in subscription.channel.acked}
        return {tag: message for tag, message in self._messages.items() if tag not in acked}

    def subscribe(
        self,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        max_bytes: int = sys.maxsize,
    ) -> FakeSubscription:
        """The next subscription."""
        del queue
        self.subscriptions.append(FakeSubscription(self._waiting, on_delivery, prefetch=prefetch, max_bytes=max_bytes))
        return self.subscriptions[-1]


def delivery(message: Outgoing, settle: Callable[[int], bool], *, tag: int) -> Delivery:
    """A message as the broker would deliver it."""
    headers: dict[str, Any] = dict(message.headers)
    return Delivery(
        body=message.body,
        headers=headers,
        message_id=message.message_id,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        tag=tag,
        settle=settle,
    )
