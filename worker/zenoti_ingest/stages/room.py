"""Room for the bodies that a stage works on. Each is in memory several times over: inflated, encoded, as frames."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

import msgspec


class AtWork(msgspec.Struct):
    """One event in the room, until its block ends.

    Attributes:
        room: where.
        size: bytes.
        has_waited: others were at work when it came.
    """

    room: "Room"
    size: int
    has_waited: bool = False

    def grow(self, more: int) -> None:
        """It is larger than was known; it stays, and others wait for it."""
        self.size += more
        self.room.used += more

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.room.leave(self.size)


class Room:
    """Bytes at work at a time, first come first served. What is alone is let in, however large it is.

    Args:
        max_bytes: that may be at work.

    Attributes:
        used: bytes at work.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line: deque[tuple[asyncio.Future[None], int]] = deque()
        self.used = 0

    async def enter(self, size: int) -> AtWork:
        """Wait for a place; it is left by the end of its block. Nobody overtakes."""
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
        """The first in the line stays there until it has its place, so nobody comes in between."""
        if self._line and self._has_place_for(self._line[0][1]) and not self._line[0][0].done():
            self._line[0][0].set_result(None)
