"""Defects in a row: when to stop taking, so that a bad deploy does not drain a queue into the dead letters.

A *defect* is a failure that no row of core/failures/policy.py knows: ours, not the message's and not the world's.
"""

DEFECTS_IN_A_ROW = 10


class Defects:
    """The streak of one stage.

    Attributes:
        in_a_row: dead letters with reason `defect`, and subscriptions that a defect ended, since the last event that
            went well.
    """

    def __init__(self) -> None:
        self.in_a_row = 0

    @property
    def are_too_many(self) -> bool:
        """Whether the stage must stop taking; a restart begins anew."""
        return self.in_a_row >= DEFECTS_IN_A_ROW

    def noted(self) -> None:
        """A defect made an event a dead letter, or ended a subscription."""
        self.in_a_row += 1

    def went_well(self) -> None:
        """An event was settled as it should be."""
        if not self.are_too_many:
            self.in_a_row = 0
