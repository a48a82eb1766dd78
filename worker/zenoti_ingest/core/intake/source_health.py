"""How close Zenoti is to switching a webhook off, and how long a source has been silent. Callers pass the time.

Zenoti switches a webhook off after twenty deliveries in a row without a 2xx (SWITCHED_OFF_AT). A failure before the
door (a proxy, DNS, a certificate) shows only in the silence of a source.
"""

from typing import Final

SWITCHED_OFF_AT: Final = 20
ALARM_AT: Final = 5
ACCEPTED: Final = 202
_OURS: Final = 500  # from this status on, the failure is ours
_PING: Final = 200
_SHARE: Final = 0.05  # weight of a new gap in the usual gap, which some twenty events determine


class Streak:
    """Answers in a row other than 202.

    All count, since a secret changed only on one side shows as a row of 401. The 4xx are also counted separately, since
    strangers cause them too. A ping does not end a streak: anybody may send it.

    Attributes:
        failures: answers in a row other than 202.
        refused: the 4xx among them.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.refused = 0

    def answered(self, status: int) -> bool:
        """Count an answer; return whether to report it: at ALARM_AT, and at SWITCHED_OFF_AT."""
        if status == _PING:
            return False
        if status == ACCEPTED:
            self.failures = self.refused = 0
            return False
        self.failures += 1
        self.refused += status < _OURS
        return self.failures in {ALARM_AT, SWITCHED_OFF_AT}


class Silence:
    """The time since the last event, and the usual gap between two events: a mean in which old gaps fade.

    Attributes:
        usual_gap_seconds: None until there have been two events.
    """

    def __init__(self, *, now: float) -> None:
        self._last = now
        self._events = 0
        self.usual_gap_seconds: float | None = None

    def ended(self, *, now: float) -> None:
        """Record that an event has come."""
        gap = now - self._last
        if self._events and self.usual_gap_seconds is None:
            self.usual_gap_seconds = gap
        elif self.usual_gap_seconds is not None:
            self.usual_gap_seconds += _SHARE * (gap - self.usual_gap_seconds)
        self._events += 1
        self._last = now

    def seconds(self, *, now: float) -> float:
        """Seconds since the last event, or since the start if none has come."""
        return now - self._last
