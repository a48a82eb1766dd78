"""Reading what comes out of a downstream queue, in one call: the CloudEvent, the event in it, and its invoice.

A message is what `schemas.enriched` writes; what Zenoti put into it is read as tolerantly as it came.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from schemas.enriched import EnrichedEvent
from schemas.fields import Reading, Unreadable, decode
from schemas.invoice import InvoiceDocument
from schemas.invoice import read as read_invoice
from schemas.webhook import Envelope, UnknownEvent
from schemas.webhook import read as read_data

_TYPE_PREFIX: Final = "com.zenoti."
_message: Final = msgspec.json.Decoder(EnrichedEvent)
_envelope: Final = msgspec.json.Decoder(Envelope)


class Delivered(msgspec.Struct, frozen=True):
    """A message, understood.

    Attributes:
        message: the CloudEvent's attributes and how the invoice came about; `message.data` holds the bytes as received.
        type: the event's type, as in the routing key: `invoice.closed`.
        envelope: Zenoti's; empty where the body had none.
        event: the event's `data`, by its type; an `UnknownEvent` where nobody knows it, or where it is no object.
        invoice: what the API said, or None.
    """

    message: EnrichedEvent
    type: str
    envelope: Envelope
    event: Reading | UnknownEvent
    invoice: InvoiceDocument | None


def read(body: bytes) -> Delivered:
    """Read a message.

    Raises:
        Unreadable: it is no message of this pipeline's, or a known field holds what it cannot; `place` says where.
    """
    message = decode(_message, body)
    kind = message.type.removeprefix(_TYPE_PREFIX)
    envelope, event = _event(kind, bytes(message.data.event))
    return Delivered(message, kind, envelope, event, _invoice(bytes(message.data.invoice)))


def _event(kind: str, body: bytes) -> tuple[Envelope, Reading | UnknownEvent]:
    if body[:1] != b"{":
        return Envelope(), UnknownEvent(msgspec.Raw(body))
    with _within("$.data.event"):
        envelope = decode(_envelope, body)
    if envelope.data is msgspec.UNSET:
        with _within("$.data.event"):
            return envelope, read_data(kind, body)
    data = bytes(envelope.data)
    if data[:1] != b"{":
        return envelope, UnknownEvent(envelope.data)
    with _within("$.data.event.data"):
        return envelope, read_data(kind, data)


def _invoice(document: bytes) -> InvoiceDocument | None:
    if document == b"null":
        return None
    with _within("$.data.invoice"):
        return read_invoice(document)


@contextmanager
def _within(place: str) -> Iterator[None]:
    """What is found unreadable is told with its place in the whole message."""
    try:
        yield
    except Unreadable as error:
        raise Unreadable(error.what, place + error.place.removeprefix("$")) from None
