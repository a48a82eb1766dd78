"""Bodies as they are read: each within its size and its deadline, all together within a bound of bytes.

Over that bound the body that has been under way for longest is given up: a good one is whole within milliseconds, so
senders that dawdle make room for those that do not.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import StreamReader


class BodyTooLarge(Exception):
    """More bytes than one body may have."""


class BodyTooSlow(Exception):
    """Not whole within the deadline."""


class BodyGivenUp(Exception):
    """All bodies together are more than may be held."""


class Bodies:
    """What is held of bodies, from their first byte until they are answered."""

    def __init__(self, *, max_body_bytes: int, max_buffered_bytes: int, seconds: float) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_buffered_bytes = max_buffered_bytes
        self._seconds = seconds
        self._reading: OrderedDict[_Body, None] = OrderedDict()
        self.held_bytes = 0

    @asynccontextmanager
    async def read(self, content: StreamReader) -> AsyncIterator[bytes]:
        """The whole body; it counts as held until the block ends.

        Raises:
            BodyTooLarge: see there; so with the others.
            BodyTooSlow: …
            BodyGivenUp: …
        """
        body = _Body()
        try:
            yield await self._whole(content, body)
        finally:
            self.held_bytes -= body.bytes

    async def _whole(self, content: StreamReader, body: "_Body") -> bytes:
        self._reading[body] = None
        read = bytearray()
        try:
            async with asyncio.timeout(self._seconds) as body.deadline:
                while chunk := await _some(content):
                    read += chunk
                    if len(read) > self._max_body_bytes:
                        raise BodyTooLarge
                    self._hold(body, len(chunk))
        except TimeoutError:
            raise (BodyGivenUp if body.given_up else BodyTooSlow) from None
        finally:
            self._reading.pop(body, None)
        return bytes(read)

    def _hold(self, body: "_Body", count: int) -> None:
        body.bytes += count
        self.held_bytes += count
        if self.held_bytes <= self._max_buffered_bytes:
            return
        oldest, _ = self._reading.popitem(last=False) if self._reading else (body, None)
        if oldest is body:
            raise BodyGivenUp
        oldest.give_up()


async def _some(content: StreamReader) -> bytes:
    try:
        return await content.readany()
    except RuntimeError as error:  # aiohttp's way to say that the connection had gone before we asked
        raise ConnectionResetError from error


class _Body:
    """One body under way."""

    def __init__(self) -> None:
        self.bytes = 0
        self.given_up = False
        self.deadline: asyncio.Timeout | None = None

    def give_up(self) -> None:
        if self.deadline is not None and not self.deadline.expired():
            self.given_up = True
            self.deadline.reschedule(0)
