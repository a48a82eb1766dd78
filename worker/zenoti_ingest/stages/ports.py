"""The ports of the stages (hexagonal architecture): what they need of the world, with what it may raise.

Each has a contract suite in tests/contract, passed by the real adapter and by the fake of the tests.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.events.spans import Place
from zenoti_ingest.core.events.trace_context import TraceContext
from zenoti_ingest.core.intake.spool_record import Spooled
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.invoices.protocol import Request, Response


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
