"""An invoice API of bytes: a TCP server that answers each call with what a test wrote, header by header."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

INVOICE_ID: Final = "7e4e1a62-5982-4b3c-b9ac-0000000000aa"
_JSON: Final = b"application/json"
_HEAD_SECONDS: Final = 5.0


def http(
    body: bytes,
    *,
    status: int = 200,
    kind: bytes = _JSON,
    length: int | None = None,
    protocol: bytes = b"HTTP/1.1",
    more: bytes = b"",
) -> bytes:
    """An answer; `length` is what its Content-Length claims, `more` further header lines."""
    claimed = len(body) if length is None else length
    head = b"%s %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (protocol, status, kind, claimed, more)
    return head + body


def good(invoice_id: str = INVOICE_ID) -> bytes:
    """The answer with an invoice."""
    return http(b'{"invoice": {"id": "%s", "invoice_items": []}, "error": null}' % invoice_id.encode())


NOT_FOUND: Final = http(b'{"error": {"code": 418, "message": "no such invoice"}}')


class RawApi:
    """Answers by invoice, each list one answer after the other, the last for ever.

    Attributes:
        asked: the invoices that were asked for, in order.
        otherwise: the answer for an invoice that no test has set.
    """

    def __init__(self, answers: Mapping[str, Sequence[bytes]] | None = None) -> None:
        self._answers = {invoice: list(given) for invoice, given in (answers or {}).items()}
        self.asked: list[str] = []
        self.otherwise = NOT_FOUND
        self.url = ""

    def will(self, invoice_id: str, *answers: bytes) -> None:
        """From now on answer so for an invoice."""
        self._answers[invoice_id] = list(answers)

    def _next(self, invoice_id: str) -> bytes:
        answers = self._answers.get(invoice_id, [self.otherwise])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_HEAD_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                invoice_id = head.split(b" ", 2)[1].partition(b"?")[0].rpartition(b"/")[2].decode()
                self.asked.append(invoice_id)
                answer = self._next(invoice_id)
                writer.write(answer)
                await writer.drain()
                if not answer or b"connection: close" in answer.lower():
                    return
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            return  # the caller hung up
        finally:
            writer.close()


@asynccontextmanager
async def served(api: RawApi) -> AsyncIterator[RawApi]:
    """Listen until the block ends."""
    server = await asyncio.start_server(api._serve, "127.0.0.1", 0)  # noqa: SLF001  # its own server
    api.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield api
    finally:
        server.close()
