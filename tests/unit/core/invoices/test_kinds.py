"""The kinds of things to fetch."""

import pytest

from zenoti_ingest.core.invoices import kinds
from zenoti_ingest.core.invoices.kinds import INVOICE, KINDS, Kind, kind_of
from zenoti_ingest.core.invoices.protocol import Invoice, Request


def test_an_id_alone_is_an_invoices() -> None:
    """A fetch key without a colon is the id of an invoice, which is asked for with its parts."""
    kind, invoice_id = kind_of("0f1e-2d")
    assert (kind.word, kind.has_parts, invoice_id) == (INVOICE, True, "0f1e-2d")
    assert kind.request(invoice_id, expand=("InvoiceItems",)).path == "/v1/invoices/0f1e-2d"


def test_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The word before the colon says the kind."""
    guest = Kind(
        "guest",
        lambda guest_id, **_: Request(f"/v1/guests/{guest_id}", (), "/v1/guests/{guest_id}"),
        lambda *_, **__: Invoice(b"{}"),
    )
    monkeypatch.setattr(kinds, "KINDS", {**KINDS, "guest": guest})
    assert kind_of("guest:0f1e-2d") == (guest, "0f1e-2d")


def test_an_unknown_kind_is_a_defect() -> None:
    """Nobody makes such a key."""
    with pytest.raises(KeyError):
        kind_of("planet:0f1e-2d")
