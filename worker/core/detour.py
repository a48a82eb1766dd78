"""Broker or spool? (circuit breaker): after a publish that was not confirmed, the spool, until a publish is confirmed.

So no request waits long for a broker that does not answer, and few unconfirmed publishes lie in the library. One per
source: the full queue of one must not hold up the others. What is tried meanwhile is paced: the delay doubles.
"""

from typing import Final

FIRST_DELAY_SECONDS: Final = 0.25
MAX_DELAY_SECONDS: Final = 5.0


class Detour:
    """Whether events of a source go round the broker. `is_on` says so."""

    def __init__(self) -> None:
        self.confirmed()

    def confirmed(self) -> None:
        """The broker has taken one: straight on."""
        self.is_on = False
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._next_try = 0.0

    def unconfirmed(self) -> None:
        """The broker has not taken one."""
        self.is_on = True

    def may_try(self, *, now: float) -> bool:
        """Whether a publish may go to the broker now; where it is a trial, the next one must wait."""
        if not self.is_on:
            return True
        if now < self._next_try:
            return False
        self._next_try = now + self._delay_seconds
        self._delay_seconds = min(2 * self._delay_seconds, MAX_DELAY_SECONDS)
        return True
