import asyncio
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.collector import Collector, attributes_of
from tests.acceptance.conftest import ROOT, System, event_id, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

GUEST = "Canary-Guest-7731"
BODY = b'{"event_id":"%s","event_type":"Invoice.Closed","data":{"invoice":{"id":"i-1"},"guest":"%s"}}'
CALL = "GET /v1/invoices/{invoice_id}"
DOOR = "POST /webhooks/{source}"
TRACED = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "10"}
ERROR = 2


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector."""
    made = Collector()
    await made.start()
    yield made
    await made.stop()


def parent() -> tuple[str, str]:
    """A caller's trace: its id, and the header."""
    trace_id = secrets.token_hex(16)
    return trace_id, f"00-{trace_id}-{secrets.token_hex(8)}-01"


async def post(system: System, body: bytes, **headers: str) -> None:
    """A signed webhook, which is taken."""
    url = system.door + "?token=secret-of-the-query"
    status, _, _ = await http("POST", url, body=body, headers={**signed(body), **headers})
    assert status == 202


def webhook(event_id: str) -> bytes:
    """An event of invoice i-1, with a guest's name in it."""
    return BODY % (event_id.encode(), GUEST.encode())


async def test_an_event_is_one_trace_from_door_to_downstream(
    system: System, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trace in the caller's, each span beneath the span before it; a redriven letter begins another, linked.

    The message downstream names the last span, and nothing of the customer or of a query is shown.
    """
    for name, value in {**TRACED, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}.items():
        monkeypatch.setenv(name, value)
    await system.start()
    trace_id, header = parent()
    await post(system, webhook("e-1"), traceparent=header, tracestate="vendor=1")
    [out] = await system.take("out.all", 1)
    prefix = system.prefix
    chain = [
        DOOR,
        f"publish {prefix}.intake:main",
        f"process {prefix}.intake:main:{prefix}.raw.main",
        f"publish {prefix}.work:{prefix}.enrich.main.0",
        f"process {prefix}.work:{prefix}.enrich.main.0",
        f"publish {prefix}.events:main.invoice.closed",
    ]
    await eventually(lambda: len(collector.of(trace_id)) == len(chain) + 1, within=10)
    spans = collector.of(trace_id)
    above = [header.split("-")[2], *(spans[name].span_id.hex() for name in chain)]
    assert [spans[name].parent_span_id.hex() for name in chain] == above[:-1]
    process = spans[chain[4]]
    assert spans[CALL].parent_span_id == process.span_id
    assert [link.span_id for link in process.links] == [spans[CALL].span_id]
    assert [link.span_id for link in spans[CALL].links] == [process.span_id]
    assert out.headers["traceparent"] == f"00-{trace_id}-{above[-1]}-01"
    assert out.headers["tracestate"] == "vendor=1"
    assert "ce-traceparent" not in out.headers
    assert attributes_of(spans[DOOR])["http.response.status_code"] == 202
    assert attributes_of(process)["zenoti.outcome"] == "enriched"
    assert {name for name, span in collector.spans} == {"zenoti-ingest-intake", "zenoti-ingest-consume"}

    trace_id, header = parent()
    await post(system, b"no JSON", traceparent=header)
    await eventually(lambda: system.depth("dead"), within=10)
    await eventually(lambda: f"publish {prefix}.work:{prefix}.dead" in collector.of(trace_id), within=10)
    assert collector.of(trace_id)[chain[2]].status.code == ERROR
    code, _, _ = await system.run("dead", "redrive", "--all")
    assert code == 0
    redriven = next(span for name, span in collector.spans if name == "zenoti-ingest-redrive")
    dead = collector.of(trace_id)[f"publish {prefix}.work:{prefix}.dead"]
    assert not redriven.parent_span_id
    assert [(link.trace_id, link.span_id) for link in redriven.links] == [(dead.trace_id, dead.span_id)]
    again = f"process {prefix}.work:{prefix}.raw.main"
    await eventually(lambda: again in collector.of(redriven.trace_id.hex()), within=10)

    assert await system.terminate("consume") == 0
    assert await system.terminate("intake") == 0
    assert GUEST.encode() not in collector.raw
    assert b"secret-of-the-query" not in collector.raw
    assert b"expand" not in collector.raw


async def test_without_the_extra_all_works_and_contexts_pass(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenTelemetry is not installed each daemon says so; a context arrives, or is made.

    A malformed context counts as none, and the ids of the log hold together.
    """
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "opentelemetry.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(blocked))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    await system.start()
    trace_id, header = parent()
    await post(system, webhook("e-1"), traceparent=header)
    await post(system, webhook("e-2"))
    await post(system, webhook("e-3"), traceparent=header.replace("00-", "ff-", 1))
    out = {event_id(message): str(message.headers["traceparent"]) for message in await system.take("out.all", 3)}
    assert out["e-1"] == header
    made = {out[name].split("-")[1] for name in ("e-2", "e-3")}
    assert len(made | {trace_id}) == 3
    assert all(out[name].endswith("-00") for name in ("e-2", "e-3"))
    door = [json.loads(line) for line in system.log("intake").splitlines()]
    assert {line["trace_id"] for line in door if line["event"] == "door_request"} == made | {trace_id}
    for name in ("intake", "consume"):
        off = [line for line in system.log(name).splitlines() if "traces_off" in line]
        assert len(off) == 1
        assert "zenoti-ingest[otel]" in off[0]


async def test_a_collector_that_never_answers_holds_nobody_up(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events flow, the daemons end within their deadline with 0, and the log has at most two lines about spans."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes connections, nobody answers
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        await system.start()
        for number in range(20):
            await post(system, webhook(f"e-{number}"))
        await system.take("out.all", 20)
        codes = await asyncio.gather(system.terminate("intake", within=8), system.terminate("consume", within=8))
    assert list(codes) == [0, 0]
    for name in ("intake", "consume"):
        lines = system.log(name).splitlines()
        assert 1 <= sum("traces_unexported" in line for line in lines) <= 2
        assert not [line for line in lines if "opentelemetry" in line or "Traceback" in line]


async def test_starting_imports_nothing_of_opentelemetry() -> None:
    """Where no collector is named, not one module of the extra is imported: starting takes no longer."""
    extra = "any(name.partition('.')[0] == 'opentelemetry' for name in sys.modules)"
    code = f"import sys, zenoti_ingest.__main__; sys.exit({extra})"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT)
    assert await process.wait() == 0
