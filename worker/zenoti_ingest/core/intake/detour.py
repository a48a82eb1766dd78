"""Decides between broker and spool: after an unconfirmed publish the spool, until confirms are quick again.

This is a circuit breaker. No request waits long for a broker that does not answer, and few unconfirmed publishes pile
up in the library. Each source has its own, so that a full queue of a source does not delay the others. During a detour
the broker gets events from the spool: one by one, with a delay that doubles, until a publish is confirmed; then freely.
A slow confirm does not end the detour: with a broker too slow for the door, every event would be published twice.
"""

from typing import Final

FIRST_DELAY_SECONDS: Final = 0.25
MAX_DELAY_SECONDS: Final = 5.0


class Detour:
    """Whether events of a source bypass the broker.

    Args:
        quick_seconds: a confirm within this time shows that the broker keeps up.

    Attributes:
        is_on: fresh events go to the spool.
        is_paced: nothing has been confirmed since the detour began: only trial publishes, one by one.
    """

    def __init__(self, *, quick_seconds: float) -> None:
        self._quick_seconds = quick_seconds
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._next_try = 0.0
        self.is_on = False
        self.is_paced = False

    def confirmed(self, *, seconds: float) -> bool:
        """Record a confirm that took `seconds`; return whether it ends the detour."""
        was_on = self.is_on
        self.is_paced = False
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._next_try = 0.0
        self.is_on = was_on and seconds > self._quick_seconds
        return was_on and not self.is_on

    def unconfirmed(self) -> None:
        """Record a publish that the broker did not confirm."""
        self.is_on = self.is_paced = True

    def may_try(self, *, now: float) -> bool:
        """Whether a publish may go to the broker now; if it is a trial, the next publish must wait."""
        if not self.is_paced:
            return True
        if now < self._next_try:
            return False
        self._next_try = now + self._delay_seconds
        self._delay_seconds = min(2 * self._delay_seconds, MAX_DELAY_SECONDS)
        return True
