"""What a stranger's bytes reach, each as a plain function of bytes: it returns, or the promise is broken.

A foreseen error is a way to return; any other exception is a finding. Inputs are readable: a line of what comes beside
the body (a type, a header, a status), then the body. Nothing here waits or looks outside, but for a file to be read.
"""

import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from pamqp.commands import Basic

from tests.builders import INVOICE_ID, received
from zenoti_ingest.app.broker import full_topology
from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES
from zenoti_ingest.core.events import cloud_event, reading
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.events.messages import received as read_message
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.errors import ApiThrottled, Malformed, WorkerError, WrongSettings
from zenoti_ingest.core.intake import admission
from zenoti_ingest.core.invoices import protocol
from zenoti_ingest.core.invoices.protocol import Response
from zenoti_ingest.core.invoices.quota import rate_limit
from zenoti_ingest.core.topology.declared import definitions
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.settings import ENV_PREFIX, ignored, load
from zenoti_schemas import downstream
from zenoti_schemas.enriched import Enrichment
from zenoti_schemas.fields import Unreadable
from zenoti_schemas.invoice import read as read_invoice

SECRET: Final = b"test-secret"
EXPAND: Final = ("InvoiceItems", "Transactions", "Appointments")
OTHER: Final = protocol.Invoice(b'{"id":"%s","transactions":[{"a":0.10}]}' % INVOICE_ID.encode())
DAY_SECONDS: Final = 86_400
FLAT: Final = 300
MAX_SHORT_BYTES: Final = 255
ENVIRONMENT: Final = b"\n--- environment\n"
# Words of ours, a path of known fields, a place in bytes: no text of an error holds what a customer sent.
_SAFE_TEXT: Final = re.compile(r"[A-Za-z0-9 ,:'()-]+(?: at \$[.\[\]\w…]*)?")
_SETTINGS_FILE: Final = Path(tempfile.gettempdir()) / "zenoti-ingest-fuzz.toml"


def webhook(given: bytes) -> None:
    """`<type in the path>;<content encoding>`, then a body: an event that can be published and read, or Malformed.

    Malformed is no JSON object but for an invoice id that is none.
    """
    beside, _, body = given.partition(b"\n")
    path_type, _, encoding = _text(beside).partition(";")
    message = received(body=body, path_type=path_type, content_encoding=encoding or None)
    try:
        event = reading.read(message)
    except Malformed as error:
        assert _SAFE_TEXT.fullmatch(str(error)), str(error)
        assert not _is_object(body) or "no usable invoice id" in str(error), str(error)
        return
    assert len(event.body) <= DEFAULT_MAX_MESSAGE_BYTES
    assert event.invoice_id is None or re.fullmatch(r"[0-9A-Za-z-]{1,64}", event.invoice_id)
    enrichment = Enrichment(status="not_applicable", expand=(), missing=(), fetched_at=None, reason=None)
    out = cloud_event.outgoing(event, exchange="zenoti.events", enrichment=enrichment)
    assert event.body in out.body
    assert re.fullmatch(r"main\.[a-z0-9._-]{1,195}", out.routing_key)
    _publishable(out)
    read = _json(out.body)
    if read is not None:
        assert read["id"] == event.id
        delivered_event = downstream.read(out.body)
        assert delivered_event.type == event.type
        assert delivered_event.message.data
        assert delivered_event.message.data.event
        assert bytes(delivered_event.message.data.event) == event.body.strip()


def delivered(given: bytes) -> None:
    """A message of a downstream queue: read, the paths of what is not known by name alone; or no JSON object."""
    try:
        found = downstream.read(given)
    except Unreadable as error:
        assert _SAFE_TEXT.fullmatch(str(error)), str(error)
        assert not _is_object(given)
        return
    assert all(re.fullmatch(r"[A-Za-z_&.\[\]\d]+", path) for path in found.unread), found.unread


def signature(given: bytes) -> None:
    """A header's value, then a body: refused or let in, and let in only by the signature of just that body."""
    value, _, body = given.partition(b"\n")
    text = _text(value)
    read = admission.parse_signature(text)
    assert read is None or len(read) == len(admission.signature(b"", secret=SECRET))
    verdict = admission.judge(body, signatures=[text], tokens=[text], rule=admission.Rule(secrets=(SECRET,)))
    right = read == admission.signature(body, secret=SECRET)
    assert isinstance(verdict, (admission.Accept if right else admission.Refuse) if body else admission.Ping)
    judged = admission.judge(body, signatures=[], tokens=[text], rule=admission.Rule(tokens=(SECRET,)))
    assert isinstance(judged, (admission.Accept if value == SECRET else admission.Refuse) if body else admission.Ping)


def answer(given: bytes) -> None:
    """A status line, headers, an empty line, a body: an invoice cut out of it byte for byte, or a foreseen error."""
    head, _, body = given.partition(b"\n\n")
    first, *rest = _text(head).splitlines() or [""]
    status = int(first) if re.fullmatch("[1-5][0-9]{2}", first) else 200
    pairs = (line.partition(":") for line in rest)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    said = rate_limit(headers)
    for seconds in (said.reset_seconds, said.retry_after_seconds):
        assert seconds is None or 0 <= seconds <= DAY_SECONDS
    assert said.interval_seconds is None or math.isfinite(said.interval_seconds)
    try:
        found = protocol.decipher(Response(status, headers, body), INVOICE_ID, expand=EXPAND)
    except WorkerError as error:
        assert not isinstance(error, ApiThrottled) or 0 < error.retry_after <= DAY_SECONDS
        assert isinstance(error, ApiThrottled) or _SAFE_TEXT.fullmatch(str(error)), str(error)
        return
    assert status == 200
    assert found.document in body
    _json(found.document)
    _json(protocol.merged(found, OTHER).document)
    try:
        read_invoice(found.document)
    except Unreadable as error:
        assert _SAFE_TEXT.fullmatch(str(error)), str(error)


def headers(given: bytes) -> None:
    """Headers as JSON, then a body: whatever stands in a message's headers, a letter can be read and put back."""
    beside, _, body = given.partition(b"\n")
    names = Names("zenoti")
    try:
        found: Mapping[str, Any] = msgspec.json.decode(beside, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return  # AMQP has its own decoder
    message = read_message(body, found, source="main", message_id="m")
    assert message.attempts > 0
    letter = dead_letter.read(found, names=names, message_id="m")
    assert letter.reason
    properties = {"message_id": "m", "content_type": None, "content_encoding": None}
    again = dead_letter.revive(body, found, names=names, properties=properties)
    assert again.body == body


def configuration(given: bytes) -> None:
    """A TOML file, then lines of the environment: settings from which a topology follows, or WrongSettings."""
    file, _, lines = given.partition(ENVIRONMENT)
    _SETTINGS_FILE.write_bytes(file)
    pairs = (line.partition("=") for line in _text(lines).splitlines())
    environ = {f"{ENV_PREFIX}{name}": value for name, _, value in pairs}
    assert all(meant.startswith(ENV_PREFIX) for _, meant in ignored(environ))
    try:
        settings = load(path=str(_SETTINGS_FILE), environ=environ)
    except WrongSettings as error:
        assert len(str(error).splitlines()) == 1
        return
    json.dumps(definitions(full_topology(settings), vhost="/"))


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    each.__name__: each for each in (webhook, delivered, signature, answer, headers, configuration)
}


def _text(raw: bytes) -> str:
    """Text as Python has it from a wire: what is no UTF-8 as lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def _json(text: bytes) -> Any:
    """As another reader sees it; None where it is nested so deep (some 990) that Python's own gives up."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=_not_json)
    except RecursionError:
        return None


def _is_object(body: bytes) -> bool:
    """Whether Python's own reader finds an object, not nested too deep for anybody."""
    if body.count(b"[") + body.count(b"{") > FLAT:
        return False
    try:
        text = body.decode().lstrip("\ufeff")
        return isinstance(json.loads(text, parse_int=str, parse_float=str, parse_constant=_not_json), dict)
    except (ValueError, AssertionError):
        return False


def _not_json(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def _publishable(message: Outgoing) -> None:
    """AMQP can carry the message's properties: short texts within their bytes, headers of known types."""
    properties = {"content_type": message.content_type, "message_id": message.message_id}
    for value in properties.values():
        assert len((value or "").encode()) <= MAX_SHORT_BYTES
    Basic.Properties(headers=message.headers, timestamp=None, **properties).marshal()  # type: ignore[arg-type]
