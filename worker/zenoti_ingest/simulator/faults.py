"""Faults between the API and its caller: plays a wire fault on a request.

`api` decides which calls get a fault. A caller that waits too long must hang up by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from zenoti_ingest.simulator.counters import NO_STATUS
from zenoti_ingest.simulator.invention import ZERO_GUID

_HANG_SECONDS: Final = 900.0  # longer than anybody waits
_TOO_LARGE: Final = 6 * 1024 * 1024
_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_JSON: Final = "application/json"

# Faults that a caller may end by hanging up, and the status that the caller has seen by then.
UNFINISHED: Final[Mapping[str, str]] = {
    "cut": NO_STATUS,
    "hang": NO_STATUS,
    "hang-after-headers": "200",
    "drip": "200",
    "half-answer": "200",
}


async def play(name: str, request: web.Request, document: bytes, *, drip_seconds: float) -> web.StreamResponse:
    """Answer with the fault of that name.

    Args:
        name: one of `switches.WIRE_FAULTS`.
        request: the request; its connection may be cut.
        document: the correct answer.
        drip_seconds: seconds between two bytes of a dripping answer.
    """
    plain = _ANSWERS.get(name)
    if plain is not None:
        return plain(document)
    if name == "drip":
        return await _drip(request, document, seconds=drip_seconds)
    return await _BREAKS[name](request, document)


def cut(request: web.Request) -> web.Response:
    """Reset the connection; the response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, _: bytes) -> web.StreamResponse:
    return cut(request)


async def _hang(_: web.Request, __: bytes) -> web.StreamResponse:
    await asyncio.sleep(_HANG_SECONDS)
    return web.Response(status=504)


async def _hang_after_headers(request: web.Request, document: bytes) -> web.StreamResponse:
    response = await _begun(request, document)
    await asyncio.sleep(_HANG_SECONDS)
    return response


async def _half_answer(request: web.Request, document: bytes) -> web.StreamResponse:
    response = await _begun(request, document)
    await response.write(document[: len(document) // 2])
    if request.transport is not None:
        request.transport.close()  # not aborted: the first half must arrive
    return response


async def _drip(request: web.Request, document: bytes, *, seconds: float) -> web.StreamResponse:
    response = await _begun(request, document)
    for place in range(len(document)):
        await response.write(document[place : place + 1])
        await asyncio.sleep(seconds)
    return response


async def _begun(request: web.Request, document: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": _JSON, "Content-Length": str(len(document))})
    await response.prepare(request)
    return response


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=_JSON)


def _of_another(document: bytes) -> bytes:
    """The same document with another id: the first `"id"` in it is the invoice's own."""
    head, found, rest = document.partition(b'"id":"')
    return head + found + ZERO_GUID.encode() + rest[len(ZERO_GUID) :] if found else document


_BREAKS: Final[Mapping[str, Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]]] = {
    "cut": _cut,
    "hang": _hang,
    "hang-after-headers": _hang_after_headers,
    "half-answer": _half_answer,
}
_ANSWERS: Final[Mapping[str, Callable[[bytes], web.Response]]] = {
    "truncated-json": lambda document: _json(document[: len(document) // 2]),
    "empty": lambda _: _json(b""),
    "html": lambda _: web.Response(status=502, body=_HTML, content_type="text/html"),
    "no-invoice": lambda _: _json(b'{"invoice":null,"error":null}'),
    "another-invoice": lambda document: _json(_of_another(document)),
    "redirect": lambda _: web.Response(status=302, headers={"Location": "/v1/elsewhere"}),
    "too-large": lambda document: _json(document + b" " * _TOO_LARGE),
}
