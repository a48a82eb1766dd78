"""What has happened so far: calls of the API, webhooks and what the door said of them. Plain numbers, ready to be told.

Pure. Of the door's answers only the latest are kept, so that a day's run does not fill the memory.
"""

import math
from collections import deque
from typing import Final

import msgspec

_KEPT: Final = 10_000
NO_STATUS: Final = "none"


class ApiCounters(msgspec.Struct, kw_only=True):
    """Calls for an invoice.

    Attributes:
        calls: all of them.
        throttled: refused since the quota was used up.
        unauthorised: refused since the key was wrong.
        not_found: of an invoice that is unknown, gone, or late.
        by_status: by the status of the answer; `none` where the connection is cut or left to hang.
        by_key: by the place of the key among those that were ever let in, from 1; `unknown` for another.
        by_fault: by the fault played.
    """

    calls: int = 0
    throttled: int = 0
    unauthorised: int = 0
    not_found: int = 0
    by_status: dict[str, int] = {}
    by_key: dict[str, int] = {}
    by_fault: dict[str, int] = {}


class WebhookCounters(msgspec.Struct, kw_only=True):
    """Webhooks.

    Attributes:
        events: all that happened, twice where they were to be delivered twice.
        unsent: never tried, as the webhook was off.
        tried: posts of an event, and of these
        retried: not the first of their event;
        taken: answered by a 2xx;
        refused: answered otherwise, by status; `none` is no answer in time.
        given_up: events of which every try failed, or whose webhook went off before the next one.
        duplicates, reordered, bare: events that were disturbed so.
        tests: empty test requests, and `tests_refused` those not answered by a 2xx.
        switched_off: how often the webhook was switched off.
        failures_in_a_row: tries that failed since the last that did not.
    """

    events: int = 0
    unsent: int = 0
    tried: int = 0
    retried: int = 0
    taken: int = 0
    refused: dict[str, int] = {}
    given_up: int = 0
    duplicates: int = 0
    reordered: int = 0
    bare: int = 0
    tests: int = 0
    tests_refused: int = 0
    switched_off: int = 0
    failures_in_a_row: int = 0


class Quantiles(msgspec.Struct, kw_only=True, frozen=True):
    """Milliseconds to the door's answers, of the latest 10 000; null where there was none."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class Latencies:
    """The latest times to an answer."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        """One more answer."""
        self._seconds.append(seconds)

    def quantiles(self) -> Quantiles:
        """PlannedEvent in milliseconds."""
        if not self._seconds:
            return Quantiles()
        ordered = sorted(self._seconds)
        p50, p99, longest = (ordered[math.ceil(q * len(ordered)) - 1] for q in (0.5, 0.99, 1.0))
        return Quantiles(p50=_ms(p50), p99=_ms(p99), max=_ms(longest))


def count(counts: dict[str, int], name: str) -> None:
    """One more of that name."""
    counts[name] = counts.get(name, 0) + 1


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)
