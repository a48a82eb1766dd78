"""The memory that senders occupy at the door: bounded in bytes, over all connections together.

Each connection reports its bytes: received parts of a head or a body, the parsed head, and what came behind a request
that is not answered yet. Over the bound, the connection that has held memory for longest gives way. A good request is
complete and answered within milliseconds, so slow senders make room for fast senders.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

SMALL_BYTES: Final = 16 * 1024  # up to this, memory is not counted: `max_connections` bounds it
SMALL_REQUEST_BYTES: Final = 4 * 1024  # as received: whatever it contains, its parsed form is small
HEADER_BYTES: Final = 256  # memory of each header beside its bytes: five objects and three references
# Memory per byte of a parsed head: the bytes, the text (up to 4 bytes a character), a name as sent and in lower case.
PARSED_FACTOR: Final = 5


class Holder(Protocol):
    """A connection that can give way."""

    def give_way(self) -> None:
        """Free its memory, now or in the next turns of the event loop."""


class Memory:
    """The bytes that connections hold.

    Args:
        max_bytes: the bound, for all connections together.

    Attributes:
        kept: bytes held now, including those about to be freed.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.kept = 0
        self._of: dict[Holder, int] = {}
        self._may_go: OrderedDict[Holder, None] = OrderedDict()  # in the order in which they began to hold memory
        self._going: set[Holder] = set()
        self._going_bytes = 0

    @property
    def is_overrun(self) -> bool:
        """Whether the total, including what is about to be freed, exceeds twice the bound: no large request is read."""
        return self.kept > 2 * self.max_bytes

    def keeps(self, holder: Holder, count: int) -> None:
        """From now on the holder has `count` bytes. Over the bound the oldest holders give way, perhaps this holder."""
        before = self._of.get(holder, 0)
        if count <= SMALL_BYTES:
            if before:
                self.released(holder)
            return
        self.kept += count - before
        self._of[holder] = count
        if holder in self._going:
            self._going_bytes += count - before
        elif not before:
            self._may_go[holder] = None
        while self.kept - self._going_bytes > self.max_bytes and self._may_go:
            oldest, _ = self._may_go.popitem(last=False)
            self._going.add(oldest)
            self._going_bytes += self._of[oldest]
            oldest.give_way()

    def stays(self, holder: Holder) -> None:
        """The holder still counts, but does not give way any more until it has released its memory."""
        self._may_go.pop(holder, None)

    def released(self, holder: Holder) -> None:
        """The holder holds nothing any more."""
        count = self._of.pop(holder, 0)
        self.kept -= count
        self._may_go.pop(holder, None)
        if holder in self._going:
            self._going.discard(holder)
            self._going_bytes -= count


def parsed_bytes(raw_headers: Sequence[tuple[bytes, bytes]], head_bytes: int) -> int:
    """The most memory that a parsed head takes."""
    return PARSED_FACTOR * head_bytes + HEADER_BYTES * len(raw_headers)


def half_parsed_bytes(count: int, *, max_headers: int) -> int:
    """The most memory that a part of a head takes: a header has at least four bytes, `a:` and the end of its line."""
    return PARSED_FACTOR * count + HEADER_BYTES * min(count // 4, max_headers)
