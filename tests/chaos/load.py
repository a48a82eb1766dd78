"""Zenoti's part: posts distinct events at a steady pace, again until each has its 202; some twice, some late."""

import asyncio
import json
import random
import time
from collections.abc import Sequence

import aiohttp

from tests.acceptance.signing import signed
from tests.chaos.events import Event, Maker
from tests.chaos.ledger import Ledger

POST_SECONDS = 10.0  # Zenoti's patience
CONNECT_SECONDS = 2.0
MAX_POSTS = 500
TWICE, LATE = 0.02, 0.05
LATE_SECONDS = 3.0
AGAIN_SECONDS = (0.3, 1.5)
RECENT = 200


class Load:
    """The sender.

    Args:
        doors: URLs, in turn.
        ledger: where it is kept what the door accepted.
        rate: events a second.
        rng: of the seed.

    Attributes:
        rate: may be changed while it sends.
        waits: seconds until each 202.
    """

    def __init__(self, doors: Sequence[str], ledger: Ledger, *, rate: float, rng: random.Random) -> None:
        self.maker = Maker(rng)
        self.retried = 0
        self.repeated = 0
        self.slowest = 0.0
        self.waits: list[float] = []
        self._doors = doors
        self._ledger = ledger
        self.rate = rate
        self._rng = rng
        self._turn = 0
        self._recent: list[Event] = []
        self._posts: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Send until cancelled; a pace that could not be kept is caught up with."""
        at, owed = time.monotonic(), 0.0
        while True:
            now = time.monotonic()
            at, owed = now, owed + (now - at) * self.rate
            while owed >= 1 and len(self._posts) < MAX_POSTS:
                owed -= 1
                late = self._rng.uniform(0, LATE_SECONDS) if self._rng.random() < LATE else 0.0
                self.send(self.maker.any(), after=late)
            await asyncio.sleep(0.02)

    def send(self, event: Event, *, after: float = 0.0) -> None:
        """Post it until it is accepted, in the background."""
        task = asyncio.create_task(self._send(event, after))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    def repeat(self, count: int) -> None:
        """Post so many of the latest once more, in another order."""
        for event in self._rng.sample(self._recent, min(count, len(self._recent))):
            self.repeated += 1
            self.send(event, after=self._rng.uniform(0, 1))

    async def finish(self, *, within: float) -> None:
        """Return when everything offered has been accepted. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while self._posts:
                await asyncio.wait(set(self._posts))

    async def close(self) -> None:
        """Stop posting."""
        for task in self._posts:
            task.cancel()
        if self._posts:
            await asyncio.wait(self._posts)
        if self._session is not None:
            await self._session.close()

    async def _send(self, event: Event, after: float) -> None:
        await asyncio.sleep(after)
        while not await self._post(event):
            self.retried += 1
            await asyncio.sleep(self._rng.uniform(*AGAIN_SECONDS))
        self._recent = [*self._recent[-RECENT:], event]
        if self._rng.random() < TWICE:
            self.repeated += 1
            await asyncio.sleep(self._rng.uniform(0, LATE_SECONDS))
            await self._post(event)

    async def _post(self, event: Event) -> bool:
        """One attempt; whether the door took it."""
        self._turn += 1
        door = self._turn % len(self._doors)
        self._ledger.offer(event)
        begun = time.monotonic()
        try:
            async with self._http().post(self._doors[door], data=event.body, headers=signed(event.body)) as answer:
                content = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, OSError) as error:
            self._ledger.refuse("time-out" if isinstance(error, TimeoutError) else "no answer")
            return False
        if status != 202:
            self._ledger.refuse(str(status))
            return False
        self._ledger.accept(event, at=time.monotonic(), door=door, receipt=json.loads(content)["receipt_id"])
        self.waits.append(time.monotonic() - begun)
        self.slowest = max(self.slowest, self.waits[-1])
        return True

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            patience = aiohttp.ClientTimeout(total=POST_SECONDS, sock_connect=CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=patience, connector=aiohttp.TCPConnector(limit=0))
        return self._session
