"""Circuit breaker of a source: successes and failures -> closed | open until the next probe.

Opens after five failures in a row over at least two invoices (one sick invoice must not stop the others), or at once
when the API refuses our key. While it is open one of the invoices that failed is asked for after 1 s, doubling to 30 s.
"""

FAILURES = 5
INVOICES = 2
FIRST_PROBE_SECONDS = 1.0
MAX_PROBE_SECONDS = 30.0


class Circuit:
    """The circuit of one source; times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._failures = 0
        self._invoices: dict[str, None] = {}  # by their latest failure; FAILURES at most, then it is open
        self._probe_seconds = FIRST_PROBE_SECONDS
        self._probe_at: float | None = None
        self._probes = 0

    @property
    def is_open(self) -> bool:
        """Whether no event's call may go."""
        return self._probe_at is not None

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    @property
    def probe_invoice(self) -> str:
        """Which invoice to ask for: each of those that failed in turn, since one of them may be sick by itself."""
        invoices = list(self._invoices)
        return invoices[-1 - self._probes % len(invoices)] if invoices else ""

    def probe_in(self, now: float) -> float:
        """Seconds until the next probe; 0 where the circuit is closed."""
        return 0.0 if self._probe_at is None else max(0.0, self._probe_at - now)

    def succeeded(self) -> None:
        """The API answered as it should, be it that it knows no such invoice."""
        self._failures = 0
        self._invoices.clear()
        self._probe_seconds = FIRST_PROBE_SECONDS
        self._probe_at = None
        self._probes = 0

    def probe_failed(self, *, now: float) -> None:
        """A probe failed: the next comes after twice the time."""
        self._failures += 1
        self._probes += 1
        self._probe_seconds = min(2 * self._probe_seconds, MAX_PROBE_SECONDS)
        self._probe_at = now + self._probe_seconds

    def failed(self, invoice_id: str, *, now: float, at_once: bool = False) -> None:
        """A call for an event failed; `at_once` where the API refused our key.

        What was in flight as the circuit opened tells nothing new.
        """
        if self._probe_at is not None:
            return
        self._failures += 1
        self._invoices.pop(invoice_id, None)
        self._invoices[invoice_id] = None
        if at_once or (self._failures >= FAILURES and len(self._invoices) >= INVOICES):
            self._probe_at = now + self._probe_seconds
