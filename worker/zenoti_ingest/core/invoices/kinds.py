"""The kinds of things to fetch: what to ask the API about each, and how to read its answer.

The fetch key of an event says what to fetch for it: the id of an invoice, or another kind's word, a colon and an id.
An id that is usable in a URL has no colon.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from zenoti_ingest.core.invoices import protocol
from zenoti_ingest.core.invoices.protocol import Invoice, Request

INVOICE: Final = "invoice"


class Kind(msgspec.Struct, frozen=True):
    """A kind of thing to fetch.

    Attributes:
        word: its object stands under this word beside the event.
        request: of an id and the parts to expand, the request.
        decipher: of a response, the id and the parts, the object; raises what `protocol.decipher` raises.
        has_parts: whether the API expands parts of it.
    """

    word: str
    request: Callable[..., Request]
    decipher: Callable[..., Invoice]
    has_parts: bool = False  # only invoices have some


KINDS: Final[Mapping[str, Kind]] = {
    kind.word: kind for kind in (Kind(INVOICE, protocol.request, protocol.decipher, has_parts=True),)
}


def kind_of(key: str) -> tuple[Kind, str]:
    """The kind and the id that a fetch key names."""
    word, _, thing_id = key.rpartition(":")
    return KINDS[word or INVOICE], thing_id
