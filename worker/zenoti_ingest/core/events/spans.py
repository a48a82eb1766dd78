"""The name and the attributes of a span, as data, by OpenTelemetry's semantic conventions.

Sources: https://opentelemetry.io/docs/specs/semconv/http/http-spans/, …/messaging/messaging-spans/ and
…/messaging/rabbitmq/. What they have no word for stands under `zenoti.`. Never a body, a query, a header's value.
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
    """Whom one calls: the URL that paths are added to, host and port."""

    base: str
    address: str
    port: int


class Place(msgspec.Struct, frozen=True):
    """Where a message came from: the stage and its queue, and how the message got there."""

    stage: str
    queue: str
    exchange: str
    routing_key: str
    delivery_tag: int


def request(*, source: str, method: str) -> Described:
    """A webhook at the door. The event type that may stand in the path is a stranger's text: it is left out."""
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
    """A delivery, from when it came until it is settled; handed back where nothing else is reported."""
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
    """Where a base URL points; credentials in it are left out."""
    url = urlsplit(base_url)
    address, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    shown = f"[{address}]" if ":" in address else address
    return Server(f"{url.scheme}://{shown}:{port}{url.path.rstrip('/')}", address, port)


def calling(asked: Request, at: Server, *, source: str, events: int) -> Described:
    """A call to the invoice API, for so many events; the query is left out."""
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
    """Exchange, routing key and queue, as the convention joins them: what is empty, or said already, is left out."""
    return ":".join(dict.fromkeys(filter(None, parts)))
