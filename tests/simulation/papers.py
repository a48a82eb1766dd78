"""The invoices of the simulated API: documents of the vendor's full shape, drawn once and filled in for each answer.

Drawing takes the simulator 0.2 ms; filling in takes a thousandth of that, so a small world stays cheap.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Final

import msgspec

from zenoti_ingest.simulator import recipes
from zenoti_ingest.simulator.catalogue import InvoiceWish
from zenoti_ingest.simulator.documents import PARTS, as_of, refunded
from zenoti_ingest.simulator.recipes import Recipe

CHANGES: Final = ("opened", "changed", "closed", "refunded")
_NOW: Final = datetime(2031, 5, 6, tzinfo=UTC)
_SEED: Final = 5
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class Version(msgspec.Struct, frozen=True):
    """A state of an invoice: its number from 1, when it began (seconds), and what made it, one of CHANGES."""

    number: int
    at: float
    change: str


def document(invoice_id: str, version: Version, *, read_at: float, parts: frozenset[str]) -> bytes:
    """The API's answer `{"invoice": …, "error": null}`, with the version and the time at which it was read in it.

    Args:
        invoice_id: its `id`, as the API spells it.
        version: its state.
        read_at: seconds of virtual time.
        parts: the parts to expand, in lower case; others are null.
    """
    known = b'"version":%d,"change":"%s","read_at":%r,' % (version.number, version.change.encode(), read_at)
    head, tail = _around(version.change, parts)
    return b'{"invoice":{"id":"' + invoice_id.encode() + b'",' + known + head + tail


@cache
def _around(change: str, parts: frozenset[str]) -> tuple[bytes, bytes]:
    progress = 2 if change in ("closed", "refunded") else CHANGES.index(change)
    shown = as_of(_drawn(), progress=progress, closed=progress == 2, expand=PARTS)
    shown = refunded(shown) if change == "refunded" else shown
    del shown["id"]
    wanted = {name for part in parts for name in PARTS.get(part, ())}
    absent = {name for names in PARTS.values() for name in names} - wanted
    return _encoder.encode(shown | dict.fromkeys(sorted(absent)))[1:], b',"error":null}'


@cache
def _drawn() -> dict[str, object]:
    return recipes.draw(_SEED, Recipe("visit", 1, _NOW, InvoiceWish("documented")))
