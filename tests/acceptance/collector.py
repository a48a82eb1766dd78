"""A collector of traces for tests: OTLP over HTTP on 127.0.0.1, and what it was sent."""

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Takes spans.

    Attributes:
        spans: by service name, as they came.
        url: for OTEL_EXPORTER_OTLP_ENDPOINT.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.raw = b""
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on any port."""
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def of(self, trace_id: str) -> dict[str, Span]:
        """The spans of a trace, by name."""
        return {span.name: span for _, span in self.spans if span.trace_id.hex() == trace_id}

    async def _take(self, request: web.Request) -> web.Response:
        content = await request.read()
        self.raw += content
        sent = ExportTraceServiceRequest.FromString(content)
        for resource in sent.resource_spans:
            services = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            found = (span for scope in resource.scope_spans for span in scope.spans)
            self.spans += [(services["service.name"], span) for span in found]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def attributes_of(span: Span) -> dict[str, str | int]:
    """A span's attributes."""
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}
