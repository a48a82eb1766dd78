"""How near the vendor is to switching a webhook off, and how long a source has been silent. Time enters as `now`.

Zenoti switches a webhook off after twenty deliveries in a row without a 2xx (SWITCHED_OFF_AT). What failed before it
reached the door (a proxy, DNS, a certificate) shows nowhere but in the silence of a source.
"""

from typing import Final

SWITCHED_OFF_AT: Final = 20
ALARM_AT: Final = 5
ACCEPTED: Final = 202
_OURS: Final = 500  # from here on it is our failure
_PING: Final = 200
_SHARE: Final = 0.05  # of a new gap in the usual one: some twenty events make it


class Streak:
    """Answers in a row that were no 202.

    All count, since a secret that has been changed on one side alone shows as a row of 401; the 4xx are counted apart,
    since strangers make them too. A ping ends no streak: anybody may send it.

    Attributes:
        failures: of any kind.
        refused: the 4xx among them.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.refused = 0

    def answered(self, status: int) -> bool:
        """Count an answer; says whether to report it: at ALARM_AT, and where the webhook is switched off."""
        if status == _PING:
            return False
        if status == ACCEPTED:
            self.failures = self.refused = 0
            return False
        self.failures += 1
        self.refused += status < _OURS
        return self.failures in {ALARM_AT, SWITCHED_OFF_AT}


class Silence:
    """The time since the last event, and the usual gap between two: a mean in which old gaps fade.

    Attributes:
        usual_gap_seconds: None until there have been two events.
    """

    def __init__(self, *, now: float) -> None:
        self._last = now
        self._events = 0
        self.usual_gap_seconds: float | None = None

    def ended(self, *, now: float) -> None:
        """An event has come."""
        gap = now - self._last
        if self._events and self.usual_gap_seconds is None:
            self.usual_gap_seconds = gap
        elif self.usual_gap_seconds is not None:
            self.usual_gap_seconds += _SHARE * (gap - self.usual_gap_seconds)
        self._events += 1
        self._last = now

    def seconds(self, *, now: float) -> float:
        """Since the last event, or since the start where none has come."""
        return now - self._last
