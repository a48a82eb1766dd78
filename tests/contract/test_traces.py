"""Traces: one contract for the port that records nothing, the simulated one, and OpenTelemetry's."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.simulation.traces import SimulatedTraces
from tests.way import event
from zenoti_ingest.adapters.traces import UNTRACED
from zenoti_ingest.adapters.traces.otel import OtelTraces
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.events.spans import Place
from zenoti_ingest.core.events.trace_context import TraceContext, context
from zenoti_ingest.core.invoices.protocol import request as invoice_request
from zenoti_ingest.stages.ports import Span, Traces

CALLER = context("a" * 32, "b" * 16, flags=1, state="vendor=1")
PLACE = Place(stage="enrich", queue="lane", exchange="work", routing_key="lane", delivery_tag=1)
MESSAGE = Outgoing(
    exchange="events", routing_key="main.guest.created", body=b"{}", message_id="e-1", headers=CALLER.headers()
)


@pytest.fixture(params=["untraced", "simulated", "otel"])
def traces(request: pytest.FixtureRequest) -> Iterator[Traces]:
    """Each of them."""
    provider = TracerProvider(shutdown_on_exit=False)
    found: dict[str, Traces] = {
        "untraced": UNTRACED,
        "simulated": SimulatedTraces(0),
        "otel": OtelTraces(provider),
    }
    yield found[request.param]
    provider.shutdown()


def all_spans(traces: Traces) -> list[Span]:
    """A span of each kind."""
    received = event(b"{}", trace=CALLER)
    processing = traces.processing(received, PLACE, since_ns=1)
    asked = invoice_request("i-1", expand=())
    return [
        traces.request(source="main", method="POST", parent=CALLER),
        traces.publishing(MESSAGE),
        traces.publishing(MESSAGE, anew=True),
        processing,
        traces.calling(asked, source="main", base_url="https://api.example.test", serving=[processing]),
    ]


def trace_of(span: Span) -> str | None:
    """The id of the trace that goes on from a span; None: the message keeps its own."""
    return span.context.trace_id if isinstance(span.context, TraceContext) else None


def test_a_request_stays_in_its_callers_trace(traces: Traces) -> None:
    """Its context is of the caller's trace."""
    assert trace_of(traces.request(source="main", method="POST", parent=CALLER)) == CALLER.trace_id


def test_a_request_without_a_trace_begins_one(traces: Traces) -> None:
    """Each such request has a context of its own."""
    begun = {trace_of(traces.request(source="main", method="POST", parent=None)) for _ in range(9)}
    assert len(begun) == 9
    assert None not in begun


def test_a_message_stays_in_its_trace(traces: Traces) -> None:
    """What is published or processed goes on in the message's trace."""
    for span in (traces.publishing(MESSAGE), traces.processing(event(b"{}", trace=CALLER), PLACE)):
        assert trace_of(span) in (None, CALLER.trace_id)


def test_spans_never_raise(traces: Traces) -> None:
    """Whatever a stage reports, in any order, twice, or after the end, nothing is raised."""
    for span in all_spans(traces):
        span.outcome("enriched")
        span.outcome("dead-letter", error="Malformed")
        span.answered(503)
        span.end()
        span.end()
        span.outcome("late")


def test_a_block_lets_its_error_through(traces: Traces) -> None:
    """An error within a span's block is not swallowed, and none is added."""
    for span in all_spans(traces):
        with pytest.raises(ZeroDivisionError), span:
            raise ZeroDivisionError
