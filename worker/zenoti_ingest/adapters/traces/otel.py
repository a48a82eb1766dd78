"""Spans by OpenTelemetry's SDK: begun and ended here, described by `core/events/spans`, exported by the SDK's thread.

Only this module imports opentelemetry. Nothing here waits: spans that the collector does not take in time are dropped.
"""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.span import TraceState

from zenoti_ingest.core.events import spans
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.events.spans import Described, Place
from zenoti_ingest.core.events.trace_context import TraceContext, context, of_message
from zenoti_ingest.core.invoices.protocol import Request
from zenoti_ingest.telemetry import log

FLUSH_SECONDS: Final = 3.0  # at the end, to export the remaining spans
_KINDS: Final = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}
_FAILED: Final = trace.Status(trace.StatusCode.ERROR)
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_ROOT: Final = Context()
_server = lru_cache(maxsize=64)(spans.server)  # base URLs of the sources


class OtelSpan:
    """A span; it ends with its `with` block, or by `end`."""

    __slots__ = ("_has_failed", "_is_server", "_span", "context")

    def __init__(self, span: trace.Span, *, is_server: bool) -> None:
        self._span, self._is_server, self._has_failed = span, is_server, False
        self.context = _trace_context(span.get_span_context())

    def outcome(self, word: str, *, error: str = "") -> None:
        """Record the outcome; an error word marks the span as failed."""
        self._span.set_attribute(spans.OUTCOME, word)
        if error:
            self.failed(error)

    def answered(self, status: int) -> None:
        """Record the HTTP status. 4xx is a failure of a client's span only, 5xx of every span."""
        self._span.set_attribute(spans.STATUS, status)
        if status >= (_SERVER_ERROR if self._is_server else _CLIENT_ERROR):
            self.failed(str(status))

    def failed(self, error: str) -> None:
        """Mark the span as failed, with a short reason."""
        self._has_failed = True
        self._span.set_attribute(spans.ERROR, error)
        self._span.set_status(_FAILED)

    def end(self) -> None:
        """End the span."""
        self._span.end()

    def link(self, other: "OtelSpan") -> None:
        """Link this span to another."""
        self._span.add_link(_span_context(other.context))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the span. It reports an exception's type but never its text, which may quote a customer's value."""
        del error, traceback
        if kind is not None and not self._has_failed:
            self.failed(kind.__name__)
        self.end()


class OtelTraces:
    """The port `Traces`, over a provider of the SDK."""

    are_on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("zenoti-ingest")

    def request(self, *, source: str, method: str, parent: TraceContext | None) -> OtelSpan:
        """A request at the door."""
        return self._begin(spans.request(source=source, method=method), parent)

    def publishing(self, message: Outgoing, *, anew: bool = False) -> OtelSpan:
        """A publish, in the message's trace; `anew`: in a new trace, with a link to the message's."""
        before = of_message(message.headers)
        if anew:
            return self._begin(spans.publishing(message), None, links=_links([before]))
        return self._begin(spans.publishing(message), before)

    def processing(self, message: Received, place: Place, *, since_ns: int | None = None) -> OtelSpan:
        """A stage processes a delivery, since `since_ns` (Unix nanoseconds) or from now on."""
        return self._begin(spans.processing(message, place), message.trace, since_ns=since_ns)

    def calling(self, asked: Request, *, source: str, base_url: str, serving: Sequence[OtelSpan]) -> OtelSpan:
        """A call that serves several spans: it joins the first recorded trace among them, and is linked with each."""
        contexts = [span.context for span in serving]
        parent = next((known for known in contexts if known.is_sampled), next(iter(contexts), None))
        described = spans.calling(asked, _server(base_url), source=source, events=len(serving))
        call = self._begin(described, parent, links=_links(contexts))
        for span in serving:
            span.link(call)
        return call

    async def close(self) -> None:
        """Export the remaining spans within FLUSH_SECONDS; drop what takes longer."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await ended.wait()
        except TimeoutError:
            log.warning("traces_unexported", detail=f"the last spans, within {FLUSH_SECONDS:g} s")

    def _begin(
        self,
        described: Described,
        parent: TraceContext | None,
        *,
        links: Sequence[trace.Link] = (),
        since_ns: int | None = None,
    ) -> OtelSpan:
        within = _ROOT
        if parent is not None:
            within = trace.set_span_in_context(trace.NonRecordingSpan(_span_context(parent)), _ROOT)
        kind = _KINDS[described.kind]
        span = self._tracer.start_span(
            described.name, within, kind, described.attributes, links=links, start_time=since_ns
        )
        return OtelSpan(span, is_server=kind is trace.SpanKind.SERVER)


class FailureLogging(SpanExporter):
    """An exporter that logs once when it begins to fail, and once when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans; a failure drops them."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001  # of any library: a failed export is worth a log line, not more
            result = SpanExportResult.FAILURE
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            log.warning("traces_unexported", detail="the collector takes no spans; they are dropped until it does")
        elif self._fails and not fails:
            log.info("traces_exported_again")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """Stop exporting."""
        self._exporter.shutdown()


def exporting(*, service: str, version: str) -> TracerProvider:
    """A provider that exports in batches, set up by the environment variables of the SDK."""
    ours = Resource({"service.name": service, "service.version": version})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(FailureLogging(OTLPSpanExporter())))
    return provider


def _links(contexts: Sequence[TraceContext | None]) -> list[trace.Link]:
    return [trace.Link(_span_context(known)) for known in contexts if known is not None]


def _span_context(of: TraceContext) -> trace.SpanContext:
    return trace.SpanContext(
        int(of.trace_id, 16),
        int(of.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(of.flags),
        trace_state=TraceState.from_header([of.state]) if of.state else None,
    )


def _trace_context(at: trace.SpanContext) -> TraceContext:
    state = at.trace_state.to_header() if at.trace_state else ""
    return context(f"{at.trace_id:032x}", f"{at.span_id:016x}", flags=at.trace_flags, state=state)
