"""Reads a message from a downstream queue in a single call: the CloudEvent, the event in it, and its invoice.

`zenoti_schemas.enriched` writes these messages; Zenoti's own data in them is read tolerantly. No field's type makes a
message unreadable: a value of another type is UNSET, and `Delivered.unread` names its path.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from zenoti_schemas import json_text, tolerant
from zenoti_schemas.fields import Maybe, Reading, Unreadable, decode
from zenoti_schemas.invoice import InvoiceDocument
from zenoti_schemas.webhook import EVENTS, Envelope, UnknownEvent

_TYPE_PREFIX: Final = "com.zenoti."
_UNKNOWN: Final = "unknown"
_EVENT: Final = "data.event"
_NULL: Final = b"null"


class DeliveredEnrichment(msgspec.Struct, frozen=True):
    """How the invoice was obtained, as `enriched.Enrichment` writes it; newer releases may use more words."""

    status: str | UnsetType = UNSET
    expand: tuple[str, ...] | UnsetType = ()
    missing: tuple[str, ...] | UnsetType = ()
    fetched_at: Maybe[str] = None
    reason: Maybe[str] = None


class DeliveredData(msgspec.Struct, frozen=True):
    """The webhook's body and the API's invoice, byte for byte as received, and how the invoice was obtained."""

    event: msgspec.Raw | UnsetType = UNSET
    invoice: msgspec.Raw | UnsetType = UNSET
    enrichment: DeliveredEnrichment | UnsetType = UNSET


class DeliveredMessage(msgspec.Struct, frozen=True):
    """The attributes of a CloudEvent, as `zenoti_schemas.enriched.EnrichedEvent` writes them."""

    specversion: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    eventid: Maybe[str] = None
    source: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    subject: Maybe[str] = None
    time: Maybe[str] = None
    datacontenttype: Maybe[str] = None
    dataschema: Maybe[str] = None
    centerid: Maybe[str] = None
    receivedat: Maybe[str] = None
    receiptid: Maybe[str] = None
    replay: Maybe[str] = None
    data: DeliveredData | UnsetType = UNSET


class Delivered(msgspec.Struct, frozen=True):
    """A decoded message.

    Attributes:
        message: the CloudEvent's attributes and how the invoice was obtained; `message.data` has the bytes as received.
        type: the event's type, as in the routing key: `invoice.closed`.
        envelope: Zenoti's envelope; empty if the body had none.
        event: the event's `data`, by its type; an `UnknownEvent` if the type is unknown or `data` is not an object.
        invoice: the API's invoice, or None; UNSET if it is not an object.
        unread: the paths of all values of another type, which are therefore UNSET, in the names of the JSON document:
            `data.event.data.invoice.invoice_number`, `data.invoice.invoice_items[3].price.final`; never a value.
    """

    message: DeliveredMessage
    type: str
    envelope: Envelope
    event: Reading | UnknownEvent
    invoice: Maybe[InvoiceDocument]
    unread: tuple[str, ...]


_message: Final = msgspec.json.Decoder(DeliveredMessage)
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(body: bytes) -> Delivered:
    """Read a message.

    Raises:
        Unreadable: it is not a JSON object.
    """
    unread: list[str] = []
    try:
        body.decode()  # msgspec does not check the UTF-8 of what it skips
        text, message = body, decode(_message, body)
    except UnicodeDecodeError:
        raise Unreadable("not JSON", "$") from None
    except Unreadable:
        text = json_text.mended(body)
        message = _as_far_as_it_goes(text, unread)
    content = DeliveredData() if message.data is UNSET else message.data
    event, invoice = _bytes(content.event), _bytes(content.invoice)
    as_it_came = event
    if text is not body and message.data is not UNSET:
        content = _unmended(content, text=text, body=body)
        message = msgspec.structs.replace(message, data=content)
        as_it_came = _bytes(content.event)
    kind = _UNKNOWN if message.type is UNSET else message.type.removeprefix(_TYPE_PREFIX)
    shape = None if content.event is UNSET else EVENTS.get(kind)
    envelope, read_event = _event(shape, event, as_it_came, unread)
    return Delivered(message, kind, envelope, read_event, _invoice(invoice, unread), tuple(unread))


def _as_far_as_it_goes(text: bytes, unread: list[str]) -> DeliveredMessage:
    decode(_object, text)
    found = tolerant.read(DeliveredMessage, text, at="", unread=unread)
    return DeliveredMessage() if found is UNSET else found


def _unmended(content: DeliveredData, *, text: bytes, body: bytes) -> DeliveredData:
    """The parts as received, cut out of the body."""
    data_text, data = (json_text.member("data", text=text, body=each) for each in (text, body))

    def came(name: str, part: msgspec.Raw | UnsetType) -> msgspec.Raw | UnsetType:
        return part if part is UNSET else msgspec.Raw(json_text.member(name, text=data_text, body=data))

    return DeliveredData(came("event", content.event), came("invoice", content.invoice), content.enrichment)


def _event(
    shape: type[Reading] | None, text: bytes, body: bytes, unread: list[str]
) -> tuple[Envelope, Reading | UnknownEvent]:
    """Zenoti's envelope and its content; `text` is decoded, `body` holds the same bytes as received."""
    is_object = text[:1] == b"{"
    envelope = tolerant.read(Envelope, text, at=_EVENT, unread=unread) if is_object else Envelope()
    if envelope is UNSET:
        envelope = Envelope()
    at = _EVENT
    if envelope.data is not UNSET:
        at = f"{_EVENT}.data"
        came = bytes(envelope.data) if text is body else json_text.member("data", text=text, body=body)
        text, body, envelope = bytes(envelope.data), came, msgspec.structs.replace(envelope, data=msgspec.Raw(came))
    event = UNSET if shape is None else tolerant.read(shape, text, at=at, unread=unread)
    return envelope, UnknownEvent(msgspec.Raw(body)) if event is UNSET else event


def _invoice(document: bytes, unread: list[str]) -> Maybe[InvoiceDocument]:
    return None if document == _NULL else tolerant.read(InvoiceDocument, document, at="data.invoice", unread=unread)


def _bytes(part: msgspec.Raw | UnsetType) -> bytes:
    return _NULL if part is UNSET else bytes(part)
