"""What the door answers, as responses: JSON, and problem details that hold no value of the request."""

from typing import Final

import msgspec
from aiohttp import web

from schemas.door import Accepted, Pong, Problem

RETRY_AFTER_SECONDS: Final = 30  # Zenoti's own first retry
TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_BANNER: Final = {"Server": "zenoti-ingest"}  # else aiohttp tells the versions of what we are made of


def taken(status: int, content: Accepted | Pong) -> web.Response:
    """A 2xx."""
    body = msgspec.json.encode(content)
    return web.Response(status=status, body=body, headers=_BANNER, content_type="application/json")


def unavailable(detail: str) -> web.Response:
    """Not now: 503 with the time after which to come again."""
    return problem(503, detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """Problem details; `detail` is ours, never the stranger's."""
    body = msgspec.json.encode(Problem(title=TITLES.get(status, "Error"), status=status, detail=detail))
    return web.Response(
        status=status, body=body, headers=_BANNER | (headers or {}), content_type="application/problem+json"
    )
