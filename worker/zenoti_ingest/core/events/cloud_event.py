"""Event and invoice -> CloudEvent and routing key. The webhook's body and the invoice are inserted byte for byte.

The headers repeat the attributes with the prefix `ce-` (CloudEvents binding for RabbitMQ), so that receivers can route
and filter without parsing. They also carry the event's trace (W3C `traceparent`, `tracestate`).
"""

import msgspec

from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.events.reading import Event
from zenoti_ingest.core.events.routing import routing_key
from zenoti_ingest.core.invoices.kinds import INVOICE, kind_of
from zenoti_schemas.enriched import CONTENT_TYPE, DATASCHEMA, EnrichedData, EnrichedEvent, Enrichment

_encoder = msgspec.json.Encoder()
_NULL = msgspec.Raw(b"null")
_IN_HEADERS = tuple(name for name in EnrichedEvent.__struct_fields__ if name != "data")


def outgoing(event: Event, *, exchange: str, enrichment: Enrichment, fetched: bytes | None = None) -> Outgoing:
    """The message for the events exchange.

    Args:
        event: the event as read by translate.
        exchange: the topic exchange to which downstream queues are bound.
        enrichment: how `fetched` was obtained.
        fetched: the API's object, byte for byte; it goes beside the event, under the word of its kind.
    """
    received = event.received
    parts = {INVOICE: _NULL}
    if fetched is not None:
        parts[kind_of(event.fetch_key or "")[0].word] = msgspec.Raw(fetched)
    cloud_event = EnrichedEvent(
        specversion="1.0",
        id=event.id,
        eventid=event.event_id,
        source=f"/zenoti/{received.source}",
        type=f"com.zenoti.{event.type}",
        subject=event.subject,
        time=event.time,
        datacontenttype="application/json",
        dataschema=DATASCHEMA,
        centerid=event.center_id,
        receivedat=received.received_at or None,
        receiptid=received.receipt_id or None,
        replay=received.replay or None,
        data=EnrichedData(
            event=msgspec.Raw(event.body),
            enrichment=enrichment,
            **parts,
        ),
    )
    headers = {f"ce-{name}": value for name in _IN_HEADERS if (value := getattr(cloud_event, name))}
    if received.trace:
        headers |= received.trace.headers()
    return Outgoing(
        exchange=exchange,
        routing_key=routing_key(received.source, event.type),
        body=_encoder.encode(cloud_event),
        message_id=event.id,
        headers=headers,
        content_type=CONTENT_TYPE,
    )
