"""Bounds the bodies that a stage works on: each is in memory several times, inflated, encoded, and as frames."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

import msgspec


class AtWork(msgspec.Struct):
    """A body at work, until its block ends.

    Attributes:
        room: that it has a place in.
        size: bytes.
        has_waited: it had to wait for its place.
    """

    room: "Room"
    size: int
    has_waited: bool = False

    def grow(self, more: int) -> None:
        """The body is larger than was known: it keeps its place, and others wait."""
        self.size += more
        self.room.used += more

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.room.leave(self.size)


class Room:
    """Limits the bytes at work, first come, first served. A body that is alone gets a place, however large.

    Args:
        max_bytes: bound on the bytes at work.

    Attributes:
        used: bytes at work.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line: deque[tuple[asyncio.Future[None], int]] = deque()
        self.used = 0

    async def enter(self, size: int) -> AtWork:
        """Wait for a place; the end of its block gives it back. Nobody overtakes."""
        has_waited = bool(self._line) or not self._has_place_for(size)
        if has_waited:
            mine = (asyncio.get_running_loop().create_future(), size)
            self._line.append(mine)
            try:
                await mine[0]
            except asyncio.CancelledError:
                self._line.remove(mine)
                self._call_next()
                raise
            self._line.popleft()
        self.used += size
        if has_waited:
            self._call_next()
        return AtWork(self, size, has_waited)

    def leave(self, size: int) -> None:
        """Give a place back."""
        self.used -= size
        self._call_next()

    def _has_place_for(self, size: int) -> bool:
        return not self.used or self.used + size <= self._max_bytes

    def _call_next(self) -> None:
        """Wake the first in the line, which stays in the line until it has its place: nobody overtakes it."""
        if self._line and self._has_place_for(self._line[0][1]) and not self._line[0][0].done():
            self._line[0][0].set_result(None)
