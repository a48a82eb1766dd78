"""Decides which parts of an invoice to ask for, in which calls.

The documented way is a single call for all parts. The API of some organisations ignores a combined `expand`. Then a
separate call brings a part that the combined call lacked, and from then on the source is *splitting*: each part gets
its own call at once, with a combined call now and then to see whether splitting is still needed. A part that no call
brings does not exist; after a few such calls it gets no separate call any more. A part whose call fails twice for an
invoice is missing.
"""

from collections.abc import Sequence

from zenoti_ingest.core.invoices.protocol import PLACE

FRUITLESS = 3
COMBINED_EVERY = 50
MAX_FAILED = 1000


class Expands:
    """What is known about the API of a source.

    Args:
        parts: the configured parts to ask for.

    Attributes:
        is_splitting: a call for a single part brought what the combined call did not.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = tuple(parts)
        self.is_splitting = False
        self._unplaced = tuple(part for part in parts if part.lower() not in PLACE)
        self._fruitless: dict[str, int] = {}
        self._failed: dict[tuple[str, str], None] = {}  # MAX_FAILED at most
        self._begun = 0

    def first(self) -> tuple[str, ...]:
        """The parts of an invoice's first call."""
        self._begun += 1
        return self.parts[:1] if self.is_splitting and self._begun % COMBINED_EVERY else self.parts

    def alone(self, asked: Sequence[str], missing: Sequence[str]) -> tuple[str, ...]:
        """The parts that each need a call of their own after the first call.

        Args:
            asked: the parts of the first call.
            missing: parts that its answer lacks, among the parts with a known place in the invoice.
        """
        if asked != self.parts:
            return tuple(part for part in self.parts[1:] if part in missing or part in self._unplaced)
        if len(self.parts) == 1:
            return ()
        if not missing:
            self.is_splitting = False
        return tuple(part for part in missing if self.is_splitting or self._fruitless.get(part, 0) < FRUITLESS)

    def came(self, part: str, *, brought: bool) -> None:
        """Record the answer to a call for a single part that the combined call lacked."""
        if brought:
            self.is_splitting = True
        else:
            self._fruitless[part] = self._fruitless.get(part, 0) + 1

    def failed(self, invoice_id: str, part: str) -> bool:
        """Record a failed call for a single part; return whether it failed before: then the invoice goes without it."""
        if (invoice_id, part) in self._failed:
            del self._failed[invoice_id, part]
            return True
        self._failed[invoice_id, part] = None
        if len(self._failed) > MAX_FAILED:
            del self._failed[next(iter(self._failed))]
        return False
