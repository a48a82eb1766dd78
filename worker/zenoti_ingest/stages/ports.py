"""The ports of the stages (hexagonal architecture): what they need of the world, and what it may raise.

Each port has a contract suite in tests/contract. The real adapter and the fake of the tests both pass it.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.events.spans import Place
from zenoti_ingest.core.events.trace_context import TraceContext
from zenoti_ingest.core.intake.spool_record import Spooled
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.invoices.protocol import Request, Response


class Clock(Protocol):
    """The time of this host."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back. The event loop's timers go by the same clock."""

    def unix_microseconds(self) -> int:
        """Microseconds since 1970 (UTC); can jump, and differ from other hosts'."""

    def utc_now(self) -> str:
        """The same as text: RFC 3339 in UTC with six digits; sorts as text."""


class Chance(Protocol):
    """Random numbers that need not be secret."""

    def below(self, count: int) -> int:
        """A whole number from 0 to `count` - 1, each as likely as the others."""


class Ids(Protocol):
    """Fresh ids: no two calls, on any host, return the same."""

    def sortable(self) -> str:
        """A UUIDv7 (RFC 9562): a later id of this process sorts behind an earlier one."""

    def random(self) -> str:
        """A UUIDv4: says nothing of when and where it was made."""


class Runtime(Protocol):
    """Where a process takes its time, its random numbers and its ids from."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def chance(self) -> Chance:
        """The random numbers."""

    @property
    def ids(self) -> Ids:
        """The ids."""


class Subscription(Protocol):
    """A consumer of one queue, for as long as its context is entered.

    Leaving the context hands back to the broker what is unsettled, in order. `ended` is set when the broker ends the
    subscription, or when `fail` is called; the owner then leaves the context and subscribes anew.
    """

    @property
    def ended(self) -> asyncio.Event:
        """It is over. What is in hand may still be settled while its channel lives."""

    @property
    def leaving(self) -> asyncio.Event:
        """Nothing new is to be begun; set with `ended` too."""

    @property
    def filled(self) -> asyncio.Event:
        """As many deliveries are in hand as the prefetch allows; the owner clears it."""

    @property
    def detail(self) -> str:
        """Why it ended."""

    @property
    def lost(self) -> bool:
        """The channel ended by itself, or with its connection."""

    @property
    def orderly(self) -> bool:
        """We ended it, and nothing is wrong."""

    @property
    def by_defect(self) -> bool:
        """A defect of ours ended it."""

    @property
    def delivered(self) -> int:
        """How many deliveries have come."""

    @property
    def unsettled(self) -> Collection[int]:
        """The tags of deliveries that are not settled, oldest first."""

    @property
    def in_hand(self) -> Collection[int]:
        """The tags of unsettled deliveries whose body is kept."""

    @property
    def bytes_in_hand(self) -> int:
        """The bytes of these bodies together."""

    @property
    def passed_at(self) -> int:
        """How many deliveries were in hand when the next would have passed `max_bytes`; 0: that has not happened."""

    @property
    def most_returned(self) -> int:
        """How often the delivery in hand that came back most often has come back."""

    async def __aenter__(self) -> Self:
        """Subscribe.

        Raises:
            BrokerUnavailable: it could not be done.
        """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def handled(self) -> None:
        """Return once `on_delivery` has returned for every delivery so far."""

    def fail(self, detail: str, *, orderly: bool = False, defect: bool = False) -> None:
        """End it. Only the first call counts."""

    def reject(self, tag: int) -> None:
        """Leave a delivery to the broker, which makes it a dead letter with its body."""

    async def acks_arrived(self) -> None:
        """Return once the broker has handled every ack so far.

        Raises:
            BrokerUnavailable: it does not answer, so the last ones may come again.
        """

    def held_seconds(self) -> float:
        """How long the oldest unsettled delivery has been in hand."""


class Connects(Protocol):
    """A connection to the broker."""

    async def wait_ready(self) -> None:
        """Return once it is up."""


class Subscribes(Connects, Protocol):
    """The broker, for consuming."""

    async def ready(self, queue: str) -> int:
        """How many messages of a queue no consumer holds.

        Raises:
            BrokerUnavailable: it does not answer.
        """

    def subscribe(
        self,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        max_bytes: int = sys.maxsize,
    ) -> Subscription:
        """A consumer; it begins by being entered.

        Args:
            queue: where from.
            prefetch: unsettled deliveries at a time.
            on_delivery: takes one delivery; each call runs in a task of its own.
            max_bytes: of unsettled bodies. The subscription ends before it has more, but always takes a single body.
        """


class Publishes(Protocol):
    """The broker, for publishing."""

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """Publish, and return once the broker has confirmed.

        Raises:
            PublishUnconfirmed: no confirm within so many seconds; it may still arrive.
            PublishRefused: a queue that it goes to takes no more; others may have it.
            TooLarge: the broker takes no body of this size, now or later.
            Unroutable: no queue is bound for it.
            Unencodable: AMQP cannot carry it as it is.
        """


class Fetches(Protocol):
    """The invoice API."""

    async def fetch(self, request: Request, *, last_look: Callable[[], None]) -> Response:
        """Send the request, and return what came back, be it an error.

        Args:
            request: what to ask.
            last_look: called just before it is sent; what it raises is raised here, and nothing is sent.

        Raises:
            ApiUnreachable: no answer at all.
            ApiUnavailable: the answer did not come whole in time.
        """

    def key_mark(self) -> object:
        """Something that differs when the key has changed."""


class Spools(Protocol):
    """The disk, where events wait for the broker."""

    async def put(self, spooled: Spooled) -> None:
        """Return once it is safe on disk.

        Raises:
            SpoolUnavailable: it is not; after a time-out it may still get there.
        """

    async def wait_for(self, source: str) -> None:
        """Return once an event of the source waits."""

    async def oldest(self, source: str, *, limit: int) -> Sequence[Any]:
        """The oldest of a source, each with what is `spooled`.

        Raises:
            SpoolUnavailable: they could not be read.
        """

    async def forget(self, source: str, items: Sequence[Any]) -> None:
        """They are published; whatever happened to the disk meanwhile, nothing else is taken away."""

    async def set_aside(self, source: str, item: Any, note: Callable[[Path], Spooled]) -> None:
        """Move an event to a file of its own, and put a note that names the file in its place; safe when it returns.

        Raises:
            SpoolUnavailable: it still waits as it did.
        """


class States(Protocol):
    """What the processes say of themselves to each other; nothing here raises."""

    def say_soon(self) -> None:
        """Say it now rather than at the next turn."""

    async def said(self) -> bool:
        """Return once the next state is confirmed; False: it is not within seconds, or the last one was not."""

    async def catch_up(self) -> bool:
        """Return once all that was said before this has been heard; False: it was not within seconds."""


class Batons(Protocol):
    """Where the lanes' batons lie; nothing here raises."""

    async def take(self, source: str) -> Baton | None:
        """The baton of a source's lane, taken away; None: there is none, or it cannot be had."""

    async def put(self, source: str, given: Baton, *, within: float) -> bool:
        """Put it there in place of any other; False: it was not confirmed in time, and may still get there."""


class Span(Protocol):
    """A piece of work, recorded or not; it ends with its block, or by `end`."""

    @property
    def context(self) -> TraceContext | None:
        """What goes on from here is part of this; None: it goes on as it is."""

    def outcome(self, word: str, *, error: str = "") -> None:
        """What came of it; an error's word makes it failed."""

    def answered(self, status: int) -> None:
        """The status of HTTP."""

    def end(self) -> None:
        """It is over."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Traces(Protocol):
    """Where spans go; nothing here waits or raises."""

    @property
    def are_on(self) -> bool:
        """Whether anything may be recorded."""

    def request(self, *, source: str, method: str, parent: TraceContext | None) -> Span:
        """A request at the door; its context is never None."""

    def publishing(self, message: Outgoing, *, anew: bool = False) -> Span:
        """A publish, in the message's trace; `anew`: in one that begins here, with a link to the message's."""

    def processing(self, message: Received, place: Place, *, since_ns: int | None = None) -> Span:
        """A delivery in the hands of a stage, since then (Unix nanoseconds) or now."""

    def calling(self, asked: Request, *, source: str, base_url: str, serving: Sequence[Any]) -> Span:
        """A call for all of these spans, linked with every one of them."""
