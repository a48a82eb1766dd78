"""Message translator (EIP): bytes -> the event's type, invoice and id; or Malformed, with the place.

The body is decoded only where a decision needs it, and is never re-encoded. A wrong field type never makes an event
Malformed: fields that decide nothing are not even decoded. Error texts name the place, never the value, since msgspec's
own messages can quote what a customer sent.
"""

import codecs
import hashlib
import re
from datetime import datetime

import msgspec

from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES
from zenoti_ingest.core.events import encodings
from zenoti_ingest.core.events.identity import Identity
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.routing import UNKNOWN_TYPE, normal_type, whole_type
from zenoti_ingest.core.failures.errors import Malformed
from zenoti_schemas import json_text
from zenoti_schemas.fields import UNREADABLE

_BOMS = re.compile(rb"(?:\xef\xbb\xbf)*")
_USABLE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_ZERO_ID = re.compile(r"[0-]*")
_DIGITS = re.compile(rb"-?[0-9]+")
_PROGRESS_NUMBER = re.compile(rb"-?[0-9]{1,9}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MAX_ATTRIBUTE_BYTES = 255  # the limit of AMQP's short string; longer attributes are left out
_MAX_EVENT_ID_BYTES = 200  # the CloudEvent's id is made from it and must fit into a short string
_DIGEST_DIGITS = 16
_PIECE_BYTES = 1024 * 1024  # bodies are checked as text in pieces: as text a body can take four times as much memory
_MAX_SHAPE_BYTES = (
    4 * 1024 * 1024
)  # a larger body is not searched for its type: each `{}` in it becomes an object in memory
_PROGRESS = {2: "appointment.completed", 1: "appointment.started"}
_NULL = msgspec.Raw(b"null")
_utf8 = codecs.getincrementaldecoder("utf-8")


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event, with what routing and enrichment need.

    Attributes:
        id: the CloudEvent's id: the same for every delivery of the event, and different for any other event.
        event_id: the envelope's id if it is usable; None for a body without an envelope.
        type: as in the routing key, e.g. `invoice.closed`; `unknown` if nothing shows it.
        invoice_id: the invoice that it concerns, usable in a URL.
        subject: the invoice's id, else `data.id`.
        time: the envelope's time if it is RFC 3339.
        center_id: Zenoti's centre.
        body: UTF-8 JSON, inflated, without a byte order mark; unpaired surrogate escapes stay as received.
            Empty while the event is packed.
        received: the message from which it was read, unchanged.
    """

    id: str
    event_id: str | None
    type: str
    invoice_id: str | None
    subject: str | None
    time: str | None
    center_id: str | None
    body: bytes
    received: Received

    @property
    def fetch_key(self) -> str | None:
        """What is to be fetched for it (see core/invoices/kinds.py); None: nothing."""
        return self.invoice_id

    @property
    def identity(self) -> Identity:
        """Its type and ids."""
        return Identity(self.type, self.event_id or "", self.id, self.invoice_id or "")

    @property
    def duplicate_key(self) -> str | None:
        """The key that deliveries of the same event share; None if the event must never be dropped as a duplicate."""
        return None if self.event_id is None or self.received.replay or self.received.redriven else self.id

    def packed(self) -> "Event":
        """The event for waiting: without its own body if `unpacked` can read that again."""
        return self if self.body is self.received.body else msgspec.structs.replace(self, body=b"")

    def unpacked(self, *, max_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> "Event":
        """The event with its body.

        Raises:
            TooLarge: the inflated body is larger than `max_bytes`.
        """
        return (
            self if self.body else msgspec.structs.replace(self, body=_plain(self.received, max_bytes=max_bytes).body)
        )


class _Envelope(msgspec.Struct, gc=False):
    event_id: msgspec.Raw = _NULL
    event_type: msgspec.Raw = _NULL
    event_timestamp: msgspec.Raw = _NULL
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Invoice(msgspec.Struct, gc=False):
    id: msgspec.Raw = _NULL
    center_id: msgspec.Raw = _NULL


class _Around(msgspec.Struct, gc=False):
    id: msgspec.Raw = _NULL
    invoice_id: msgspec.Raw = _NULL
    center_id: msgspec.Raw = _NULL


class _Payload(_Around, gc=False):
    invoice: _Invoice | None = None


class _OddPayload(_Around, gc=False):
    invoice: msgspec.Raw = _NULL


class _Progress(msgspec.Struct, gc=False):
    appointment_progress: msgspec.Raw = _NULL


class _Json(msgspec.Struct, gc=False):
    """A body that is JSON.

    Attributes:
        body: the body to send out.
        text: the body to decode, of the same length in bytes: U+FFFD replaces unpaired surrogate escapes.
        envelope: empty if the body is not an object.
    """

    body: bytes
    text: bytes
    envelope: _Envelope

    @property
    def is_mended(self) -> bool:
        return self.text is not self.body

    def content(self) -> bytes | msgspec.Raw:
        """What distinguishes two events with the same `event_id`: the bytes of `data`; without `data`, of the body."""
        if self.envelope.data is msgspec.UNSET:
            return self.body
        if self.is_mended:
            return json_text.member("data", text=self.text, body=self.body)
        return self.envelope.data


_envelope = msgspec.json.Decoder(_Envelope)
_payload = msgspec.json.Decoder(_Payload)
_odd_payload = msgspec.json.Decoder(_OddPayload)
_invoice = msgspec.json.Decoder(_Invoice)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_appointments = msgspec.json.Decoder(list[_Progress])
_anything = msgspec.json.Decoder(msgspec.Raw)
_string = msgspec.json.Decoder(str)


def read(message: Received, *, max_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> Event:
    """Read a webhook.

    Args:
        message: the message as received.
        max_bytes: the largest allowed inflated body; a larger body cannot be published.

    Raises:
        TooLarge: the inflated body is larger than that.
        Malformed: the body, as received or inflated, is not JSON in UTF-8; or its invoice id is unusable.
    """
    found = _plain(message, max_bytes=max_bytes)
    envelope = found.envelope
    inner, at = (found.text, "$") if envelope.data is msgspec.UNSET else (bytes(envelope.data), "$.data")
    inner = inner if inner.lstrip()[:1] == b"{" else b"{}"
    named = (_text(envelope.event_type) or "").strip() or message.path_type.strip()
    kind = normal_type(named) if named else _type_by_shape(inner)
    event_id = _event_id(found)
    cloud_id = _id(event_id, whole_type(named) if named else kind, found)
    payload, invoice = _payload_of(inner)
    try:
        invoice_id = _invoice_id(invoice.id, f"{at}.invoice.id") or _invoice_id(payload.invoice_id, f"{at}.invoice_id")
    except Malformed as error:
        error.identity = Identity(event_type=kind, event_id=event_id or "", cloudevent_id=cloud_id)
        raise
    return Event(
        id=cloud_id,
        event_id=event_id,
        type=kind,
        invoice_id=invoice_id,
        subject=invoice_id or _attribute(payload.id),
        time=_time(_text(envelope.event_timestamp)),
        center_id=_attribute(invoice.center_id) or _attribute(payload.center_id),
        body=found.body,
        received=message,
    )


def _plain(message: Received, *, max_bytes: int) -> _Json:
    """The body as JSON: as received, or else after removing compressions, as many as the header declares.

    Raises:
        Malformed: it is not JSON.
        TooLarge: the inflated body is larger than `max_bytes`.
    """
    encoding = message.content_encoding
    body = message.body
    left = encodings.layers(encoding)
    while True:
        try:
            found = _json(body)
        except Malformed as error:
            if not left and not encodings.is_known(encoding):
                raise Malformed("neither JSON nor gzip or deflate, whatever content-encoding means") from error
            if not left:
                raise
        else:
            return found
        body = encodings.inflate(body, at_most=max_bytes)
        left -= 1


def _json(body: bytes) -> _Json:
    """Decode a body. Decoding the envelope reads all of it, so only an odd body is read a second time.

    Raises:
        Malformed: it is not JSON in UTF-8.
    """
    if marks := _BOMS.match(body):
        body = body[marks.end() :]
    try:
        _require_utf8(body)  # msgspec does not check the UTF-8 of what it skips
        return _Json(body, body, _envelope.decode(body))
    except UNREADABLE:
        text = _readable(body)
        return _Json(body, text, _envelope.decode(text) if text.lstrip()[:1] == b"{" else _Envelope())


def _readable(body: bytes) -> bytes:
    text = json_text.mended(body)
    try:
        _require_utf8(body)
        _anything.decode(text)
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise Malformed("not JSON that can be read: nested too deep") from error
    except msgspec.MsgspecError as error:
        place = re.search(r"\(byte \d+\)", str(error))
        raise Malformed(f"not JSON {place.group() if place else '(cut off)'}") from error
    return text


def _require_utf8(body: bytes) -> None:
    """Check a body piece by piece.

    Raises:
        UnicodeDecodeError: it is not UTF-8; `start` is the place in the whole body.
    """
    if len(body) <= _PIECE_BYTES:
        body.decode()
        return
    decoder = _utf8()
    for at in range(0, len(body), _PIECE_BYTES):
        begun, _ = decoder.getstate()  # the first bytes of a character that is split between two pieces
        try:
            decoder.decode(body[at : at + _PIECE_BYTES], at + _PIECE_BYTES >= len(body))
        except UnicodeDecodeError as error:
            place = at - len(begun) + error.start
            raise UnicodeDecodeError("utf-8", b"", place, place + 1, error.reason) from None


def _payload_of(inner: bytes) -> tuple[_Around, _Invoice]:
    """The fields that decisions need, from an object and from the invoice in it; an odd invoice has no fields."""
    try:
        payload = _payload.decode(inner)
    except msgspec.ValidationError:
        odd = _odd_payload.decode(inner)
        named = bytes(odd.invoice)
        return odd, _invoice.decode(named) if named[:1] == b"{" else _Invoice()
    return payload, payload.invoice or _Invoice()


def _event_id(found: _Json) -> str | None:
    """The envelope's id if it can name an event: a text that is not blank, of at most 200 bytes."""
    event_id = _text(found.envelope.event_id)
    if not event_id or not event_id.strip() or len(event_id.encode()) > _MAX_EVENT_ID_BYTES:
        return None
    return None if found.is_mended and "\ufffd" in event_id else event_id  # U+FFFD may stand for different ids


def _id(event_id: str | None, kind: str, found: _Json) -> str:
    """The CloudEvent's id; see docs/delivery.md, "Ids"."""
    if event_id is None:
        return "sha256:" + hashlib.sha256(found.body).hexdigest()
    digest = hashlib.sha256(kind.encode() + b"\0")
    digest.update(found.content())
    return f"{event_id}.{digest.hexdigest()[:_DIGEST_DIGITS]}"


def _invoice_id(value: msgspec.Raw, place: str) -> str | None:
    """The id if it names an invoice; None if it means "no invoice". A number counts as its digits."""
    raw = bytes(value)
    if raw == b"null":
        return None
    text = raw.decode() if _DIGITS.fullmatch(raw) else _text(value)
    if text is not None and _ZERO_ID.fullmatch(text.strip()):
        return None
    if text is None or not _USABLE_ID.fullmatch(text):
        raise Malformed(f"no usable invoice id at {place}")
    return text


def _text(value: msgspec.Raw) -> str | None:
    """A value's text; None if the value is not a text."""
    raw = bytes(value)
    return _string.decode(raw) if raw[:1] == b'"' else None


def _attribute(value: msgspec.Raw) -> str | None:
    text = _text(value)
    return text if text and len(text.encode()) <= _MAX_ATTRIBUTE_BYTES else None


def _time(text: str | None) -> str | None:
    """The text unchanged if it is an RFC 3339 time; any other text would make the whole CloudEvent unreadable."""
    if not text or not _RFC3339.fullmatch(text):
        return None
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return text


def _type_by_shape(body: bytes) -> str:
    """Recognise the two bodies that Zenoti's pages show without an envelope; everything else is unknown."""
    if len(body) > _MAX_SHAPE_BYTES:
        return UNKNOWN_TYPE
    members = _members.decode(body)
    beside = any("membership" in key.lower() or "package" in key.lower() for key in members)
    invoice = bytes(members.get("invoice", b""))
    if invoice[:1] == b"{" and "invoice_number" in _members.decode(invoice) and not beside:
        return "invoice.closed"
    appointments = bytes(members.get("appointments", b""))
    if appointments[:1] == b"[":
        try:
            progress = [bytes(found.appointment_progress) for found in _appointments.decode(appointments)]
        except msgspec.ValidationError:
            return UNKNOWN_TYPE  # a list, but not of objects
        numbers = [int(number) for number in progress if _PROGRESS_NUMBER.fullmatch(number)]
        if numbers:
            return _PROGRESS.get(max(numbers), UNKNOWN_TYPE)
    return UNKNOWN_TYPE
