"""The door as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1): its routes, and every answer that it may give."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from zenoti_ingest import __version__
from zenoti_ingest.adapters.http_door import METHODS, RETRY_AFTER_SECONDS, TITLES
from zenoti_ingest.operations.documents.shapes import Components, Json, event_data
from zenoti_ingest.settings import IntakeSettings, SourceSettings
from zenoti_schemas.door import Accepted, Pong, Problem
from zenoti_schemas.webhook import Envelope

_SCHEMAS: Final = "#/components/schemas/"
_ROUTES: Final = {"/webhooks/{source}": "source", "/webhooks/{source}/{event_type}": "type"}
_WHY: Final[Mapping[int, str]] = {
    400: "The request is no HTTP, or its body not as its headers say.",
    401: "Signature or token is missing or wrong; never for what the body says.",
    404: "There is no such source, or no such route.",
    405: "Any method but those here.",
    408: f"The body did not come within {IntakeSettings().body_seconds:g} s.",
    413: "The body is larger than `intake.max_body_bytes`, also a chunked one.",
    431: "The request line, a header, or all of them are too long.",
    500: "A defect of ours.",
    503: "Nothing can take the event now, or too many requests or bytes are in flight.",
}
_HEADERS: Final[Mapping[int, Json]] = {
    405: {"Allow": {"schema": {"type": "string", "const": "POST, PUT, PATCH"}}},
    503: {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "const": RETRY_AFTER_SECONDS}}},
}


def document() -> Json:
    """Return the whole document."""
    events = event_data()
    shapes: list[type[msgspec.Struct]] = [Accepted, Pong, Problem, Envelope]
    components = Components(_SCHEMAS, list(dict.fromkeys([*shapes, *events.values()])))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "zenoti-ingest, the door",
            "version": __version__,
            "description": "Takes Zenoti's webhooks. Any body is taken as the bytes on the wire, JSON or not, "
            "compressed or not: it is judged further on.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {
                "url": f"http://{IntakeSettings().host}:{IntakeSettings().port}",
                "description": "the default; put TLS before it",
            }
        ],
        "security": _security(),
        "tags": [{"name": "webhooks", "description": "What Zenoti posts."}],
        "paths": {route: _path(name, events) for route, name in _ROUTES.items()},
        "components": {
            "schemas": components.schemas,
            "requestBodies": {"Webhook": _request_body(components, events)},
            "responses": _responses(components),
            "parameters": _parameters(events),
            "securitySchemes": _security_schemes(),
        },
    }


def _path(name: str, events: Mapping[str, Any]) -> Json:
    parameters = ["source", *(["event_type"] if name == "type" else []), "content_encoding"]
    text = "The event type is the path's where the body carries none." if name == "type" else "The body names its type."
    answers = sorted((200, 202, *_WHY))
    return {
        "parameters": [{"$ref": f"#/components/parameters/{parameter}"} for parameter in parameters],
        **{
            method.lower(): {
                "operationId": f"{method.lower()}_webhook_by_{name}",
                "summary": "Hand over an event",
                "description": f"{text} All methods do the same; any type is taken, documented ({len(events)}) or not.",
                "tags": ["webhooks"],
                "requestBody": {"$ref": "#/components/requestBodies/Webhook"},
                "responses": {str(status): {"$ref": f"#/components/responses/{status}"} for status in answers},
            }
            for method in sorted(METHODS)
        },
    }


def _request_body(components: Components, events: Mapping[str, type[msgspec.Struct]]) -> Json:
    shapes: list[type[msgspec.Struct]] = [Envelope, *events.values()]
    bodies = [components.to(shape) for shape in dict.fromkeys(shapes)]
    return {
        "description": "The event in its envelope, or bare. 0 bytes are a ping.",
        "required": False,
        "content": {
            "application/json": {"schema": {"anyOf": bodies} if len(bodies) > 1 else bodies[0]},
            "*/*": {"schema": {}},
        },
    }


def _responses(components: Components) -> Json:
    def answer(text: str, shape: type[msgspec.Struct], kind: str, **more: Any) -> Json:
        return {"description": text, "content": {kind: {"schema": components.to(shape)}}, **more}

    return {
        "200": answer("A ping: the body had 0 bytes; nothing was queued. Unsigned is fine.", Pong, "application/json"),
        "202": answer("The event is safe.", Accepted, "application/json"),
        **{
            str(status): answer(
                f"{TITLES[status]}. {why}",
                Problem,
                "application/problem+json",
                **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
            )
            for status, why in _WHY.items()
        },
    }


def _parameters(events: Mapping[str, Any]) -> Json:
    text = {"type": "string"}
    return {
        "source": {
            "name": "source",
            "in": "path",
            "required": True,
            "description": "A source of the configuration, `sources.<name>`.",
            "schema": {**text, "pattern": "^[a-z][a-z0-9_]{0,31}$"},
            "example": "main",
        },
        "event_type": {
            "name": "event_type",
            "in": "path",
            "required": True,
            "description": "In any letter case.",
            "schema": {**text, "examples": list(events) or ["invoice.closed"]},
        },
        "content_encoding": {
            "name": "Content-Encoding",
            "in": "header",
            "required": False,
            "description": "Travels with the body; it is not inflated here.",
            "schema": text,
        },
    }


def _security() -> list[dict[str, list[str]]]:
    """Return what a source may demand, by its configuration: a signature, a token, both, or (`insecure`) neither."""
    either: list[tuple[str, ...]] = [
        ("signature",),
        ("token",),
        ("bearer",),
        ("signature", "token"),
        ("signature", "bearer"),
        (),
    ]
    return [{name: [] for name in names} for names in either]


def _security_schemes() -> Json:
    return {
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": SourceSettings().signature_header,
            "description": "HMAC-SHA256 of the body under `webhook_secret`: dashed hex, plain hex or base64, with or "
            "without `sha256=` before it. The header's name is `signature_header`.",
        },
        "token": {"type": "apiKey", "in": "query", "name": "token", "description": "`webhook_token`"},
        "bearer": {"type": "http", "scheme": "bearer", "description": "`webhook_token`"},
    }
