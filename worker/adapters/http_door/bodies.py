"""Bodies as they are read: each within its size and its deadline, all together within a bound of bytes.

Over that bound the body that has been under way for longest is given up: a good one is whole within milliseconds, so
senders that dawdle make room for those that do not.
"""

import asyncio
from collections import OrderedDict
from types import TracebackType
from typing import Self

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
        self.max_body_bytes = max_body_bytes
        self.max_buffered_bytes = max_buffered_bytes
        self.seconds = seconds
        self.under_way: OrderedDict[Body, None] = OrderedDict()
        self.held_bytes = 0


class Body:
    """One body; what has come of it counts as held until the block ends."""

    __slots__ = ("_bodies", "_bytes", "_deadline", "_given_up")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._bytes = 0
        self._given_up = False
        self._deadline: asyncio.Timeout | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bodies.held_bytes -= self._bytes

    async def read(self, content: StreamReader) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: see there; so with the others.
            BodyTooSlow: …
            BodyGivenUp: …
        """
        if content.is_eof():  # it has come with its head, as nearly all do: nothing to wait for
            whole = content.read_nowait()
            self._came(len(whole))
            return whole
        return await self._come(content)

    async def _come(self, content: StreamReader) -> bytes:
        read, under_way = bytearray(), self._bodies.under_way
        under_way[self] = None
        try:
            async with asyncio.timeout(self._bodies.seconds) as self._deadline:
                while chunk := await _some(content):
                    read += chunk
                    self._came(len(chunk))
        except TimeoutError:
            raise (BodyGivenUp if self._given_up else BodyTooSlow) from None
        finally:
            under_way.pop(self, None)
        return bytes(read)

    def _came(self, count: int) -> None:
        bodies = self._bodies
        self._bytes += count
        bodies.held_bytes += count
        if self._bytes > bodies.max_body_bytes:
            raise BodyTooLarge
        if bodies.held_bytes > bodies.max_buffered_bytes:
            oldest = next(iter(bodies.under_way), self)
            if oldest is self:
                raise BodyGivenUp
            oldest.give_up()

    def give_up(self) -> None:
        """Make room for others."""
        self._bodies.under_way.pop(self, None)
        if self._deadline is not None and not self._deadline.expired():
            self._given_up = True
            self._deadline.reschedule(0)


async def _some(content: StreamReader) -> bytes:
    try:
        return await content.readany()
    except (ConnectionError, RuntimeError) as error:  # the latter: the connection had gone before we asked
        error.__traceback__ = None  # the reader keeps the error, which would keep this frame, which knows the reader
        raise ConnectionResetError from None
