"""RabbitMQ's management API: reads what a virtual host holds, including bindings and policies, which AMQP cannot show.

It never writes. Its user needs the tag `monitoring` or `management`, and access to the virtual host.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.core.topology.differences import BrokerSnapshot, ObservedBinding, ObservedExchange, ObservedQueue

DEADLINE_SECONDS = 15.0
COUNT_SECONDS = 5.0
MAX_BYTES = 64 * 1024 * 1024
_COLUMNS = {
    "exchanges": ",".join(ObservedExchange.__struct_fields__),
    "queues": ",".join(ObservedQueue.__struct_fields__),
    "bindings": ",".join(ObservedBinding.__struct_fields__),
}


class _Counts(msgspec.Struct):
    """A queue's message counts; the API omits them until it has counted."""

    name: str
    messages: int = 0
    messages_ready: int = 0


class ManagementApi(msgspec.Struct, frozen=True, kw_only=True):
    """The API's address and user.

    Attributes:
        url: its address. A user in the URL takes precedence over `user`; `?cafile=` names a private CA.
        vhost: the virtual host.
        user: the API user, if the URL names none.
        password: the password of `user`.
    """

    url: str
    vhost: str
    user: str
    password: str

    async def look(self) -> BrokerSnapshot:
        """Read exchanges, queues and bindings.

        Raises:
            BrokerUnavailable: no valid answer in time; the text shows no credentials.
        """
        async with self._asking(DEADLINE_SECONDS) as (session, base):
            read = {kind: await _read(session, base, kind, self.vhost, columns) for kind, columns in _COLUMNS.items()}
            return BrokerSnapshot(
                msgspec.json.decode(read["exchanges"], type=list[ObservedExchange]),
                msgspec.json.decode(read["queues"], type=list[ObservedQueue]),
                msgspec.json.decode(read["bindings"], type=list[ObservedBinding]),
            )

    async def in_hands(self) -> dict[str, int]:
        """How many messages of each queue are not ready: a consumer holds them, or the broker's dead-letter worker.

        Raises:
            BrokerUnavailable: as for `look`.
        """
        async with self._asking(COUNT_SECONDS) as (session, base):
            read = await _read(session, base, "queues", self.vhost, ",".join(_Counts.__struct_fields__))
            counts = msgspec.json.decode(read, type=list[_Counts])
            return {queue.name: max(0, queue.messages - queue.messages_ready) for queue in counts}

    @asynccontextmanager
    async def _asking(self, seconds: float) -> AsyncIterator[tuple[aiohttp.ClientSession, URL]]:
        """A session that ends within `seconds`, and the API's base URL."""
        at = URL(self.url)
        place = f"the management API at {at.host}:{at.port}"
        user, password = (at.user, at.password or "") if at.user else (self.user, self.password)
        try:
            tls = ssl.create_default_context(cafile=at.query.get("cafile")) if at.scheme == "https" else True
            async with (
                asyncio.timeout(seconds),
                aiohttp.ClientSession(
                    headers={"Authorization": aiohttp.encode_basic_auth(user, password)},
                    connector=aiohttp.TCPConnector(ssl=tls),
                    trust_env=False,
                ) as session,
            ):
                yield session, at.with_user(None).with_query(None)
        except _Refused as error:
            raise BrokerUnavailable(f"{place} {error}") from None
        except TimeoutError:
            raise BrokerUnavailable(f"{place} did not answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise BrokerUnavailable(f"{place} cannot be reached: {type(error).__name__}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BrokerUnavailable(f"{place} answered something else: {type(error).__name__}") from None


class _Refused(Exception):  # never leaves this module
    """The API answered, but not with data."""


async def _read(session: aiohttp.ClientSession, base: URL, kind: str, vhost: str, columns: str) -> bytes:
    path = f"{base.raw_path.rstrip('/')}/api/{kind}/{quote(vhost, safe='')}"
    target = base.with_path(path, encoded=True).with_query(columns=columns)
    async with session.get(target, allow_redirects=False) as answer:
        if answer.status != 200:  # noqa: PLR2004  # RFC 9110
            raise _Refused(f"answered {answer.status} for /api/{kind}{_WHY.get(answer.status, '')}")
        body = bytearray()
        async for chunk in answer.content.iter_chunked(65536):
            body += chunk
            if len(body) > MAX_BYTES:
                raise _Refused(f"answered more than {MAX_BYTES} bytes for /api/{kind}")
        return bytes(body)


_WHY: dict[int, str] = {
    401: ": its user wants the tag `monitoring` or `management`; give one in broker.management_url",
    403: ": its user has no rights in this virtual host",
    404: ": there is no such virtual host, or this is not a management API",
}
