"""Messages, events and answers for tests: every part has a default, so a test names only what it is about."""

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.reading import Event
from zenoti_ingest.core.events.trace_context import TraceContext
from zenoti_ingest.core.intake.admission import signature
from zenoti_ingest.core.invoices.protocol import Response
from zenoti_schemas.enriched import Enrichment

DATA = Path(__file__).parent / "data"
INVOICE_ID = "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0001"
ZERO_ID = "00000000-0000-0000-0000-000000000000"
RECEIPT_ID = "01985a3e-7c40-7abc-8def-0123456789ab"
RECEIVED_AT = "2031-05-06T17:08:10.000001Z"

# Objects that the tolerant readers have no opinion on: the envelope knows no name in them.
_names = st.text(alphabet="klmnopq_", min_size=1, max_size=8).map("x_".__add__)
_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values: st.SearchStrategy[Any] = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=6,
)
json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(_names, json_values, max_size=4)


def data(name: str) -> bytes:
    """A file of tests/data, byte for byte."""
    return (DATA / name).read_bytes()


def received(
    *,
    body: bytes = b"{}",
    source: str = "main",
    receipt_id: str = RECEIPT_ID,
    received_at: str = RECEIVED_AT,
    path_type: str = "",
    content_type: str | None = "application/json",
    content_encoding: str | None = None,
    attempts: int = 1,
    replay: str = "",
    redriven: bool = False,
    trace: TraceContext | None = None,
) -> Received:
    """A webhook as the door took it."""
    return Received(
        body=body,
        source=source,
        receipt_id=receipt_id,
        received_at=received_at,
        path_type=path_type,
        content_type=content_type,
        content_encoding=content_encoding,
        attempts=attempts,
        replay=replay,
        redriven=redriven,
        trace=trace,
    )


def event(
    *,
    id: str = "64f1c0de5a5e0a0001ab0001.0123456789abcdef",  # noqa: A002  # the field's own name
    event_id: str | None = "64f1c0de5a5e0a0001ab0001",
    type: str = "invoice.closed",  # noqa: A002  # the field's own name
    invoice_id: str | None = INVOICE_ID,
    subject: str | None = INVOICE_ID,
    time: str | None = "2031-05-06T17:08:09.1234567Z",
    center_id: str | None = "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0003",
    body: bytes = b'{"data": {"total": 0.10}}',
    message: Received | None = None,
) -> Event:
    """An event as translate reads it."""
    return Event(
        id=id,
        event_id=event_id,
        type=type,
        invoice_id=invoice_id,
        subject=subject,
        time=time,
        center_id=center_id,
        body=body,
        received=message or received(body=body),
    )


def enrichment(
    *,
    status: Any = "enriched",
    expand: tuple[str, ...] = ("InvoiceItems",),
    missing: tuple[str, ...] = (),
    fetched_at: str | None = "2031-05-06T17:08:11.000000Z",
    reason: str | None = None,
) -> Enrichment:
    """How an invoice came about."""
    return Enrichment(status=status, expand=expand, missing=missing, fetched_at=fetched_at, reason=reason)


def envelope_body(*, data: Any = None, event_type: str | None = "Invoice.Closed", **fields: Any) -> bytes:
    """A webhook's body: the envelope with the fields given, and `data` in it."""
    whole = {
        "id": "64f1c0de5a5e0a0001ab0002",
        "event_id": "64f1c0de5a5e0a0001ab0001",
        "event_type": event_type,
        "event_timestamp": "2031-05-06T17:08:09.1234567Z",
        "data": {} if data is None else data,
        **fields,
    }
    return msgspec.json.encode(whole)


def invoice_closed_body(*, invoice_id: Any = INVOICE_ID, **fields: Any) -> bytes:
    """The body of an Invoice.Closed."""
    return envelope_body(data={"invoice": {"id": invoice_id, "invoice_number": "1001"}}, **fields)


def answer(*, status: int = 200, body: bytes = b"", **headers: str) -> Response:
    """What the invoice API answers; an underscore in a header's name stands for a dash."""
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def invoice_answer(*, invoice: bytes = b'{"id": "%s"}' % INVOICE_ID.encode()) -> Response:
    """The answer that holds an invoice."""
    return answer(body=b'{"invoice": ' + invoice + b', "error": null}')


def signature_text(body: bytes, *, secret: bytes = b"test-secret") -> str:
    """The value of the signature header, spelled as Zenoti does."""
    return "sha256 =" + signature(body, secret=secret).hex("-").upper()
