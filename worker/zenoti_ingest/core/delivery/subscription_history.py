"""How the past subscriptions of a stage went, and what follows for the next: when it begins, how much it takes."""

import sys

import msgspec

from zenoti_ingest.core.delivery.prefetch import Prefetch
from zenoti_ingest.core.failures.backoff import Backoff

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0
STEADY_SECONDS = 5.0  # a subscription that lasts this long is a good subscription
LEAST_WINDOW = 100
WIDEN_AFTER = 10  # widen the window after this many times the longest hold without an event held that long
MAX_LOSSES = 5  # after this many subscriptions lost soon after they began, in a row, deliveries come one by one


class SubscriptionHistory(msgspec.Struct):
    """What a stage remembers of its subscriptions.

    Attributes:
        counts: how many deliveries may be in hand, by their sizes.
        silent_seconds: after so long without a delivery, a subscription counts as dead if messages are ready.
        backoff: how long to wait before the next subscription.
        losses: how many subscriptions in a row were lost soon after they began. A message that breaks the client
            library causes that for ever; with a prefetch of 1 it affects no other message.
        window: the most deliveries to take. If an event was held too long, it is the number of deliveries that were
            settled meanwhile.
    """

    counts: Prefetch
    silent_seconds: float
    backoff: Backoff = msgspec.field(default_factory=lambda: Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
    losses: int = 0
    window: int = sys.maxsize

    @property
    def is_careful(self) -> bool:
        """Whether deliveries must come one by one."""
        return self.losses >= MAX_LOSSES

    def prefetch(self, wanted: int) -> int:
        """The prefetch: how many of the `wanted` deliveries to take."""
        return 1 if self.is_careful else min(wanted, self.window, self.counts.count)

    def ended(self, *, lasted_seconds: float, is_lost: bool) -> None:
        """Record the end of a subscription."""
        if lasted_seconds > STEADY_SECONDS or not is_lost:
            self.losses = 0
        if lasted_seconds > STEADY_SECONDS:
            self.backoff.succeeded()
        elif is_lost:
            self.losses += 1

    def reason_to_end(
        self, *, lasted_seconds: float, held_seconds: float, max_hold_seconds: float, settled: int, is_one_by_one: bool
    ) -> str:
        """Why the present subscription should end; empty: it should not.

        Args:
            lasted_seconds: since it began.
            held_seconds: since the oldest unsettled delivery came.
            max_hold_seconds: how long a delivery may be held.
            settled: how many of its deliveries are settled.
            is_one_by_one: the stage takes a single delivery at a time, which does not show how many are too many.
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
