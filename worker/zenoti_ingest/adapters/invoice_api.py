"""The invoice API over HTTP: one GET, whole within its deadline, bounded in size, redirects never followed."""

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
_MAX_HEAD_BYTES = 64 * 1024  # of status line and headers together
_MAX_HEADERS = 1000
_PROTOCOL = len(b"HTTP/")


class InvoiceApi:
    """The API of one source.

    Args:
        session: shared by the process; its own time-outs are not used.
        base_url: with or without a path.
        api_key: asked for at each call, since a file may change.
        call_seconds: deadline of one call, whole.
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
        # Half of the time for connecting, so that silence differs from slowness.
        self._connecting = aiohttp.ClientTimeout(total=None, sock_connect=call_seconds / 2)
        self._application_version = application_version

    def key_mark(self) -> object:
        """The key as it stands now; to be compared, never shown."""
        return self._api_key()

    async def fetch(self, request: Request, *, last_look: Callable[[], None] = lambda: None) -> Response:
        """Send it, and return what came back, be it an error.

        Args:
            request: what to ask.
            last_look: called once there is a connection, just before the first byte; what it raises is raised here.

        Raises:
            ApiUnreachable: no answer at all.
            ApiUnavailable: the answer did not come whole in time, or is too large.
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
    """A session that reads no environment, keeps no cookies, sets no deadline of its own, and calls once.

    Args:
        base_urls: that it is for: with TLS among them it reads the system's certificates (`SSL_CERT_FILE` is theirs).
    """
    looks = aiohttp.TraceConfig()
    looks.on_request_headers_sent.append(_look)  # it comes as they are about to be sent, in the same turn of the loop
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
    # By itself it asks anew where a kept connection is cut: a second call of the vendor's quota that nobody counts.
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
    """aiohttp's reader of answers; it takes `http/1.1` in lower case too, and bounds the head in bytes."""

    _head_bytes = 0

    def set_response_params(self, **given: Any) -> None:
        """The next answer begins."""
        self._head_bytes, self._payload = 0, None
        super().set_response_params(**given)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that does not end in time is an error, as a line that is too long is to aiohttp."""
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
    """Connections whose answers are read so; aiohttp has no public way to name the reader."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        reader: type[ResponseHandler] = _AnswerReader
        self._factory = partial(reader, loop=asyncio.get_running_loop())
