"""The invoice API over HTTP: a GET with a deadline and a size limit for its answer. It never follows redirects."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from zenoti_ingest.core.failures.errors import ApiUnavailable, ApiUnreachable
from zenoti_ingest.core.invoices.protocol import MAX_ANSWER_BYTES, Request, Response

_CHUNK_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024  # status line and headers together
_MAX_HEADERS = 1000
_PROTOCOL = len(b"HTTP/")


class InvoiceApi:
    """The API of one source.

    Args:
        session: shared by the process; its own time-outs are not used.
        base_url: with or without a path.
        api_key: called for each request, since a key file may change.
        call_seconds: deadline of a call, from connecting to the last byte of the answer.
        application_version: sent to the vendor, who sometimes demands it.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        api_key: Callable[[], str],
        call_seconds: float,
        application_version: str,
    ) -> None:
        self._session = session
        self._base_url = URL(base_url.rstrip("/"))
        self._api_key = api_key
        self._call_seconds = call_seconds
        # Connecting gets half of the time, so that "unreachable" and "slow" give different errors.
        self._connecting = aiohttp.ClientTimeout(total=None, sock_connect=call_seconds / 2)
        self._application_version = application_version

    def key_mark(self) -> object:
        """The key now in use; for comparison only, never shown."""
        return self._api_key()

    async def fetch(self, request: Request, *, last_look: Callable[[], None] = lambda: None) -> Response:
        """Send the request; return the answer, whatever its status.

        Args:
            request: what to ask for.
            last_look: called on an open connection, just before the first byte is sent; its exceptions pass through.

        Raises:
            ApiUnreachable: the connection could not be opened.
            ApiUnavailable: the answer was not complete in time, or is too large.
        """
        url = self._base_url.joinpath(request.path.lstrip("/")).with_query(list(request.query))
        headers = {
            "Authorization": f"apikey {self._api_key()}",
            "Accept": "application/json",
            "application_name": "zenoti-ingest",
            "application_version": self._application_version,
        }
        try:
            async with (
                asyncio.timeout(self._call_seconds),
                self._session.get(
                    url,
                    headers=headers,
                    allow_redirects=False,
                    timeout=self._connecting,
                    trace_request_ctx=last_look,
                ) as answer,
            ):
                body = await _bounded(answer)
                found = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status, found, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ApiUnreachable(f"the API cannot be reached: {type(error).__name__}") from error
        except TimeoutError as error:
            raise ApiUnavailable(f"the API did not answer within {self._call_seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiUnavailable(f"the API's answer did not come whole: {type(error).__name__}") from error


def new_session(*base_urls: str) -> aiohttp.ClientSession:
    """A session that reads no environment, keeps no cookies, sets no deadline of its own, and never retries.

    Args:
        base_urls: the URLs that it will call. If any is `https:`, it reads the system's certificates, or those that
            `SSL_CERT_FILE` names.
    """
    looks = aiohttp.TraceConfig()
    looks.on_request_headers_sent.append(_look)  # called just before they are sent, in the same turn of the event loop
    secure = any(url.lower().startswith("https:") for url in base_urls)
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=_Connector(limit=0, ssl=ssl.create_default_context() if secure else True),
        trust_env=False,
        trace_configs=[looks],
        max_line_size=_MAX_HEAD_BYTES,
        max_field_size=_MAX_HEAD_BYTES,
        max_headers=_MAX_HEADERS,
    )
    # By default aiohttp repeats a request when a kept connection breaks: a second call on the quota that nobody counts.
    session._retry_connection = False  # noqa: SLF001  # as aiohttp's own test client does; there is no public way
    return session


async def _look(session: object, context: Any, params: object) -> None:  # noqa: ARG001  # as aiohttp calls it
    if context.trace_request_ctx is not None:
        context.trace_request_ctx()


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ApiUnavailable(f"the API's answer is larger than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


class _AnswerReader(ResponseHandler):
    """aiohttp's response reader; it also accepts `http/1.1` in lower case, and limits the head in bytes."""

    _head_bytes = 0

    def set_response_params(self, **given: Any) -> None:
        """Prepare for the next answer."""
        self._head_bytes, self._payload = 0, None
        super().set_response_params(**given)

    def data_received(self, data: bytes) -> None:
        """Read on; a head of more than _MAX_HEAD_BYTES is an error, as too long a line is in aiohttp."""
        if self._payload is not None:
            super().data_received(data)
            return
        rest = max(0, _PROTOCOL - self._head_bytes)
        self._head_bytes += len(data)
        super().data_received(data[:rest].upper() + data[rest:])
        if self._payload is None and self._head_bytes > _MAX_HEAD_BYTES:
            self.set_exception(HttpProcessingError(code=400, message="the head is too large"))
            if self.transport is not None:
                self.transport.close()


class _Connector(aiohttp.TCPConnector):
    """Connections that use `_AnswerReader`; aiohttp has no public way to choose the reader."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        reader: type[ResponseHandler] = _AnswerReader
        self._factory = partial(reader, loop=asyncio.get_running_loop())
