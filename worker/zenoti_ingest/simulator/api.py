"""The simulated invoice API: a single resource, an organisation's quota, and Zenoti's error answers.

Errors come as statuses and inside a 200, as in https://docs.zenoti.com/reference/retrieve-invoice-details. The board
controls its behaviour, call by call, and counts.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from zenoti_ingest.simulator import faults
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.bucket import Bucket
from zenoti_ingest.simulator.counters import count
from zenoti_ingest.simulator.refusals import refusal
from zenoti_ingest.simulator.switches import WIRE_FAULTS
from zenoti_ingest.simulator.world import World

_NO_DOCUMENT: Final = b'{"invoice":null,"error":null}'
_DRIP_SECONDS: Final = 1.0


class Api:
    """Answers calls for invoices, in their state at the time of the call.

    Args:
        clock: returns monotonic seconds.

    Attributes:
        called_at: when the last call came, by that clock.
    """

    def __init__(self, world: World, board: Board, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._world = world
        self._board = board
        self._clock = clock
        self._bucket = Bucket(calls_per_minute=board.switches.api.calls_per_minute, speed=board.speed, now=clock())
        self._luck = board.chance("faults")
        self._delay = board.chance("latency")
        self._asked_in_vain: dict[str, int] = {}
        self.called_at = clock()

    def routes(self) -> list[web.RouteDef]:
        """The routes; an empty id or a method other than GET gets a 405."""
        return [
            web.route("*", "/v1/invoices", self._invoice),
            web.route("*", "/v1/invoices/{invoice_id:[^/]*}", self._invoice),
        ]

    async def _invoice(self, request: web.Request) -> web.StreamResponse:
        invoice_id = request.match_info.get("invoice_id", "")
        if request.method != "GET" or not invoice_id:
            return _refuse("405", f"The requested resource does not support http method '{request.method}'.")
        if self._board.down:
            return faults.cut(request)
        self.called_at = self._clock()
        counters = self._board.api
        counters.calls += 1
        key, let_in = self._board.key_of(request.headers.get("Authorization", ""))
        count(counters.by_key, key)
        if let_in:
            response = await self._metered(request, invoice_id)
        else:
            counters.unauthorised += 1
            response = _refuse("401")
            count(counters.by_status, str(response.status))
        return response

    async def _metered(self, request: web.Request, invoice_id: str) -> web.StreamResponse:
        switches, counters = self._board.switches.api, self._board.api
        fault = ""
        now, per_minute, others = self._clock(), switches.calls_per_minute, switches.other_calls
        if self._bucket.take(now, calls_per_minute=per_minute, other_calls=others):
            fault = self._drawn_fault()
            headers = self._bucket.headers()
            response = await self._answer(request, invoice_id, fault=fault)
        else:
            counters.throttled += 1
            headers = self._bucket.headers()
            response = _refuse("429")
        if response.status == web.HTTPTooManyRequests.status_code:
            response.headers["Retry-After"] = self._bucket.retry_after()
        if switches.quota_headers and not response.prepared:
            response.headers.update(headers)
        if fault not in faults.UNFINISHED:
            count(counters.by_status, str(response.status))
        return response

    def _drawn_fault(self) -> str:
        """The fault for this call, or none. Each call draws once, so switching a fault does not change the order."""
        drawn = self._luck.random()
        for name, share in self._board.switches.api.faults.items():
            if drawn < share:
                count(self._board.api.by_fault, name)
                return name
            drawn -= share
        return ""

    async def _answer(self, request: web.Request, invoice_id: str, *, fault: str) -> web.StreamResponse:
        shortest, longest = self._board.switches.api.latency
        await asyncio.sleep((shortest + (longest - shortest) * self._delay.random()) / self._board.speed)
        if fault in faults.UNFINISHED:
            count(self._board.api.by_status, faults.UNFINISHED[fault])
        if fault in WIRE_FAULTS:
            document = self._document(request, invoice_id) or _NO_DOCUMENT
            return await faults.play(fault, request, document, drip_seconds=_DRIP_SECONDS / self._board.speed)
        if fault:
            return _refuse(fault)
        document_or_none = None if self._is_late(invoice_id) else self._document(request, invoice_id)
        if document_or_none is None:
            self._board.api.not_found += 1
            return _refuse("418/200", f"couldn't find invoice with the id provided, invoice id : {invoice_id}")
        self._world.asked(invoice_id)
        return web.Response(body=document_or_none, content_type="application/json")

    def _document(self, request: web.Request, invoice_id: str) -> bytes | None:
        expand = request.query.getall("expand", [])
        if self._board.switches.api.split_expands and len({part.lower() for part in expand}) > 1:
            expand = []
        return self._world.invoice(invoice_id, expand=expand)

    def _is_late(self, invoice_id: str) -> bool:
        """Whether this invoice is among those not found at first, and this call is among those that do not find it."""
        switches = self._board.switches.api
        key = invoice_id.lower()
        if not switches.late:
            return False
        if self._board.chance(f"late:{key}").random() >= switches.late:
            return False
        calls = self._asked_in_vain.get(key, 0) + 1
        self._asked_in_vain[key] = min(calls, switches.late_calls + 1)
        return calls <= switches.late_calls


def _refuse(name: str, text: str = "") -> web.Response:
    refused = refusal(name, text=text)
    return web.Response(body=refused.body, content_type="application/json", status=refused.status)
