"""The door's responses: JSON, and problem details that contain no value of the request."""

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
_BANNER: Final = {"Server": "zenoti-ingest"}  # by default aiohttp shows the versions of our libraries


class Taken(web.StreamResponse):
    """A 2xx response, sent in a single write.

    aiohttp's own response supports cookies, compression, chunks and files, and costs as much time as reading the
    request.
    """

    def __init__(self, status: int, content: Accepted | Pong) -> None:
        super().__init__(status=status)
        self._content = msgspec.json.encode(content)
        self._stays: bool | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open; None until the response has been written."""
        return self._stays

    def force_close(self) -> None:
        """Close the connection after this response."""
        self._stays = False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the response."""
        if self._stays is None:
            self._stays = request.keep_alive
        if request.transport is None:
            raise ConnectionResetError
        head = _head(self.status, int(time.time()), stays=self._stays, version=request.version)
        request.transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(self._content), self._content))

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has written the response."""
        del data


@lru_cache(maxsize=8)
def _head(status: int, second: int, *, stays: bool, version: HttpVersion) -> bytes:
    """The head without Content-Length. It has a Connection header only if that differs from the version's default."""
    lines = [f"HTTP/{version.major}.{version.minor} {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in _BANNER.items()]
    lines += ["Content-Type: application/json", f"Date: {formatdate(second, usegmt=True)}"]
    if stays != (version >= HttpVersion11):
        lines.append(f"Connection: {'keep-alive' if stays else 'close'}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def unavailable(detail: str) -> web.Response:
    """503, with the seconds after which the sender may retry."""
    return problem(503, detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """Problem details; `detail` is our text, never the sender's."""
    body = msgspec.json.encode(Problem(title=TITLES.get(status, "Error"), status=status, detail=detail))
    return web.Response(
        status=status, body=body, headers=_BANNER | (headers or {}), content_type="application/problem+json"
    )
