"""No spans (null object): a trace context passes through. The door makes a context if none came, so that ids match."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.events.spans import Place
from zenoti_ingest.core.events.trace_context import TraceContext, begun
from zenoti_ingest.core.invoices.protocol import Request

_CONTEXT_BYTES = 24


class NoSpan:
    """Records nothing."""

    __slots__ = ("context",)

    def __init__(self, context: TraceContext | None) -> None:
        self.context = context

    def outcome(self, word: str, *, error: str = "") -> None:
        """Do nothing."""

    def answered(self, status: int) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


NO_SPAN = NoSpan(None)


class Untraced:
    """The port `Traces`, recording nothing."""

    are_on = False

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:  # a test may repeat its bytes
        self._random_bytes = random_bytes

    def request(self, *, source: str, method: str, parent: TraceContext | None) -> NoSpan:
        """A span with the caller's context, or with a new context."""
        del source, method
        return NoSpan(parent or begun(self._random_bytes(_CONTEXT_BYTES)))

    def publishing(self, message: Outgoing, *, anew: bool = False) -> NoSpan:
        """Do nothing: the message goes on in its own trace."""
        del message, anew
        return NO_SPAN

    def processing(self, message: Received, place: Place, *, since_ns: int | None = None) -> NoSpan:
        """Do nothing: the message goes on in its own trace."""
        del message, place, since_ns
        return NO_SPAN

    def calling(self, asked: Request, *, source: str, base_url: str, serving: Sequence[Any]) -> NoSpan:
        """Do nothing."""
        del asked, source, base_url, serving
        return NO_SPAN

    async def close(self) -> None:
        """Do nothing."""


UNTRACED = Untraced()
