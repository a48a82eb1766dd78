"""Spans of the stages on a real RabbitMQ, kept in memory; and the set-up by the environment."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, StatusCode
from structlog.testing import capture_logs

from tests.eventually import eventually
from tests.fakes import NOT_FOUND
from tests.way import Way, answer, body, event, event_ids, knows, path
from zenoti_ingest.adapters.traces import UNTRACED, open_traces, otel
from zenoti_ingest.adapters.traces.otel import FailureLogging, OtelTraces
from zenoti_ingest.core.events.trace_context import context, of_message
from zenoti_ingest.core.invoices.protocol import Response

TRACE = context("a" * 32, "b" * 16, flags=1, state="vendor=1")
NOBODY_RECORDS = context("c" * 32, "d" * 16)
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


class Recorded:
    """What was recorded."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self.traces = OtelTraces(self.provider)

    async def spans(self, count: int) -> list[ReadableSpan]:
        """So many spans, by their begin."""
        await eventually(lambda: len(self._memory.get_finished_spans()) >= count)
        found = self._memory.get_finished_spans()
        assert len(found) == count
        return sorted(found, key=lambda span: (span.start_time or 0, span.name))


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A provider that keeps its spans."""
    made = Recorded()
    yield made
    made.provider.shutdown()


def span_id(of: ReadableSpan | Link) -> str:
    """As in `traceparent`."""
    assert of.context is not None
    return f"{of.context.span_id:016x}"


def trace_id(of: ReadableSpan) -> str:
    """As in `traceparent`."""
    assert of.context is not None
    return f"{of.context.trace_id:032x}"


def parents(spans: Sequence[ReadableSpan]) -> dict[str, str]:
    """The name of each span's parent, by its own name; empty: it is not among them."""
    names = {span_id(span): span.name for span in spans}
    return {span.name: names.get(f"{span.parent.span_id:016x}", "") if span.parent else "" for span in spans}


async def test_without_spans_the_context_passes_through_stages_and_retries(way: Way) -> None:
    """Untraced, a message's context arrives downstream as it came, through lane and retry ladder."""
    api = knows()
    api.will(path("i-1"), Response(500, {}, b""), answer("i-1"))
    async with way.running(way.translate(), way.lane(api)):
        await way.put(way.raw, event(body("e-1", invoice="i-1"), trace=TRACE))
        [came] = await way.came()
    assert of_message(came.headers) == TRACE
    assert "ce-traceparent" not in came.headers


async def test_an_event_that_is_retried_stays_in_one_trace(way: Way, recorded: Recorded) -> None:
    """Each attempt is a span of the same trace; a failed attempt and its call are errors; the last publish goes out."""
    api = knows()
    api.will(path("i-1"), NOT_FOUND, answer("i-1"))
    async with way.running(way.translate(traces=recorded.traces), way.lane(api, traces=recorded.traces)):
        await way.put(way.raw, event(body("e-1", invoice="i-1"), trace=TRACE))
        [came] = await way.came()
        spans = await recorded.spans(8)
    assert {trace_id(span) for span in spans} == {TRACE.trace_id}
    process = [span for span in spans if span.attributes and span.attributes.get("zenoti.stage") == "enrich"]
    attempts = [span for span in process if span.kind is SpanKind.CONSUMER]
    outcomes = [
        ((span.attributes or {})["zenoti.attempt"], (span.attributes or {})["zenoti.outcome"]) for span in attempts
    ]
    assert outcomes == [(1, "retried"), (2, "enriched")]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.UNSET]
    calls = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert [(call.attributes or {})["http.response.status_code"] for call in calls] == [418, 200]
    assert [call.status.status_code for call in calls] == [StatusCode.ERROR, StatusCode.UNSET]
    out = next(span for span in spans if span.name == f"publish {way.names.events}:main.invoice.closed")
    found = of_message(came.headers)
    assert found is not None
    assert found.span_id == span_id(out)
    assert found.state == TRACE.state


async def test_a_call_for_several_events_is_linked_with_each(way: Way, recorded: Recorded) -> None:
    """Two events of an invoice share a call: it is part of the first event's trace, and both are linked with it."""
    other = context("e" * 32, "f" * 16, flags=1)
    first, second = body("e-1", invoice="i-1"), body("e-2", invoice="i-1")
    await way.put(way.lane_queue, event(first, trace=TRACE), event(second, number=1, trace=other))
    async with way.running(way.lane(knows("i-1"), traces=recorded.traces)):
        await way.came(2)
        spans = await recorded.spans(5)
    [call] = [span for span in spans if span.kind is SpanKind.CLIENT]
    consumed = [span for span in spans if span.kind is SpanKind.CONSUMER]
    assert {span_id(link) for link in call.links} == {span_id(span) for span in consumed}
    for span in consumed:
        assert [span_id(link) for link in span.links] == [span_id(call)]
    assert trace_id(call) == TRACE.trace_id
    assert (call.attributes or {})["zenoti.events"] == 2


async def test_what_nobody_records_is_not_recorded_here_either(way: Way, recorded: Recorded) -> None:
    """A context that is not sampled goes on so, in its own trace; the call is of the event that is recorded."""
    quiet, traced = body("e-1", invoice="i-1"), body("e-2", invoice="i-1")
    await way.put(way.lane_queue, event(quiet, trace=NOBODY_RECORDS), event(traced, number=1, trace=TRACE))
    async with way.running(way.lane(knows("i-1"), traces=recorded.traces)):
        came = {event_ids([m])[0]: of_message(m.headers) for m in await way.came(2)}
        spans = await recorded.spans(3)
    found = came["e-1"]
    assert found is not None
    assert (found.trace_id, found.is_sampled) == (NOBODY_RECORDS.trace_id, False)
    assert {trace_id(span) for span in spans} == {TRACE.trace_id}


async def test_a_dead_letter_bears_the_trace_that_failed(way: Way, recorded: Recorded) -> None:
    """A malformed body is an error of its stage, whose word is the letter's reason; the letter is of the same trace."""
    async with way.running(way.translate(traces=recorded.traces)):
        await way.put(way.raw, event(b"no JSON", trace=TRACE))
        [letter] = await way.came(queue=way.names.dead)
        spans = await recorded.spans(2)
    assert letter.headers["traceparent"].split("-")[1] == TRACE.trace_id
    process = next(span for span in spans if span.kind is SpanKind.CONSUMER)
    attributes = process.attributes or {}
    assert (attributes["zenoti.outcome"], attributes["error.type"]) == ("dead-letter", "malformed")
    assert process.status.status_code is StatusCode.ERROR
    assert parents(spans)[f"publish {way.names.work}:{way.names.dead}"] == process.name


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**COLLECTOR, "OTEL_SDK_DISABLED": "true"},
        {**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "a name alone"},
    ],
)
def test_without_a_collector_nothing_is_traced(environ: dict[str, str]) -> None:
    """Where the environment names no collector, or says no, there are no spans, and no word about it."""
    with capture_logs() as lines:
        assert open_traces(environ, service="s", version="1") is UNTRACED
    assert lines == []


@pytest.mark.parametrize("protocol", ["grpc", "http/json"])
def test_another_protocol_is_reported(protocol: str) -> None:
    """An unsupported protocol is reported with the supported protocol, and stops nothing."""
    with capture_logs() as lines:
        assert open_traces({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}, service="s", version="1") is UNTRACED
    assert [line["event"] for line in lines] == ["traces_off"]
    assert "http/protobuf" in lines[0]["detail"]


def test_what_the_sdk_refuses_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that OpenTelemetry's SDK rejects is reported, and stops nothing."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with capture_logs() as lines:
        assert open_traces(COLLECTOR, service="s", version="1") is UNTRACED
    assert [line["event"] for line in lines] == ["traces_off"]


def test_a_collector_that_fails_is_reported_once() -> None:
    """However often exporting fails, by a result or an exception, the log has a line; and one when it is well again."""
    results: list[SpanExportResult | Exception] = [
        SpanExportResult.SUCCESS,
        SpanExportResult.FAILURE,
        ValueError("of a library"),
        SpanExportResult.FAILURE,
        SpanExportResult.SUCCESS,
        SpanExportResult.SUCCESS,
    ]

    class Fickle(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            del spans
            result = results.pop(0)
            if isinstance(result, Exception):
                raise result
            return result

    exporter = FailureLogging(Fickle())
    with capture_logs() as lines:
        while results:
            exporter.export([])
    assert [line["event"] for line in lines] == ["traces_unexported", "traces_exported_again"]


class Batched(SpanExporter):
    """Keeps the names of what it was given; before `opened` is set it hangs."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.opened = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep them, once that is opened."""
        self.opened.wait(5)
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


@pytest.fixture
def batched() -> Iterator[tuple[Batched, OtelTraces]]:
    """Spans that wait for a minute, unless they are asked for."""
    exporter = Batched()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    yield exporter, OtelTraces(provider)
    exporter.opened.set()
    provider.shutdown()


async def test_the_end_exports_what_waits(batched: tuple[Batched, OtelTraces]) -> None:
    """Spans that have not been exported yet are, before the process ends."""
    exporter, traces = batched
    exporter.opened.set()
    traces.request(source="main", method="POST", parent=None).end()
    await traces.close()
    assert exporter.names == ["POST /webhooks/{source}"]


async def test_the_end_waits_no_longer_than_it_may(
    batched: tuple[Batched, OtelTraces], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that hangs is given up, and the log says so."""
    exporter, traces = batched
    monkeypatch.setattr(otel, "FLUSH_SECONDS", 0.2)
    traces.request(source="main", method="POST", parent=None).end()
    with capture_logs() as lines:
        await traces.close()
    assert exporter.names == []
    assert [line["event"] for line in lines] == ["traces_unexported"]
