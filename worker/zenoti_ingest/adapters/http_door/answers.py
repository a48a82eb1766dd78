"""What the door answers, as responses: JSON, and problem details that hold no value of the request."""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import HttpVersion, HttpVersion11, web

from zenoti_schemas.door import Accepted, Pong, Problem

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
_BANNER: Final = {"Server": "zenoti-ingest"}  # else aiohttp shows the versions of our libraries


class Taken(web.StreamResponse):
    """A 2xx, written in one go.

    aiohttp's own response can have cookies, compression, chunks and files, and takes as long as reading the request.
    """

    def __init__(self, status: int, content: Accepted | Pong) -> None:
        super().__init__(status=status)
        self._content = msgspec.json.encode(content)
        self._stays: bool | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays; None until it has been written."""
        return self._stays

    def force_close(self) -> None:
        """The connection ends with it."""
        self._stays = False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write it."""
        if self._stays is None:
            self._stays = request.keep_alive
        if request.transport is None:
            raise ConnectionResetError
        head = _head(self.status, int(time.time()), stays=self._stays, version=request.version)
        request.transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(self._content), self._content))

    async def write_eof(self, data: bytes = b"") -> None:
        """It has been written."""
        del data


@lru_cache(maxsize=8)
def _head(status: int, second: int, *, stays: bool, version: HttpVersion) -> bytes:
    """All but the length; aiohttp's names for what the connection does, which HTTP/1.0 and 1.1 take for granted."""
    lines = [f"HTTP/{version.major}.{version.minor} {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in _BANNER.items()]
    lines += ["Content-Type: application/json", f"Date: {formatdate(second, usegmt=True)}"]
    if stays != (version >= HttpVersion11):
        lines.append(f"Connection: {'keep-alive' if stays else 'close'}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def unavailable(detail: str) -> web.Response:
    """Not now: 503 with the time after which to come again."""
    return problem(503, detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """Problem details; `detail` is ours, never the stranger's."""
    body = msgspec.json.encode(Problem(title=TITLES.get(status, "Error"), status=status, detail=detail))
    return web.Response(
        status=status, body=body, headers=_BANNER | (headers or {}), content_type="application/problem+json"
    )
