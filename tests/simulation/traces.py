"""The port `Traces` in memory: spans with ids that count, described by the real code."""

import itertools
from collections.abc import Sequence
from typing import Any, Self

from zenoti_ingest.core.events import spans
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.events.spans import Described, Place
from zenoti_ingest.core.events.trace_context import TraceContext, context, of_message
from zenoti_ingest.core.invoices.protocol import Request


class SimulatedSpan:
    """A span.

    Attributes:
        described: name and attributes.
        context: what goes on from it.
        outcomes: what was recorded, in order.
        has_ended: once or more often.
    """

    def __init__(self, described: Described, position: TraceContext, open_spans: dict["SimulatedSpan", None]) -> None:
        self.described, self.context, self.outcomes = described, position, list[str]()
        self.has_ended = False
        self._open = open_spans
        open_spans[self] = None

    def outcome(self, word: str, *, error: str = "") -> None:
        """Record it."""
        self.outcomes.append(f"{word}: {error}" if error else word)

    def answered(self, status: int) -> None:
        """Record it."""
        self.outcomes.append(str(status))

    def end(self) -> None:
        """It is over."""
        self.has_ended = True
        self._open.pop(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class SimulatedTraces:
    """The spans of a process.

    Args:
        number: of the process; no two processes of a world give the same ids.

    Attributes:
        open: spans that have begun and not ended: none, where a process is at rest.
        begun: how many there have been.
    """

    are_on = True

    def __init__(self, number: int) -> None:
        self.open: dict[SimulatedSpan, None] = {}
        self.begun = 0
        self._ids = itertools.count((number + 1) << 32)

    def request(self, *, source: str, method: str, parent: TraceContext | None) -> SimulatedSpan:
        """As the port says."""
        return self._begin(spans.request(source=source, method=method), parent)

    def publishing(self, message: Outgoing, *, anew: bool = False) -> SimulatedSpan:
        """As the port says."""
        return self._begin(spans.publishing(message), None if anew else of_message(message.headers))

    def processing(self, message: Received, place: Place, *, since_ns: int | None = None) -> SimulatedSpan:
        """As the port says."""
        del since_ns
        return self._begin(spans.processing(message, place), message.trace)

    def calling(self, asked: Request, *, source: str, base_url: str, serving: Sequence[Any]) -> SimulatedSpan:
        """As the port says."""
        contexts = [span.context for span in serving]
        described = spans.calling(asked, spans.server(base_url), source=source, events=len(serving))
        return self._begin(described, next(iter(contexts), None))

    def _begin(self, described: Described, parent: TraceContext | None) -> SimulatedSpan:
        self.begun += 1
        number = next(self._ids)
        trace_id = f"{number:032x}" if parent is None else parent.trace_id
        state = "" if parent is None else parent.state
        return SimulatedSpan(described, context(trace_id, f"{number:016x}", flags=1, state=state), self.open)
