"""How the subscriptions of one stage went, and what follows for the next: when it begins and how much it takes."""

import sys

import msgspec

from zenoti_ingest.core.delivery.prefetch import Prefetch
from zenoti_ingest.core.failures.backoff import Backoff

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0
STEADY_SECONDS = 5.0  # a subscription that lived so long was a good one
LEAST_WINDOW = 100
WIDEN_AFTER = 10  # times the longest hold, without an event held so long
MAX_LOSSES = 5  # so many subscriptions lost soon after they began, in a row, and deliveries come one by one


class SubscriptionHistory(msgspec.Struct):
    """What a stage remembers of its subscriptions.

    Attributes:
        counts: how many deliveries may be in hand, by their sizes.
        silent_seconds: without a delivery, after which a subscription is taken for dead where messages are ready.
        backoff: how long to wait before the next subscription.
        losses: how many were lost one after the other, soon after they began. A message that breaks the client library
            as it is read causes that for ever; with a prefetch of one it takes no neighbour along.
        window: how many deliveries at most: what could be settled while one may be held, where that was too few.
    """

    counts: Prefetch
    silent_seconds: float
    backoff: Backoff = msgspec.field(default_factory=lambda: Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
    losses: int = 0
    window: int = sys.maxsize

    @property
    def is_careful(self) -> bool:
        """Whether deliveries are to come one by one."""
        return self.losses >= MAX_LOSSES

    def prefetch(self, wanted: int) -> int:
        """How many deliveries to take of those that the stage can hold."""
        return 1 if self.is_careful else min(wanted, self.window, self.counts.count)

    def ended(self, *, lasted_seconds: float, is_lost: bool) -> None:
        """A subscription has ended."""
        if lasted_seconds > STEADY_SECONDS or not is_lost:
            self.losses = 0
        if lasted_seconds > STEADY_SECONDS:
            self.backoff.succeeded()
        elif is_lost:
            self.losses += 1

    def reason_to_end(
        self, *, lasted_seconds: float, held_seconds: float, max_hold_seconds: float, settled: int, is_one_by_one: bool
    ) -> str:
        """Why the present subscription has outlived its use; empty: it has not.

        Args:
            lasted_seconds: since it began.
            held_seconds: since the oldest unsettled delivery came.
            max_hold_seconds: how long a delivery may be held.
            settled: how many of its deliveries are settled.
            is_one_by_one: the stage takes one delivery at a time, which says nothing of how many are too many.
        """
        if held_seconds > max_hold_seconds:
            if not is_one_by_one:
                self.window = max(LEAST_WINDOW, settled)
            return f"an event was held for over {max_hold_seconds:g} s"
        if self.is_careful and lasted_seconds > STEADY_SECONDS:
            return "steady: deliveries need not come one by one any more"
        if self.window < self.counts.count and lasted_seconds > WIDEN_AFTER * max_hold_seconds:
            self.window *= 2
            return "nothing was held for long: the window may be wider"
        return ""
