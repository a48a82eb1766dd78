import zlib
from typing import Any

import pytest

from tests.builders import INVOICE_ID, RECEIPT_ID, RECEIVED_AT, invoice_closed_body, received
from zenoti_ingest.core.operating.archive_entries import Entry, Wanted, entry

BEFORE, AFTER = "2031-05-06T17:08:10.000000Z", "2031-05-06T17:08:10.000002Z"


def closed(**more: Any) -> Entry:
    """The entry of an Invoice.Closed."""
    return entry(received(body=invoice_closed_body(), **more), offset=7)


def test_an_entry_shows_what_it_is_without_its_body() -> None:
    """An entry has receipt, time, source, type, event and invoice id, and the bytes on the wire."""
    found = closed()
    assert (found.receipt_id, found.received_at, found.source) == (RECEIPT_ID, RECEIVED_AT, "main")
    assert (found.type, found.event_id, found.invoice_id) == ("invoice.closed", "64f1c0de5a5e0a0001ab0001", INVOICE_ID)
    assert (found.bytes, found.offset, found.malformed) == (len(invoice_closed_body()), 7, "")


def test_a_compressed_body_is_read_and_counted_as_it_came() -> None:
    """A compressed body is read inflated; its bytes are those on the wire."""
    body = zlib.compress(invoice_closed_body())
    found = entry(received(body=body, content_encoding="deflate"), offset=0)
    assert (found.type, found.bytes) == ("invoice.closed", len(body))


@pytest.mark.parametrize("body", [b"", b"\xff", b"not JSON", b'{"data":{"invoice":{"id":"../.."}}}'])
def test_a_malformed_body_is_an_entry_too(body: bytes) -> None:
    """What cannot be read stops nothing: the entry says why, and never what stood there."""
    found = entry(received(body=body), offset=0)
    assert found.malformed
    assert "../.." not in found.malformed
    assert found.receipt_id == RECEIPT_ID


def test_an_entry_without_an_event_id() -> None:
    """It has the CloudEvent's id alone."""
    found = entry(received(body=b"[]"), offset=0)
    assert (found.event_id, found.cloudevent_id[:7]) == ("", "sha256:")


@pytest.mark.parametrize(
    ("wanted", "covered"),
    [
        (Wanted(since=BEFORE), True),
        (Wanted(since=RECEIVED_AT), True),
        (Wanted(since=AFTER), False),
        (Wanted(since=BEFORE, until=AFTER), True),
        (Wanted(since=BEFORE, until=RECEIVED_AT), False),
        (Wanted(since=BEFORE, source="main"), True),
        (Wanted(since=BEFORE, source="other"), False),
    ],
)
def test_headers_show_time_and_source(wanted: Wanted, *, covered: bool) -> None:
    """`since` is in, `until` is out, and a source is matched whole, all without reading the body."""
    assert wanted.covers(received(body=b"not JSON")) is covered
    assert not wanted.asks_bodies


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({"type": "Invoice.Closed"}, True),
        ({"type": "invoice.*"}, True),
        ({"type": "Invoice.#"}, True),
        ({"type": "guest.*"}, False),
        ({"type": "invoice"}, False),
        ({"invoice": INVOICE_ID}, True),
        ({"invoice": "another"}, False),
        ({"type": "invoice.closed", "invoice": "another"}, False),
    ],
)
def test_bodies_show_type_and_invoice(wanted: dict[str, str], *, taken: bool) -> None:
    """A type is meant in any spelling or by a pattern; an invoice by its id."""
    asked = Wanted(since=BEFORE, **wanted)
    assert asked.asks_bodies
    assert asked.takes(closed()) is taken


def test_an_entry_bears_its_ids() -> None:
    """An entry is found by the CloudEvent's id, the envelope's, the invoice's, the receipt's, and by nothing else."""
    found = closed()
    assert found.cloudevent_id.startswith(f"{found.event_id}.")
    assert all(map(found.bears, (found.cloudevent_id, found.event_id, found.invoice_id, found.receipt_id)))
    assert not found.bears("main")
