"""Posts a webhook over HTTP, signed as Zenoti signs, once. `registration` decides when and how often."""

import hmac
from typing import Final
from urllib.parse import quote, urlsplit

import aiohttp
import structlog

from zenoti_ingest.simulator.world import WebhookEvent

SIGNATURE_HEADER: Final = "zenoti-webhook-signature"
NO_ANSWER: Final = 0
PATIENCE_SECONDS: Final = 10.0  # the vendor's

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def sign(secret: bytes, body: bytes) -> str:
    """Return the signature header's value for `body`: HMAC-SHA256 as `sha256 =18-2E-…`, including the space."""
    return f"sha256 ={hmac.digest(secret, body, 'sha256').hex('-').upper()}"


def taken(status: int) -> bool:
    """Whether the vendor counts this answer as a success: any 2xx."""
    return 200 <= status < 300  # noqa: PLR2004  2xx


class WebhookSender:
    """Posts webhooks to a door.

    Args:
        door_url: address of the door with its source, e.g. `http://127.0.0.1:8080/webhooks/main`.
        secret: signs every body; None: no signature header.
        token: sent as `?token=`; None: none.
        session: the caller closes it.
        patience_seconds: without an answer within this time, a post has failed.
    """

    def __init__(
        self,
        door_url: str,
        *,
        secret: bytes | None,
        token: str | None,
        session: aiohttp.ClientSession,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._door_url = door_url
        self._secret = secret
        self._query = {} if token is None else {"token": token}
        self._session = session
        self._patience = aiohttp.ClientTimeout(total=patience_seconds)

    async def post(self, event: WebhookEvent) -> int:
        """Post once and return the status, or NO_ANSWER if no answer came in time; the reason is logged.

        An event with a `path_type` goes to `<door>/<type>`.
        """
        signature = {} if self._secret is None else {SIGNATURE_HEADER: sign(self._secret, event.body)}
        return await self._post(event.body, headers=signature, path_type=event.path_type)

    async def ping(self) -> int:
        """Post what the test button of Zenoti's console sends, empty and unsigned; return the same as `post`."""
        return await self._post(b"", headers={}, path_type="")

    async def _post(self, body: bytes, *, headers: dict[str, str], path_type: str) -> int:
        door = _door_for(self._door_url, path_type)
        try:
            async with self._session.post(
                door,
                data=body,
                params=self._query,
                headers={"Content-Type": "application/json"} | headers,
                timeout=self._patience,
                allow_redirects=False,  # a redirected POST would arrive as a GET, without its body
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.warning("simulator_unanswered", door=door, error=repr(error))
            return NO_ANSWER


def _door_for(door_url: str, path_type: str) -> str:
    if not path_type:
        return door_url
    door = urlsplit(door_url)
    return door._replace(path=f"{door.path.rstrip('/')}/{quote(path_type, safe='')}").geturl()
