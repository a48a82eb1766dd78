"""Reads request bodies, each within a size limit and a deadline, and only while there is memory for it."""

import asyncio
from typing import Protocol

from aiohttp import StreamReader


class BodyTooLarge(Exception):
    """The body has more bytes than allowed."""


class BodyTooSlow(Exception):
    """The body is not complete within the deadline."""


class BodyGivenUp(Exception):
    """Connections hold more memory than allowed, and this body has been under way for longest."""


class UnderWay:
    """A body that is being read, until it is complete or given up."""

    __slots__ = ("_deadline", "is_given_up")

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self.is_given_up = False

    def give_up(self) -> None:
        """Stop reading this body, to make room for others."""
        if not self._deadline.expired():
            self.is_given_up = True
            self._deadline.reschedule(0)


class Reads(Protocol):
    """The connection, which must know which body is under way."""

    under_way: UnderWay | None


async def read_body(content: StreamReader, connection: Reads, *, max_bytes: int, seconds: float) -> bytes:
    """The whole body, from a connection that may have to give way meanwhile.

    Raises:
        BodyTooLarge: it has more than `max_bytes`.
        BodyTooSlow: it is not complete within `seconds`.
        BodyGivenUp: its connection had to give way.
    """
    if content.is_eof():  # it came with its head, as nearly all bodies do: there is nothing to wait for
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
    except (ConnectionError, RuntimeError) as error:  # RuntimeError: the connection was lost before we read
        error.__traceback__ = None  # else a reference cycle: the reader keeps the error, the error this frame
        raise ConnectionResetError from None
