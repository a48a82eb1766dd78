"""What strangers make the door keep in memory: bounded in bytes, over all connections together.

Each connection says what it makes us keep: what has come of a head or a body, what parsing has made of a head, what
came behind a request and waits for its answer. Over the bound the connection that has kept something for longest gives
way: a good request is whole and answered within milliseconds, so those who dawdle make room for those who do not.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

SMALL_BYTES: Final = 16 * 1024  # who keeps no more than that is part of what a connection costs: `max_connections`
SMALL_REQUEST_BYTES: Final = 4 * 1024  # as it comes: whatever it holds, little is made of it
HEADER_BYTES: Final = 256  # what each header costs beside its bytes: five objects and three places
# A byte of a head, once parsed: the bytes, the text (up to four bytes a character), a name's lower case and its own.
PARSED_FACTOR: Final = 5


class Holder(Protocol):
    """A connection, as far as it can give way."""

    def give_way(self) -> None:
        """Free what it makes us keep, now or in the next turns of the event loop."""


class Memory:
    """The bytes that connections make us keep.

    Args:
        max_bytes: the bound, for all together.

    Attributes:
        kept: how many bytes there are now, those included that are about to be freed.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.kept = 0
        self._of: dict[Holder, int] = {}
        self._may_go: OrderedDict[Holder, None] = OrderedDict()  # in the order in which they began to keep something
        self._going: set[Holder] = set()
        self._going_bytes = 0

    @property
    def is_overrun(self) -> bool:
        """Whether even that which is about to be freed is too much: then nothing large is looked at any more."""
        return self.kept > 2 * self.max_bytes

    def keeps(self, holder: Holder, count: int) -> None:
        """From now on it makes us keep so many bytes; over the bound the oldest give way, perhaps this one."""
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
        """It counts, and need not give way any more, until it has released what it keeps."""
        self._may_go.pop(holder, None)

    def released(self, holder: Holder) -> None:
        """It keeps nothing any more."""
        count = self._of.pop(holder, 0)
        self.kept -= count
        self._may_go.pop(holder, None)
        if holder in self._going:
            self._going.discard(holder)
            self._going_bytes -= count


def parsed_bytes(raw_headers: Sequence[tuple[bytes, bytes]], head_bytes: int) -> int:
    """What a parsed head costs at most."""
    return PARSED_FACTOR * head_bytes + HEADER_BYTES * len(raw_headers)


def half_parsed_bytes(count: int, *, max_headers: int) -> int:
    """What a part of a head costs at most: a header has four bytes, `a:` and the end of its line."""
    return PARSED_FACTOR * count + HEADER_BYTES * min(count // 4, max_headers)
