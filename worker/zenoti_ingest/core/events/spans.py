"""Names and attributes of spans, as data, by OpenTelemetry's semantic conventions.

Sources: https://opentelemetry.io/docs/specs/semconv/http/http-spans/, …/messaging/messaging-spans/ and
…/messaging/rabbitmq/. Attributes without a convention begin with `zenoti.`. They never contain a body, a query or a
header's value.
"""

from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.invoices.protocol import Request

Attributes = dict[str, str | int]

OUTCOME: Final = "zenoti.outcome"
ERROR: Final = "error.type"
STATUS: Final = "http.response.status_code"
HANDED_BACK: Final = "handed-back"
DEAD_LETTER: Final = "dead-letter"
DUPLICATE: Final = "duplicate"
HELD: Final = "held"
RETRIED: Final = "retried"
_DOOR: Final = "/webhooks/{source}"


class Described(msgspec.Struct, frozen=True):
    """A span that is about to begin."""

    name: str
    kind: Literal["server", "client", "producer", "consumer"]
    attributes: Attributes


class Server(msgspec.Struct, frozen=True):
    """A server to call: the base URL to which paths are added, host and port."""

    base: str
    address: str
    port: int


class Place(msgspec.Struct, frozen=True):
    """Where a message was received: the stage, its queue, and the exchange and routing key that led there."""

    stage: str
    queue: str
    exchange: str
    routing_key: str
    delivery_tag: int


def request(*, source: str, method: str) -> Described:
    """A webhook at the door. The event type in the path is left out, since it is the sender's text."""
    attributes: Attributes = {
        "http.request.method": method,
        "http.route": _DOOR,
        "url.path": f"/webhooks/{source}",
        "url.scheme": "http",
        "zenoti.source": source,
        "zenoti.stage": "intake",
    }
    return Described(f"{method} {_DOOR}", "server", attributes)


def publishing(message: Outgoing) -> Described:
    """A publish, from the first byte to the confirm."""
    destination = _joined(message.exchange, message.routing_key)
    attributes = _messaging(destination, message.routing_key, message.message_id, "publish", "send")
    return Described(f"publish {destination}", "producer", attributes)


def processing(message: Received, place: Place) -> Described:
    """A delivery, from its arrival until it is settled; its outcome is `handed-back` unless another is recorded."""
    destination = _joined(place.exchange, place.routing_key, place.queue)
    attributes = _messaging(destination, place.routing_key, message.receipt_id, "process", "process")
    attributes |= {
        "messaging.rabbitmq.message.delivery_tag": place.delivery_tag,
        "zenoti.source": message.source,
        "zenoti.stage": place.stage,
        "zenoti.attempt": message.attempts,
        OUTCOME: HANDED_BACK,
    }
    return Described(f"process {destination}", "consumer", attributes)


def server(base_url: str) -> Server:
    """The server of a base URL, without the credentials in it."""
    url = urlsplit(base_url)
    address, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    shown = f"[{address}]" if ":" in address else address
    return Server(f"{url.scheme}://{shown}:{port}{url.path.rstrip('/')}", address, port)


def calling(asked: Request, at: Server, *, source: str, events: int) -> Described:
    """A call to the invoice API that serves `events` events, without its query."""
    attributes: Attributes = {
        "http.request.method": "GET",
        "url.full": at.base + asked.path,
        "url.template": asked.template,
        "server.address": at.address,
        "server.port": at.port,
        "zenoti.source": source,
        "zenoti.stage": "enrich",
        "zenoti.events": events,
    }
    return Described(f"GET {asked.template}", "client", attributes)


def _messaging(destination: str, routing_key: str, message_id: str, operation: str, kind: str) -> Attributes:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": destination,
        "messaging.rabbitmq.destination.routing_key": routing_key,
        "messaging.message.id": message_id,
    }


def _joined(*parts: str) -> str:
    """Exchange, routing key and queue, joined as by the convention: without empty and repeated parts."""
    return ":".join(dict.fromkeys(filter(None, parts)))
