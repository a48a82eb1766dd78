"""What the fuzzers begin with: good inputs of every target, from the simulator and the tests' own data."""

import gzip
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from tests.builders import INVOICE_ID, RECEIVED_AT, data, received, signature_text
from tests.fuzz.targets import ENVIRONMENT
from tests.strange import strange
from zenoti_ingest.core.events import cloud_event, reading
from zenoti_ingest.core.intake.admission import signature
from zenoti_ingest.simulator.world import World
from zenoti_schemas.enriched import Enrichment

_NOW: Final = datetime(2031, 5, 6, 17, 8, 9, 123456, tzinfo=UTC)
_PARTS: Final = ("InvoiceItems", "Appointments", "Transactions", "Redemptions", "gst_parameters", "dues_and_fees")
_SEED: Final = 1


def webhooks() -> Iterator[bytes]:
    """Every kind of event, enveloped and bare; the broken originals; a compressed event."""
    world = World(_SEED)
    for event in world.catalogue(now=_NOW):
        yield b";\n" + event.body
        yield event.event_type.encode() + b";\n" + world.bare(event).body
    for name in ("invoice_closed.json", "appointment_completed.json"):
        yield b";\n" + data(name)
        yield b";gzip\n" + gzip.compress(data(name), mtime=0)
    for name in ("invoice_closed.broken.txt", "appointment_completed.broken.txt"):
        yield b";\n" + data(name)
    for case in strange():
        yield b";%s\n%s" % (case.encoding.encode(), case.body)


def messages() -> Iterator[bytes]:
    """What comes out, of every kind of event."""
    world = World(_SEED)
    for sent in world.catalogue(now=_NOW):
        event = reading.read(received(body=sent.body))
        invoice = world.invoice(event.invoice_id or "", expand=_PARTS)
        document = bytes(msgspec.json.decode(invoice, type=dict[str, msgspec.Raw])["invoice"]) if invoice else None
        enrichment = Enrichment(status="enriched", expand=_PARTS, missing=(), fetched_at=RECEIVED_AT, reason=None)
        yield cloud_event.outgoing(event, exchange="e", enrichment=enrichment, fetched=document).body
    for case in strange():
        event = reading.read(received(body=case.body, content_encoding=case.encoding or None))
        yield cloud_event.outgoing(event, exchange="e", enrichment=Enrichment(status="skipped")).body


def signatures() -> Iterator[bytes]:
    """The right signature, in every spelling, and wrong signatures."""
    body = b'{"id":"1"}'
    right = signature(body, secret=b"test-secret")
    for text in (signature_text(body), right.hex(), "sha256=" + right.hex(), right.hex("-"), "", "test-secret"):
        yield text.encode() + b"\n" + body


def answers() -> Iterator[bytes]:
    """Invoices, errors in each of their shapes, and the quota's headers."""
    world = World(_SEED)
    for event in world.catalogue(now=_NOW):
        invoice = world.invoice(event.invoice_id, expand=_PARTS) if event.invoice_id else None
        if invoice:
            yield b"200\nratelimit-remaining: 5\nratelimit-reset: 30\n\n" + invoice
    quota = b"retry-after: 7\nratelimit-limit: 60, 60;w=60\nx-rate-limit-limit: 1m\nratelimit-reset: 1"
    yield b"429\n" + quota + b"\n\n{}"
    yield b"429\nretry-after: Tue, 06 May 2031 17:08:09 GMT\ndate: Tue, 06 May 2031 17:08:02 GMT\n\n"
    invoice_id = INVOICE_ID.encode()
    for body in (
        b'{"invoice": {"id": "%s", "invoice_items": []}, "error": null}' % invoice_id,
        b'{"invoice": null, "error": {"code": 418, "message": "x"}}',
        b'{"Error": {"StatusCode": "602"}}',
        b'{"code": 400}',
        b'{"Message": "x"}',
        b"<html>",
    ):
        yield b"200\n\n" + body
        yield b"400\n\n" + body


def letters() -> Iterator[bytes]:
    """Our own headers, and the broker's."""
    ours = (
        b'"source":"main","receipt_id":"r","received_at":"t","attempts":2,"path_type":"x","replay":"1","redriven":"1"'
    )
    yield b"{%s}\n{}" % ours
    yield b'{%s,"reason":"malformed","stage":"enrich","detail":"d","event_id":"e"}\n{}' % ours
    yield b'{"x-death":[{"queue":"zenoti.raw.main","reason":"delivery_limit","count":1}],"x-delivery-count":3}\n{}'
    yield b'{"x-death":[{"queue":"zenoti.enrich.main.0","reason":"rejected"}]}\n'


def configurations() -> Iterator[bytes]:
    """Every section, from file and environment."""
    file = b"""
[broker]
url = ["amqp://u:p@a:5672/v", "amqps://b/?cafile=/ca"]
prefix = "zenoti"
declare = false
[intake]
port = 0
confirm_seconds = 2.5
[consumer]
enrich_window = 100
[sources.main]
api_key_file = "/run/secrets/key"
webhook_secret = "a"
webhook_token = ["b", "c"]
verify = "observe"
expand = ["InvoiceItems"]
calls_per_minute = 30
[downstream.crm]
events = ["guest.#", "*.created"]
sources = ["main"]
max_bytes = 1000000
queue = "crm"
declare = false
[retry]
delays_seconds = [1, 2, 3]
[archive]
max_age = "12h"
[log]
level = "debug"
"""
    environment = b"BROKER__URL=amqp://u:p@h/\nSOURCES__MAIN__API_KEY=k\nRETRY__DELAYS_SECONDS=5,30\nX=1"
    yield file
    yield ENVIRONMENT + environment
    yield file + ENVIRONMENT + environment


SEEDS: Final[Mapping[str, Callable[[], Iterator[bytes]]]] = {
    "webhook": webhooks,
    "delivered": messages,
    "signature": signatures,
    "answer": answers,
    "headers": letters,
    "configuration": configurations,
}
