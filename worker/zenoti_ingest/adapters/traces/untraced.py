"""No spans (null object): a context passes through; the door makes one where none came, so that ids hold together."""

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
        """Nothing."""

    def answered(self, status: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""


NO_SPAN = NoSpan(None)


class Untraced:
    """The port `Traces`, recording nothing."""

    are_on = False

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:  # a test may repeat its bytes
        self._random_bytes = random_bytes

    def request(self, *, source: str, method: str, parent: TraceContext | None) -> NoSpan:
        """A span with the caller's context, or a new one."""
        del source, method
        return NoSpan(parent or begun(self._random_bytes(_CONTEXT_BYTES)))

    def publishing(self, message: Outgoing, *, anew: bool = False) -> NoSpan:
        """Nothing: the message goes on in its own trace."""
        del message, anew
        return NO_SPAN

    def processing(self, message: Received, place: Place, *, since_ns: int | None = None) -> NoSpan:
        """Nothing: the message goes on in its own trace."""
        del message, place, since_ns
        return NO_SPAN

    def calling(self, asked: Request, *, source: str, base_url: str, serving: Sequence[Any]) -> NoSpan:
        """Nothing."""
        del asked, source, base_url, serving
        return NO_SPAN

    async def close(self) -> None:
        """Nothing."""


UNTRACED = Untraced()
