"""Counts defects in a row and decides when a stage stops, so that a bad deploy does not dead-letter a whole queue.

A *defect* is a failure that core/failures/policy.py does not list: our fault, not the message's and not the world's.
"""

DEFECTS_IN_A_ROW = 10


class Defects:
    """The streak of defects of a stage.

    Attributes:
        in_a_row: dead letters with reason `defect`, and subscriptions ended by a defect, since the last success. Those
            of the same invoice count once, so that no invoice alone can stop the others.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._invoices: set[str] = set()

    @property
    def are_too_many(self) -> bool:
        """Whether the stage must stop taking events; only a restart resets this."""
        return self.in_a_row >= DEFECTS_IN_A_ROW

    def noted(self, *, invoice_id: str = "") -> None:
        """Record a defect that dead-lettered an event, of this invoice if any, or ended a subscription."""
        invoice = invoice_id.lower()
        if invoice and invoice in self._invoices:
            return
        self._invoices.add(invoice)
        self.in_a_row += 1

    def went_well(self) -> None:
        """Record that an event was settled normally."""
        if not self.are_too_many:
            self.in_a_row = 0
            self._invoices.clear()
