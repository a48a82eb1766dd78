"""The simulated sender: signs as Zenoti does, posts, tries again, and paces.

What is told is `world`'s; here is only when and how it is posted. The vendor's own retry rules are not played yet.
"""

import asyncio
import hmac
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlsplit

import aiohttp
import structlog

from worker.simulator.world import WebhookEvent, World

SIGNATURE_HEADER: Final = "zenoti-webhook-signature"
OPEN_VISITS: Final = 5  # as many guests are in the salon at a time

_ANSWER_WITHIN: Final = aiohttp.ClientTimeout(total=10)  # seconds; the vendor's own patience
_BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def sign(secret: bytes, body: bytes) -> str:
    """Return the signature header's value for `body`: HMAC-SHA256 as `sha256 =18-2E-…`, space and all."""
    return f"sha256 ={hmac.digest(secret, body, 'sha256').hex('-').upper()}"


class WebhookSender:
    """Posts webhooks to one door.

    Args:
        door_url: address of the door with its source, e.g. `http://127.0.0.1:8080/webhooks/main`.
        secret: signs every body; None leaves the signature header out.
        token: goes along as `?token=`; None leaves it out.
        session: stays the caller's to close.
    """

    def __init__(
        self, door_url: str, *, secret: bytes | None, token: str | None, session: aiohttp.ClientSession
    ) -> None:
        self._door_url = door_url
        self._secret = secret
        self._query = {} if token is None else {"token": token}
        self._session = session

    async def post(self, event: WebhookEvent) -> int:
        """Post once and return the status, or 0 if no answer came within 10 s; the reason of that is logged.

        An event with a type for the path goes to `<door>/<type>`.
        """
        signature = {} if self._secret is None else {SIGNATURE_HEADER: sign(self._secret, event.body)}
        return await self._post(event.body, headers=signature, path_type=event.path_type)

    async def ping(self) -> int:
        """Post what the console's test button sends, empty and unsigned; returns as `post` does."""
        return await self._post(b"", headers={}, path_type="")

    async def _post(self, body: bytes, *, headers: dict[str, str], path_type: str) -> int:
        door = _door_for(self._door_url, path_type)
        try:
            async with self._session.post(
                door,
                data=body,
                params=self._query,
                headers={"Content-Type": "application/json"} | headers,
                timeout=_ANSWER_WITHIN,
                allow_redirects=False,  # a redirected POST would arrive as a GET, without its body
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.warning("simulator_unanswered", door=door, error=repr(error))
            return 0


def _door_for(door_url: str, path_type: str) -> str:
    if not path_type:
        return door_url
    door = urlsplit(door_url)
    return door._replace(path=f"{door.path.rstrip('/')}/{quote(path_type, safe='')}").geturl()


async def send_visits(
    sender: WebhookSender,
    world: World,
    *,
    visits: int | None,
    rate: float,
    now: Callable[[], datetime],
    on_sent: Callable[[WebhookEvent, int], None],
    others: float = 0.0,
    backoff_seconds: Sequence[float] = _BACKOFF_SECONDS,
) -> None:
    """Send all events of `visits` visits, a few visits at a time, each visit's own in order; then return.

    The world is as far as an event says from just before its first post. What falls behind `rate` is caught up.

    Args:
        sender: posts.
        world: makes the visits and is told of each event.
        visits: how many; None goes on until cancelled.
        rate: events per second over all visits, above 0; retries come on top.
        now: time of booking of each visit, with a time zone.
        on_sent: told once of every event, with the status of its last try; 0 is no answer.
        others: share of events of other kinds among all that are sent, from 0 to below 1; they come in between.
        backoff_seconds: waits before a second, third, … try; then the event is given up and the next one sent.
    """
    turns = _turns(rate, start=asyncio.get_running_loop().time())
    numbers = iter(itertools.count() if visits is None else range(visits))
    due = _due(others)

    async def attend() -> None:
        for _ in numbers:  # shared: whoever is free takes the next guest
            for event in _events(world, now=now, due=due):
                await _until(next(turns))
                world.sent(event)
                on_sent(event, await _post_patiently(sender, event, backoff_seconds=backoff_seconds))

    async with asyncio.TaskGroup() as salon:
        for _ in range(OPEN_VISITS):
            salon.create_task(attend())


def _turns(rate: float, *, start: float) -> Iterator[float]:
    # Counted from the start, not from the last turn: late sends must not add up.
    return (start + turn / rate for turn in itertools.count())


def _events(world: World, *, now: Callable[[], datetime], due: Iterator[int]) -> Iterator[WebhookEvent]:
    """The next visit's events, each followed by as many of the others as are due."""
    for event in world.visit(now=now()).events:
        yield event
        for _ in range(next(due)):
            yield world.other(now=now())


def _due(share: float) -> Iterator[int]:
    """How many of the others come after each event of a visit, so that they are that share of all."""
    if not 0 <= share < 1:
        raise ValueError("the share of others is from 0 to below 1")
    each = share / (1 - share)
    return (math.floor((n + 1) * each) - math.floor(n * each) for n in itertools.count())


async def _until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))


async def _post_patiently(sender: WebhookSender, event: WebhookEvent, *, backoff_seconds: Sequence[float]) -> int:
    for seconds in backoff_seconds:
        status = await sender.post(event)
        if _taken(status):
            return status
        await asyncio.sleep(seconds)
    return await sender.post(event)


def _taken(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004  2xx
