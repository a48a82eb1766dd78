"""Circuit breaker of a source: decides whether a failure is the key's or the API's. The key is the id to fetch.

| The API answered for another key within 60 s | Failures since its last answer | The failure is |
|---|---|---|
| yes | fewer than 5 | the key's |
| yes | 5 or more: the API may be down by now | in doubt |
| no | any | in doubt |

A failure in doubt costs no attempt, and calls for other keys go on. It is the key's failure once the API answers for
another key. It is the API's failure, and the circuit opens, at the fifth failure in doubt of at least two keys, or when
a 401 for a key follows a 401 for another key. While a failure is in doubt, and while the circuit is open, probes go
after 1 s, then at doubling intervals up to 30 s. Probes alternate between a failed key, a waiting key and an answered
key.
"""

from collections.abc import Sequence
from enum import Enum
from math import inf

import msgspec

from zenoti_ingest.core.failures.backoff import Backoff

FAILURES = 5
KEYS = 2
RECENT_SECONDS = 60.0
FIRST_PROBE_SECONDS = 1.0
MAX_PROBE_SECONDS = 30.0
REMEMBERED = 8
_TURNS = 3


class Blame(Enum):
    """Whose fault a failure is."""

    KEY = "the key's"
    API = "the API's"
    UNKNOWN = "not known yet"


class Opened(msgspec.Struct, frozen=True):
    """An open circuit, for the lane's next holder; spans in seconds, keys as ids."""

    failures: int
    probes: int
    probe_seconds: float
    probe_in: float
    failed: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()


class Circuit:
    """The circuit of a source; times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}  # in order of their latest answer; at most REMEMBERED
        self._begin()

    def _begin(self) -> None:
        self._is_open = False
        self._failures = 0
        self._doubts = 0
        self._failed: dict[str, None] = {}  # keys of events, in order of their latest failure in doubt
        self._failing: set[str] = set()  # these, and the keys of failed probes; none is added once it is open
        self._refused: str | None = None
        self._waiting: tuple[str, ...] = ()
        self._probes = 0
        self._probing = Backoff(FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS)
        self._probe_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: no event's call may go."""
        return self._is_open

    @property
    def failures(self) -> int:
        """Failures since the last answer."""
        return self._failures

    def probe_in(self, now: float) -> float:
        """Seconds until the next probe; infinite if nothing is in doubt and the circuit is closed."""
        return inf if self._probe_at is None else max(0.0, self._probe_at - now)

    def probe_key(self, *, random_id: str) -> str:
        """The key for the next probe, by turns: another failure of a failed key shows nothing new about other keys.

        Args:
            random_id: an id that no key has. The API's own 418 for it proves that the API works.
        """
        cycle, turn = divmod(self._probes, _TURNS)
        well = [key for key in self._answered if key not in self._failing] or [random_id]
        kinds: tuple[Sequence[str], ...] = (list(self._failed), self._waiting, well)
        chosen = kinds[turn] or well
        return chosen[-1 - cycle % len(chosen)]

    def answered(self, key: str, *, now: float) -> None:
        """Record that the API itself answered, even if it does not know the key: failures in doubt are the keys'."""
        self._begin()
        self._answered.pop(key, None)
        self._answered[key] = now
        if len(self._answered) > REMEMBERED:
            del self._answered[next(iter(self._answered))]

    def failed(self, key: str, *, now: float, refused: bool = False) -> Blame:
        """Record that a call for an event failed.

        Args:
            key: the key of the call.
            now: the time.
            refused: the API answered 401.
        """
        if self._is_open:
            return Blame.API  # it was in flight when the circuit opened, and shows nothing new
        self._failures += 1
        if self._failures <= FAILURES and self._answered_another(key, now=now):
            return Blame.KEY
        self._failed.pop(key, None)
        self._failed[key] = None
        if self._probe_at is None:
            self._probe_at = now + self._probing.failed()
        self._doubt(key, now=now, refused=refused)
        return Blame.API if self._is_open else Blame.UNKNOWN

    def probe_failed(self, key: str, *, now: float, refused: bool = False) -> None:
        """Record that a probe failed; the next goes after twice the time."""
        self._failures += 1
        self.probe_passed_over(now=now)
        if not self._is_open:
            self._doubt(key, now=now, refused=refused)

    def probe_passed_over(self, *, now: float) -> None:
        """Record a probe without result, or an event's own call in its place; the next goes after twice the time."""
        self._probes += 1
        self._probe_at = now + self._probing.failed()

    def hand_over(self, now: float) -> Opened | None:
        """What the lane's next holder must know; None: the circuit is closed."""
        if not self._is_open:
            return None
        return Opened(
            failures=self._failures,
            probes=self._probes,
            probe_seconds=self._probing.seconds,
            probe_in=round(self.probe_in(now), 3),
            failed=tuple(self._failed)[-REMEMBERED:],
            failing=tuple(self._failing)[:REMEMBERED],
            waiting=self._waiting,
            answered=tuple(self._answered),
        )

    def take_over(self, opened: Opened | None, *, now: float) -> None:
        """Continue as the lane's last holder left the circuit."""
        self._begin()
        if opened is None:
            return
        self._is_open = True
        self._failures, self._probes = opened.failures, opened.probes
        self._probing.seconds, self._probe_at = opened.probe_seconds, now + opened.probe_in
        self._failed, self._failing = dict.fromkeys(opened.failed), set(opened.failing)
        self._waiting = opened.waiting
        self._answered = dict.fromkeys(opened.answered, -inf) | self._answered

    def note_waiting(self, keys: Sequence[str]) -> None:
        """Record the keys of events that waited when the circuit opened; probes use some of them."""
        self._waiting = tuple(key for key in keys if key not in self._failing)[:REMEMBERED]

    def _answered_another(self, key: str, *, now: float) -> bool:
        itself = key.lower()  # the letter case of an id varies
        return any(at > now - RECENT_SECONDS for other, at in self._answered.items() if other.lower() != itself)

    def _doubt(self, key: str, *, now: float, refused: bool) -> None:
        self._doubts += 1
        self._failing.add(key)
        refused_another = refused and self._refused not in (None, key)
        if refused and self._refused is None:
            self._refused = key
        if refused_another or (self._doubts >= FAILURES and len(self._failing) >= KEYS):
            self._is_open = True
            self._probes = 0
            self._probing.succeeded()
            self._probe_at = now + self._probing.failed()
