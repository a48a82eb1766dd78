"""The other ends, as cheap as can be, in a process of their own: the invoice API, and a door that only answers.

`python -m tests.bench.speed.stand_ins DELAY`: prints its port; each line of its input makes it print how many
requests have come; ends as its input does.
"""

import asyncio
import json
import re
import sys

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_INVOICE = re.compile(rb"/v1/invoices/([0-9A-Za-z-]+)")
_ITEM = {"id": "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0006", "name": "50 minutes of salt cave", "quantity": 1}
_PRICE = {"currency_id": 148, "sales": 100.5, "tax": 0.1, "final": 100.6, "discount": 0}
_DOCUMENT = {
    "id": "{id}",
    "invoice_number": "1001",
    "total_price": {"net_price": 488, "tax": 0.1, "sum_total": 488.1},
    "invoice_items": [_ITEM | {"price": _PRICE} for _ in range(4)],
    "transactions": [{"id": "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0008", "total_amount_paid": 488.1}],
    "appointments": [{"id": "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0009", "status": 1}],
}
_ANSWER = json.dumps({"invoice": _DOCUMENT, "error": None}).encode()
_TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


class StandIn(asyncio.Protocol):
    """Answers every request of a connection after the same delay."""

    came = 0

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._rest = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take every whole request."""
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._rest[:end])
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._rest) < whole:
                return
            del self._rest[:whole]
            StandIn.came += 1
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._answer, head)
            else:
                self._answer(head)

    def _answer(self, head: bytes) -> None:
        assert self._transport is not None
        asked = _INVOICE.search(head)
        if asked is None:
            self._transport.write(_TAKEN)
            return
        said = _ANSWER.replace(b"{id}", asked[1])
        kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(kind % len(said) + said)


async def serve(delay: float) -> None:
    """Listen until the input ends."""
    server = await asyncio.get_running_loop().create_server(lambda: StandIn(delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(StandIn.came, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
