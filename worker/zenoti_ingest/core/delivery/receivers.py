"""Which receivers take events, as seen by this process: the decisions of the fan-out.

A receiver *refuses* once its queue has refused, returned or not confirmed an event. From then on the process publishes
to each receiver separately, and events for the refusing receiver go to its wait queue. Once that is seen empty, a
single event is tried. The receiver refuses until it has taken such an event, so a slow receiver at its limit does not
switch back and forth.

A queue that belongs to no receiver can refuse too: then all receivers take their copies, and the broker still refuses
the common publish. For a pause that doubles, the process publishes to each receiver separately.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache

import msgspec

from zenoti_ingest.core.events.routing import any_matches
from zenoti_ingest.core.failures.backoff import Backoff

FIRST_STRANGER_SECONDS = 10.0
MAX_STRANGER_SECONDS = 600.0
KEEP_GONE_LOOKS = 720  # an hour of checks, so that an operator sees what happened


class Refusal(msgspec.Struct):
    """A receiver that refuses.

    Attributes:
        since: RFC 3339, UTC.
        detail: what its queue did.
        has_waiting: its wait queue has not been seen empty since.
        asked: a trial event is on its way to see whether the receiver takes events again.
    """

    since: str
    detail: str
    has_waiting: bool = True
    asked: bool = False


class Gone(msgspec.Struct):
    """A receiver's queue that is missing, or was missing until recently. Times are RFC 3339, UTC.

    Attributes:
        since: when the queue was last seen; it was deleted after that.
        back_at: when it was seen again; None: it is still missing.
    """

    since: str
    back_at: str | None = None


class Receivers:
    """The receivers of all events; times are seconds of any monotonic clock.

    Args:
        patterns: by receiver name, its binding keys.

    Attributes:
        refusals: by receiver; receivers not in it take events.
        gone: by receiver, its missing queue; removed KEEP_GONE_LOOKS checks after the queue came back.
    """

    def __init__(self, patterns: Mapping[str, tuple[str, ...]]) -> None:
        self._patterns = patterns
        self._of_key = lru_cache(maxsize=4096)(self._matching)
        self._alone_until = 0.0
        self._strangers = Backoff(FIRST_STRANGER_SECONDS, MAX_STRANGER_SECONDS)
        self._seen_at = ""
        self._looks_since_back: dict[str, int] = {}
        self.refusals: dict[str, Refusal] = {}
        self.gone: dict[str, Gone] = {}

    def wanting(self, routing_key: str, *, only: str = "") -> tuple[str, ...]:
        """The receivers that want an event; if `only` names a receiver, that receiver at most."""
        found = self._of_key(routing_key)
        return tuple(name for name in found if name == only) if only else found

    def must_be_apart(self, names: tuple[str, ...], *, now: float) -> bool:
        """Whether to publish to each of these receivers separately."""
        return bool(names) and (now < self._alone_until or not self.refusals.keys().isdisjoint(names))

    def takes(self, name: str) -> bool:
        """Whether the next event goes to the receiver's queue; if not, it waits. Only a single trial runs at a time."""
        refusal = self.refusals.get(name)
        if refusal is None:
            return True
        if refusal.has_waiting or refusal.asked:
            return False
        refusal.asked = True
        return True

    def refused(self, name: str, detail: str, *, at: str) -> bool:
        """Record that a receiver did not take an event, which waits now; return whether that is new."""
        is_new = name not in self.refusals
        since = at if is_new else self.refusals[name].since
        self.refusals[name] = Refusal(since, detail)
        return is_new

    def took(self, name: str) -> bool:
        """Record that a receiver took an event published to it alone; return whether it had refused until now."""
        return self.refusals.pop(name, None) is not None

    def unknown(self, name: str) -> None:
        """Record that the outcome of a trial event is unknown: another trial may follow."""
        if (refusal := self.refusals.get(name)) is not None:
            refusal.asked = False

    def wait_queue_is_empty(self, name: str) -> None:
        """Record that nothing waits for a refusing receiver any more: the next event is a trial."""
        if (refusal := self.refusals.get(name)) is not None:
            refusal.has_waiting = False

    def all_took(self) -> None:
        """Record that a publish reached every queue bound to the events exchange."""
        self._strangers.succeeded()

    def stranger_refused(self, *, now: float) -> None:
        """Record that the common publish was refused but each receiver took its copy: somebody else's queue refuses."""
        self._alone_until = now + self._strangers.failed()

    @property
    def a_stranger_refuses(self) -> bool:
        """Whether somebody else's queue refused again after a pause; a first refusal may be a receiver at its limit."""
        return self._strangers.seconds > FIRST_STRANGER_SECONDS

    def looked(self, absent: Collection[str], *, at: str) -> list[str]:
        """Record a check of the receivers' queues; return the receivers whose queue is newly missing.

        Args:
            absent: receivers whose queue is missing.
            at: the time of the check.
        """
        news = [name for name in absent if name not in self.gone or self.gone[name].back_at]
        for name in news:
            self.gone[name] = Gone(self._seen_at or at)
            self._looks_since_back[name] = 0
        for name in [name for name in self.gone if name not in absent]:
            self.gone[name].back_at = self.gone[name].back_at or at
            self._looks_since_back[name] += 1
            if self._looks_since_back[name] > KEEP_GONE_LOOKS:
                del self.gone[name]
        self._seen_at = at
        return news

    def _matching(self, routing_key: str) -> tuple[str, ...]:
        return tuple(name for name, patterns in self._patterns.items() if any_matches(patterns, routing_key))
