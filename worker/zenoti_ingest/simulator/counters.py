"""What has happened so far: calls to the API, webhooks and the door's answers, as plain numbers.

It is pure. Only the latest latencies of the door are kept, so that a day's run does not fill the memory.
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
        calls: all calls.
        throttled: calls refused because the quota was spent.
        unauthorised: calls refused because the key was wrong.
        not_found: calls for an invoice that is unknown, gone, or late.
        by_status: calls by the answer's status; `none` if the connection was cut or left to hang.
        by_key: calls by the position of the key among all keys ever accepted, from 1; `unknown` for any other key.
        by_fault: calls by the fault played.
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
        events: all events; events to be delivered twice count twice.
        unsent: events never tried, because the webhook was off.
        tried: posts of events; these include:
        retried: posts that were not the first of their event;
        taken: posts answered with a 2xx;
        refused: other posts, by status; `none`: no answer in time.
        given_up: events of which every try failed, or whose webhook was switched off before the next try.
        duplicates, reordered, bare: events disturbed in this way.
        tests: empty test requests; `tests_refused`: those not answered with a 2xx.
        switched_off: how often the webhook was switched off.
        failures_in_a_row: failed tries since the last success.
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
    """Milliseconds until the door answered, over the latest 10 000 answers; null without an answer."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class Latencies:
    """The latest times until an answer."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        """Add the time of an answer."""
        self._seconds.append(seconds)

    def quantiles(self) -> Quantiles:
        """The quantiles, in milliseconds."""
        if not self._seconds:
            return Quantiles()
        ordered = sorted(self._seconds)
        p50, p99, longest = (ordered[math.ceil(q * len(ordered)) - 1] for q in (0.5, 0.99, 1.0))
        return Quantiles(p50=_ms(p50), p99=_ms(p99), max=_ms(longest))


def count(counts: dict[str, int], name: str) -> None:
    """Add 1 to the count of a name."""
    counts[name] = counts.get(name, 0) + 1


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)
