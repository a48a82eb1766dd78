"""The simulated invoice API: one resource, one key, one quota, and Zenoti's way of saying no.

Errors come as statuses and inside a 200, as in https://docs.zenoti.com/reference/retrieve-invoice-details; the quota
and its headers are those of https://docs.zenoti.com/docs/api-rate-limits-1, but that it fills evenly.
"""

import math
import time
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from worker.simulator.world import World


class Calls(msgspec.Struct):
    """What has been asked so far: every request for an invoice, and those refused, by reason."""

    calls: int = 0
    throttled: int = 0
    unauthorised: int = 0
    not_found: int = 0


CALLS: Final = web.AppKey("calls", Calls)


class _Bucket:
    """A minute's calls at most, filled evenly; the bucket is full at the start."""

    def __init__(self, calls_per_minute: float, *, clock: Callable[[], float]) -> None:
        self._size = calls_per_minute
        self._clock = clock
        self._filled_at = clock()
        self._tokens = calls_per_minute

    def take(self) -> bool:
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._filled_at) * self._size / 60)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def headers(self) -> dict[str, str]:
        limit = f"{self._size:g};w=60;b={self._size:g}"
        return {
            "RateLimit-Limit": limit,
            "Organization-RateLimit-Limit": limit,
            "RateLimit-Remaining": str(math.floor(self._tokens)),
            "RateLimit-Reset": str(math.ceil(self._seconds_until(self._size))),
        }

    def retry_after(self) -> str:
        # Whole seconds, and never 0, which would invite an instant retry.
        return str(max(1, math.ceil(self._seconds_until(1))))

    def _seconds_until(self, tokens: float) -> float:
        return max(0.0, tokens - self._tokens) * 60 / self._size


class _Api:
    def __init__(self, world: World, *, api_key: str, bucket: _Bucket, calls: Calls) -> None:
        self._world = world
        self._authorization = f"apikey {api_key}"
        self._bucket = bucket
        self._calls = calls

    async def invoice(self, request: web.Request) -> web.Response:
        invoice_id = request.match_info.get("invoice_id", "")
        if request.method != "GET" or not invoice_id:
            return _refuse(405, f"The requested resource does not support http method '{request.method}'.")
        self._calls.calls += 1
        if request.headers.get("Authorization") != self._authorization:
            self._calls.unauthorised += 1
            return _refuse(401, "Authorization has been denied for this request.")
        if self._bucket.take():
            response = self._answer(invoice_id, expand=request.query.getall("expand", []))
        else:
            self._calls.throttled += 1
            response = _refuse(429, "The quota of API calls is used up.")
            response.headers["Retry-After"] = self._bucket.retry_after()
        response.headers.update(self._bucket.headers())
        return response

    def _answer(self, invoice_id: str, *, expand: list[str]) -> web.Response:
        document = self._world.invoice(invoice_id, expand=expand)
        if document is None:
            self._calls.not_found += 1
            return _refuse(418, f"couldn't find invoice with the id provided, invoice id : {invoice_id}", status=200)
        return web.Response(body=document, content_type="application/json")

    async def stats(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._calls), content_type="application/json")


def build_api(
    world: World, *, api_key: str, calls_per_minute: float = 60, clock: Callable[[], float] = time.monotonic
) -> web.Application:
    """Build the API over the invoices of `world`; `app[CALLS]` and `GET /_simulator/stats` tell what was asked of it.

    Args:
        world: whose invoices are served, as they stand when asked for.
        api_key: the one key that is let in, as `Authorization: apikey KEY`; a call without it costs nothing.
        calls_per_minute: refill of the quota, and its burst. At least 1.
        clock: monotonic seconds.
    """
    calls = Calls()
    api = _Api(world, api_key=api_key, bucket=_Bucket(calls_per_minute, clock=clock), calls=calls)
    app = web.Application()
    app[CALLS] = calls
    app.router.add_route("*", "/v1/invoices", api.invoice)
    app.router.add_route("*", "/v1/invoices/{invoice_id:[^/]*}", api.invoice)
    app.router.add_get("/_simulator/stats", api.stats)
    return app


def _refuse(code: int, message: str, *, status: int | None = None) -> web.Response:
    body = msgspec.json.encode({"invoice": None, "error": {"code": code, "message": message}})
    return web.Response(body=body, content_type="application/json", status=status or code)
