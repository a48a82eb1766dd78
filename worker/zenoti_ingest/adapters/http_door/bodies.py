"""Bodies as they are read: each within its size and its deadline, and only while there is room for it."""

import asyncio
from typing import Protocol

from aiohttp import StreamReader


class BodyTooLarge(Exception):
    """More bytes than one body may have."""


class BodyTooSlow(Exception):
    """Not whole within the deadline."""


class BodyGivenUp(Exception):
    """All that connections make us keep is more than may be kept, and this body has been under way for longest."""


class UnderWay:
    """A body that is being read, until it is whole or given up."""

    __slots__ = ("_deadline", "is_given_up")

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self.is_given_up = False

    def give_up(self) -> None:
        """Make room for others."""
        if not self._deadline.expired():
            self.is_given_up = True
            self._deadline.reschedule(0)


class Reads(Protocol):
    """Whoever must know which body is under way: its connection."""

    under_way: UnderWay | None


async def read_body(content: StreamReader, connection: Reads, *, max_bytes: int, seconds: float) -> bytes:
    """The whole body, from a connection that may have to give way meanwhile.

    Raises:
        BodyTooLarge: see there; so with the others.
        BodyTooSlow: …
        BodyGivenUp: …
    """
    if content.is_eof():  # it has come with its head, as nearly all do: nothing to wait for
        whole = content.read_nowait()
        if len(whole) > max_bytes:
            raise BodyTooLarge
        return whole
    read = bytearray()
    deadline = asyncio.timeout(seconds)
    connection.under_way = under_way = UnderWay(deadline)
    try:
        async with deadline:
            while chunk := await _some(content):
                read += chunk
                if len(read) > max_bytes:
                    raise BodyTooLarge
    except TimeoutError:
        raise (BodyGivenUp if under_way.is_given_up else BodyTooSlow) from None
    finally:
        connection.under_way = None
    return bytes(read)


async def _some(content: StreamReader) -> bytes:
    try:
        return await content.readany()
    except (ConnectionError, RuntimeError) as error:  # the latter: the connection had gone before we asked
        error.__traceback__ = None  # the reader keeps the error, which would keep this frame, which knows the reader
        raise ConnectionResetError from None
