"""The messages on the broker, with their headers, as AsyncAPI shows them.

There are five kinds: a webhook on its way through our own queues, an event that goes out, a dead letter, a daemon's
state, a lane's baton. The first two have a message for each shape of documented events, and a message for all other
types.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from zenoti_ingest.core.events import trace_context
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.operations.documents.shapes import Components, Json, attribute_texts
from zenoti_schemas.dead_letter import DeadLetterHeaders
from zenoti_schemas.enriched import CONTENT_TYPE, EnrichedData, EnrichedEvent
from zenoti_schemas.state import DaemonState
from zenoti_schemas.webhook import Envelope

WEBHOOK: Final = "webhook"
EVENT: Final = "event"
DEAD: Final = "dead-letter"
STATE: Final = "state"
BATON: Final = "baton"
_BATON_BODY: Final = {
    "title": "Baton",
    "type": "object",
    "description": "Calls of the last minute by their age, calls saved up, the circuit where it is open. Internal: it "
    "changes with any release, and a process that cannot read it waits as if there were none.",
}
_JSON: Final = "application/json"
_OTHER: Final = "other"
_RECEIVED: Final = Received(body=b"", source="main", receipt_id="…", received_at="…")
_TRACE: Final = trace_context.context("1" * 32, "1" * 16, state="a=b")
_ALL_KNOWN: Final = msgspec.structs.replace(
    _RECEIVED, path_type="…", attempts=2, replay="…", redriven=True, trace=_TRACE
)
_TRACE_TEXTS: Final = {
    trace_context.PARENT: "W3C Trace Context: the trace that the event belongs to.",
    trace_context.STATE: "W3C Trace Context: what tracing systems add of their own.",
}


def messages(components: Components, events: Mapping[str, type[msgspec.Struct]]) -> dict[str, Json]:
    """Return every message by name.

    Args:
        components: the shapes' schemas.
        events: the shape of `data` by event type.
    """
    shapes = {
        shape.__name__: (components.to(shape), [kind for kind, each in events.items() if each is shape])
        for shape in dict.fromkeys(events.values())
    }
    any_body = {"title": "any body", "description": "Not always an envelope or JSON."}
    return {
        **{f"{WEBHOOK}.{name}": _webhook(kinds, _body(components, data)) for name, (data, kinds) in shapes.items()},
        f"{WEBHOOK}.{_OTHER}": _webhook([], any_body),
        **{f"{EVENT}.{name}": _event(components, kinds, data) for name, (data, kinds) in shapes.items()},
        f"{EVENT}.{_OTHER}": _other_event(components, list(events)),
        DEAD: _dead(components),
        f"{DEAD}.by-broker": _dead_by_broker(),
        STATE: _message(STATE, "What a daemon says of itself.", components.to(DaemonState)),
        BATON: _message(BATON, "What a lane's holder leaves for the next.", _BATON_BODY),
    }


def webhook_headers() -> Json:
    """Return the headers of a message between our own stages, as `core.events.messages` writes them."""
    texts = attribute_texts(Received) | _TRACE_TEXTS
    written = _ALL_KNOWN.to(exchange="", routing_key="").headers
    always = _RECEIVED.to(exchange="", routing_key="").headers
    return {
        "type": "object",
        "properties": {
            name: {"type": "integer" if isinstance(value, int) else "string", "description": texts[name]}
            for name, value in written.items()
        },
        "required": sorted(always),
    }


def event_headers(components: Components) -> Json:
    """Return the headers of an event: the CloudEvent's attributes, to route and filter by, and the trace."""
    whole = components.schemas[components.names[EnrichedEvent]]
    attributes = {name: schema for name, schema in whole["properties"].items() if name != "data"}
    return {
        "type": "object",
        "properties": {f"ce-{name}": {"type": "string", **_text(schema)} for name, schema in attributes.items()}
        | {name: {"type": "string", "description": text} for name, text in _TRACE_TEXTS.items()},
        "required": sorted(f"ce-{name}" for name in whole["required"] if name != "data"),
    }


def dead_letter_headers(components: Components) -> Json:
    """Return the headers of a dead letter: those of the message as it stood, and why it is a dead letter."""
    return {
        "type": "object",
        "allOf": [components.to(DeadLetterHeaders), {**webhook_headers(), "required": []}],
        "required": [name for name in DeadLetterHeaders.__struct_fields__ if name != "body_at"],
    }


def _text(schema: Json) -> Json:
    return {key: schema[key] for key in ("description", "enum") if key in schema}


def _message(kind: str, summary: str, payload: Json, **more: Any) -> Json:
    return {
        "summary": summary,
        "contentType": _JSON,
        "payload": payload,
        "bindings": {"amqp": {"bindingVersion": "0.3.0"}},
        "x-kind": kind,
        **more,
    }


def _body(components: Components, data: Json) -> Json:
    """Return a webhook's body: the data in its envelope, or bare where the type stands in the path."""
    return {
        "anyOf": [
            {
                "allOf": [
                    components.to(Envelope),
                    {"properties": {"data": data}, "required": ["data"], "type": "object"},
                ]
            },
            data,
        ]
    }


def _webhook(kinds: Sequence[str], payload: Json) -> Json:
    return _message(
        WEBHOOK,
        f"A webhook as received: {', '.join(kinds) or 'of any other type'}.",
        payload,
        headers=webhook_headers(),
        description="The body and its content type and encoding are those of the request; message_id is the receipt.",
    )


def _event(components: Components, kinds: Sequence[str], data: Json) -> Json:
    """Return the message of all events whose data have the same shape."""
    content = {"allOf": [components.to(EnrichedData), {"properties": {"event": _body(components, data)}}]}
    types = {"enum": _ce_types(kinds)}
    payload = {"allOf": [components.to(EnrichedEvent), {"properties": {"type": types, "data": content}}]}
    return _outgoing(components, ", ".join(kinds), payload)


def _other_event(components: Components, known: Sequence[str]) -> Json:
    payload = components.to(EnrichedEvent)
    if known:
        payload = {"allOf": [payload, {"properties": {"type": {"not": {"enum": _ce_types(known)}}}}]}
    return _outgoing(components, "of any other type", payload)


def _ce_types(kinds: Sequence[str]) -> list[str]:
    return [f"com.zenoti.{kind}" for kind in kinds]


def _outgoing(components: Components, kind: str, payload: Json) -> Json:
    return _message(
        EVENT,
        f"An event that goes out: {kind}.",
        payload,
        headers=event_headers(components),
        contentType=CONTENT_TYPE,
        description="A CloudEvent 1.0 in the structured mode; message_id is its `id`, the same for the same event.",
    )


def _dead(components: Components) -> Json:
    return _message(
        DEAD,
        "An event that could not go on, and why.",
        {"title": "the webhook's body as it stood"},
        headers=dead_letter_headers(components),
        description="The body and its content type and encoding are those of the message as it stood.",
    )


def _dead_by_broker() -> Json:
    known = webhook_headers()
    deaths = {
        "type": "array",
        "description": "https://www.rabbitmq.com/docs/dlx",
        "items": {"type": "object", "properties": {"queue": {"type": "string"}, "reason": {"type": "string"}}},
    }
    return _message(
        DEAD,
        "What the broker itself dead-lettered, beyond a delivery limit: it bears no reason of ours.",
        {"title": "the webhook's body as it stood"},
        headers={**known, "properties": {**known["properties"], "x-death": deaths}, "required": ["x-death"]},
    )
