"""Which receivers take events, as one process sees it: what the fan-out decides.

A receiver *refuses* once its queue has refused, returned or not confirmed an event. From then on every receiver is
published to alone, and what is for the refusing one goes to its wait queue. Once that is seen empty, one event asks:
the receiver refuses until one has been taken. So a slow receiver at its limit does not go to and fro.

A queue that is no receiver of ours can refuse, too: then all of ours take their copies and the publish to all is
refused nevertheless. For a pause that grows, each is published to alone.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache

import msgspec

from zenoti_ingest.core.events.routing import any_matches
from zenoti_ingest.core.failures.backoff import Backoff

FIRST_STRANGER_SECONDS = 10.0
MAX_STRANGER_SECONDS = 600.0
KEEP_GONE_LOOKS = 720  # an hour of looks, so that an operator sees what happened


class Refusal(msgspec.Struct):
    """A receiver that refuses.

    Attributes:
        since: RFC 3339, UTC.
        detail: what its queue did.
        has_waiting: its wait queue was not seen empty since.
        asked: an event is on its way to ask whether the receiver takes events again.
    """

    since: str
    detail: str
    has_waiting: bool = True
    asked: bool = False


class Gone(msgspec.Struct):
    """A receiver's queue that is not there, or was not until lately. Times are RFC 3339, UTC.

    Attributes:
        since: when it was last seen; it was deleted after that.
        back_at: when it was seen again; None: it is still gone.
    """

    since: str
    back_at: str | None = None


class Receivers:
    """The receivers of all events; times are seconds of any monotonic clock.

    Args:
        patterns: the binding keys of each receiver, by its name.

    Attributes:
        refusals: by receiver; those that are not in it take events.
        gone: by receiver, those whose queue is or was gone; forgotten KEEP_GONE_LOOKS looks after it came back.
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
        """The receivers that want an event; of those `only` one, where it is named."""
        found = self._of_key(routing_key)
        return tuple(name for name in found if name == only) if only else found

    def must_be_apart(self, names: tuple[str, ...], *, now: float) -> bool:
        """Whether each of these receivers is published to alone."""
        return bool(names) and (now < self._alone_until or not self.refusals.keys().isdisjoint(names))

    def takes(self, name: str) -> bool:
        """Whether the next event for a receiver goes to its queue; otherwise it waits. At most one asks at a time."""
        refusal = self.refusals.get(name)
        if refusal is None:
            return True
        if refusal.has_waiting or refusal.asked:
            return False
        refusal.asked = True
        return True

    def refused(self, name: str, detail: str, *, at: str) -> bool:
        """A receiver did not take an event, which waits now; whether that is news."""
        is_new = name not in self.refusals
        since = at if is_new else self.refusals[name].since
        self.refusals[name] = Refusal(since, detail)
        return is_new

    def took(self, name: str) -> bool:
        """A receiver took an event that was for it alone; whether it had refused until now."""
        return self.refusals.pop(name, None) is not None

    def unknown(self, name: str) -> None:
        """Nobody knows whether a receiver took the event that asked: another may ask."""
        if (refusal := self.refusals.get(name)) is not None:
            refusal.asked = False

    def wait_queue_is_empty(self, name: str) -> None:
        """Nothing waits for a refusing receiver any more: the next event asks."""
        if (refusal := self.refusals.get(name)) is not None:
            refusal.has_waiting = False

    def all_took(self) -> None:
        """One publish reached every queue that is bound to the events exchange."""
        self._strangers.succeeded()

    def stranger_refused(self, *, now: float) -> None:
        """The publish to all was refused, and each receiver took its own: a queue of somebody else's refuses."""
        self._alone_until = now + self._strangers.failed()

    @property
    def a_stranger_refuses(self) -> bool:
        """Whether a queue of somebody else's refused again after a pause; once may be a receiver at its limit."""
        return self._strangers.seconds > FIRST_STRANGER_SECONDS

    def looked(self, absent: Collection[str], *, at: str) -> list[str]:
        """Somebody looked at the receivers' queues; returns those that are newly gone.

        Args:
            absent: receivers whose queue is not there.
            at: when it was looked.
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
