"""Broker or spool? After a publish that was not confirmed the spool, until confirms are quick again (circuit breaker).

So no request waits long for a broker that does not answer, and few unconfirmed publishes lie in the library. One per
source: the full queue of one must not hold up the others. What goes to the broker meanwhile comes from the spool: one
at a time, with a delay that doubles, until one is confirmed; then freely. A slow confirm does not end the detour: at
a broker that is too slow for the door every event would be published twice.
"""

from typing import Final

FIRST_DELAY_SECONDS: Final = 0.25
MAX_DELAY_SECONDS: Final = 5.0


class Detour:
    """Whether events of a source go round the broker.

    Args:
        quick_seconds: a confirm within so many says that the broker keeps up.

    Attributes:
        is_on: fresh events go to the spool.
        is_paced: nothing has been confirmed since: trials only, one at a time.
    """

    def __init__(self, *, quick_seconds: float) -> None:
        self._quick_seconds = quick_seconds
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._next_try = 0.0
        self.is_on = False
        self.is_paced = False

    def confirmed(self, *, seconds: float) -> bool:
        """The broker has taken one, within so many seconds; whether that ends the detour."""
        was_on = self.is_on
        self.is_paced = False
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._next_try = 0.0
        self.is_on = was_on and seconds > self._quick_seconds
        return was_on and not self.is_on

    def unconfirmed(self) -> None:
        """The broker has not taken one."""
        self.is_on = self.is_paced = True

    def may_try(self, *, now: float) -> bool:
        """Whether a publish may go to the broker now; where it is a trial, the next one must wait."""
        if not self.is_paced:
            return True
        if now < self._next_try:
            return False
        self._next_try = now + self._delay_seconds
        self._delay_seconds = min(2 * self._delay_seconds, MAX_DELAY_SECONDS)
        return True
