"""Divides the bytes that a source may hold in a stage between waiting bodies, bodies at work and answers."""

from typing import Final, Self

import msgspec

DEFAULT_TRANSLATE_MAX_BYTES: Final = 128 * 1024 * 1024
DEFAULT_ENRICH_MAX_BYTES: Final = 256 * 1024 * 1024


class ByteShares(msgspec.Struct, frozen=True):
    """Limits in bytes; a single body or answer may exceed its limit.

    Attributes:
        kept: bodies as received, of events that wait or are at work; a compressed body waits compressed.
        at_work: inflated bodies, each with its outgoing invoice; they are in memory several times: as text, encoded
            and as frames.
        answers: invoices whose events are not all published. A call under way does not count: its size is unknown.
    """

    kept: int
    at_work: int
    answers: int

    @classmethod
    def of(cls, max_bytes: int) -> Self:
        """Divide `max_bytes`."""
        return cls(kept=max_bytes * 3 // 4, at_work=max_bytes // 8, answers=max_bytes // 8)
