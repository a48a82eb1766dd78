"""Message translator (EIP): bytes -> what kind of event, whose invoice, which id. Or Malformed, with the place.

The body is decoded only where a decision needs it and is never written anew. Texts of errors name the place, never
the value: msgspec's own messages can quote what a customer sent.
"""

import hashlib
import re
import zlib
from datetime import datetime
from typing import Any

import msgspec

from schemas import webhook
from schemas.fields import Unreadable
from schemas.readable import check
from schemas.webhook import Envelope
from worker.core.errors import Malformed
from worker.core.messages import Received
from worker.core.routing import UNKNOWN_TYPE, normal_type

MAX_INFLATED_BYTES = 16 * 1024 * 1024 - 1024 * 1024  # RabbitMQ 4.x takes 16 MiB; an invoice must fit in beside it
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what msgspec raises on bad input, all of it
_BOM = b"\xef\xbb\xbf"
_USABLE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_ZERO_ID = re.compile(r"[0-]*")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MAX_ATTRIBUTE_BYTES = (
    255  # what AMQP can carry as a message id; longer attributes are left out, a longer id is refused
)
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_PROGRESS = {2: "appointment.completed", 1: "appointment.started"}


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One event, understood as far as routing needs.

    Attributes:
        id: stable over every delivery of the same event.
        event_id: the envelope's; None for a bare body.
        type: as in the routing key, e.g. `invoice.closed`; `unknown` where nothing tells.
        invoice_id: the invoice that it concerns, usable in a URL.
        subject: the invoice's id, else `data.id`.
        time: the envelope's time where that is RFC 3339.
        center_id: Zenoti's centre.
        body: UTF-8 JSON, inflated, without a byte order mark.
        received: the message that it was read from, inflated.
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
    def duplicate_key(self) -> str | None:
        """What two deliveries of one event have in common; None where they are never to be dropped as duplicates."""
        if self.event_id is None or self.received.replay or self.received.redriven:
            return None
        return f"{self.type} {self.event_id}"


class _Invoice(msgspec.Struct, gc=False):
    id: Any = None
    center_id: Any = None


class _Payload(msgspec.Struct, gc=False):
    id: Any = None
    invoice_id: Any = None
    center_id: Any = None
    invoice: _Invoice | list[Any] | str | int | float | bool | None = None  # what is no object names none


class _Progress(msgspec.Struct):
    appointment_progress: Any = None


_envelope = msgspec.json.Decoder(Envelope)
_payload = msgspec.json.Decoder(_Payload)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_appointments = msgspec.json.Decoder(list[_Progress])
_anything = msgspec.json.Decoder(msgspec.Raw)


def read(message: Received, *, check_types: bool = True) -> Event:
    """Read one webhook.

    Args:
        message: as it was received.
        check_types: whether fields that `schemas` knows must be readable by it; where translate has seen to it, no.

    Raises:
        Malformed: not wholly valid UTF-8 JSON, cannot be inflated, or a known field of an impossible type.
    """
    inflated = inflate(message.body, message.content_encoding)
    if inflated is not message.body:
        message = msgspec.structs.replace(message, body=inflated, content_encoding=None)
    body = inflated.removeprefix(_BOM)
    envelope, inner = _open(body)
    named = (envelope.event_type or "").strip() or message.path_type.strip()
    kind = normal_type(named) if named else _type_by_shape(inner)
    at = "$" if envelope.data is msgspec.UNSET else "$.data"
    try:
        if check_types:
            _require_types(kind, inner, at=at)
        payload = _decode(_payload, inner)
        return _event(envelope, payload, kind, invoice=_named_invoice(payload, at=at), body=body, message=message)
    except Malformed as error:
        error.event_type, error.event_id = kind, (envelope.event_id or "")[:_MAX_ATTRIBUTE_BYTES]
        raise


def _open(body: bytes) -> tuple[Envelope, bytes]:
    """The envelope, and the object that it is about: `data`, or the whole body where there is no `data`.

    Decoding an envelope reads all of the JSON, so it is read once more only to tell what is wrong with it.
    """
    try:
        body.decode()  # msgspec leaves the UTF-8 of what it skips unchecked
        envelope = _envelope.decode(body)
    except _UNREADABLE:
        _require_json(body)
        if body.lstrip()[:1] != b"{":
            return Envelope(), b"{}"
        envelope = _decode(_envelope, body)
    if envelope.data is msgspec.UNSET:
        return envelope, body
    inner = bytes(envelope.data)
    return envelope, inner if inner[:1] == b"{" else b"{}"


def inflate(body: bytes, content_encoding: str | None) -> bytes:
    """The body as it was before gzip or deflate, in bounded memory; as it is where it was not compressed.

    Raises:
        Malformed: an encoding that is not known here, a broken stream, or more than MAX_INFLATED_BYTES.
    """
    encoding = (content_encoding or "").strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise Malformed("content-encoding is none of gzip, deflate")
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        out = inflater.decompress(body, MAX_INFLATED_BYTES + 1)
    except zlib.error as error:
        raise Malformed("the compressed body is broken") from error
    if len(out) > MAX_INFLATED_BYTES:
        raise Malformed(f"the compressed body is larger than {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof or inflater.unused_data:
        raise Malformed("the compressed body is cut off or followed by more")
    return out


def _require_json(body: bytes) -> None:
    try:
        body.decode()
        _anything.decode(body)
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise Malformed("not JSON that can be read: nested too deep") from error
    except msgspec.MsgspecError as error:
        place = re.search(r"\(byte \d+\)", str(error))
        raise Malformed(f"not JSON {place.group() if place else '(cut off, or an unpaired surrogate)'}") from error


def _require_types(kind: str, inner: bytes, *, at: str) -> None:
    """Types that `schemas` knows must be readable by it; of an unknown type nothing is asked."""
    shape = webhook.EVENTS.get(kind)
    if shape is None:
        return
    try:
        check(shape, inner)
    except Unreadable as error:
        raise Malformed(f"{error.what} at {at}{error.place.removeprefix('$')}") from error


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except _UNREADABLE as error:
        # Only the path of a type error is told; its words may hold a value.
        place = re.search(r"`(\$[.\[\]\w…]*)`$", str(error))
        raise Malformed(f"impossible type at {place.group(1) if place else '$'}") from error


def _named_invoice(payload: _Payload, *, at: str) -> tuple[str | None, str | None]:
    """The id of the invoice that an event is about, and its centre."""
    invoice = payload.invoice if isinstance(payload.invoice, _Invoice) else _Invoice()
    found = _invoice_id(invoice.id, f"{at}.invoice.id") or _invoice_id(payload.invoice_id, f"{at}.invoice_id")
    return found, _text(invoice.center_id)


def _event(
    envelope: Envelope,
    payload: _Payload,
    kind: str,
    *,
    invoice: tuple[str | None, str | None],
    body: bytes,
    message: Received,
) -> Event:
    invoice_id, center_id = invoice
    event_id = (envelope.event_id or "").strip() or None
    if event_id and len(event_id.encode()) > _MAX_ATTRIBUTE_BYTES:
        raise Malformed(f"longer than {_MAX_ATTRIBUTE_BYTES} bytes at $.event_id")
    return Event(
        id=event_id or "sha256:" + hashlib.sha256(message.body).hexdigest(),
        event_id=event_id,
        type=kind,
        invoice_id=invoice_id,
        subject=invoice_id or _text(payload.id),
        time=_time(envelope.event_timestamp),
        center_id=center_id or _text(payload.center_id),
        body=body,
        received=message,
    )


def _invoice_id(value: Any, place: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Malformed(f"impossible type at {place}")
    if _ZERO_ID.fullmatch(value.strip()):
        return None
    if not _USABLE_ID.fullmatch(value):
        raise Malformed(f"no usable invoice id at {place}")
    return value


def _time(text: str | None) -> str | None:
    """The text as it is, where it is a time by RFC 3339: a wrong one would make the whole event unreadable."""
    if not text or not _RFC3339.fullmatch(text):
        return None
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return text


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and len(value.encode()) <= _MAX_ATTRIBUTE_BYTES else None


def _type_by_shape(body: bytes) -> str:
    """The two bare bodies that Zenoti's pages show without an envelope; everything else is unknown."""
    members = _members.decode(body)
    beside = any("membership" in key.lower() or "package" in key.lower() for key in members)
    invoice = bytes(members.get("invoice", b""))
    if invoice[:1] == b"{" and "invoice_number" in _members.decode(invoice) and not beside:
        return "invoice.closed"
    appointments = bytes(members.get("appointments", b""))
    if appointments[:1] == b"[":
        try:
            progress = [one.appointment_progress for one in _appointments.decode(appointments)]
        except msgspec.ValidationError:
            return UNKNOWN_TYPE  # a list, but not of objects
        numbers = [one for one in progress if type(one) is int]
        if numbers:
            return _PROGRESS.get(max(numbers), UNKNOWN_TYPE)
    return UNKNOWN_TYPE
