"""How the bytes that one source may have in hand in a stage are divided among what is kept of them."""

from typing import Final, Self

import msgspec

DEFAULT_TRANSLATE_MAX_BYTES: Final = 128 * 1024 * 1024
DEFAULT_ENRICH_MAX_BYTES: Final = 256 * 1024 * 1024


class ByteShares(msgspec.Struct, frozen=True):
    """Bytes at most; of each, one alone may be larger.

    Attributes:
        kept: bodies as they came, of events that wait or are at work: a compressed one waits compressed.
        at_work: bodies inflated, with the invoice that goes out with each: they are in memory several times over, as
            text, encoded and as frames.
        answers: invoices whose events are not all out. A call under way is not among them: its size is not known.
    """

    kept: int
    at_work: int
    answers: int

    @classmethod
    def of(cls, max_bytes: int) -> Self:
        """Divide so many."""
        return cls(kept=max_bytes * 3 // 4, at_work=max_bytes // 8, answers=max_bytes // 8)
