"""`fetched_at`, the time that a lane gives an invoice: it never goes back, whichever host's clock it is read from.

Times are microseconds since 1970 (UTC). The lane's next consumer may run on another host with another clock. So a
process announces a *claim* to all others: no invoice of its lane passes that time until it announces a later one. An
invoice goes out only when the claim above its time is confirmed. The lane's next holder begins above all claims.
"""

from collections.abc import Iterable
from typing import Final

from zenoti_ingest.core.operating.times import as_text, microseconds

RESERVE_MICROSECONDS: Final = 1_000_000  # so a busy lane claims about once a second, and a successor is ahead by less


class LaneClock:
    """The times of one lane, as one process knows them."""

    def __init__(self) -> None:
        self._last = 0  # given here or claimed by another process
        self._given = 0
        self._claim = 0
        self._confirmed = 0

    def next(self, now: int, received_at: Iterable[str]) -> int:
        """The time of a call that begins now.

        It is this host's, or 1 µs later than the latest of the lane's times and of the times of receipt.

        Args:
            now: this host's clock.
            received_at: of the events that the call serves; what is no time does not count.
        """
        received = (at for text in received_at if (at := microseconds(text)) is not None)
        self._last = self._given = max(now - 1, self._last, *received) + 1
        return self._given

    def claim(self) -> str | None:
        """What to announce: our claim, or theirs where it is later; None: no time of this lane is known."""
        if self._given and self._given > self._claim - RESERVE_MICROSECONDS:
            self._claim = self._given + RESERVE_MICROSECONDS
        latest = max(self._claim, self._last)
        return as_text(latest) if latest else None

    def confirmed(self, claim: str | None) -> None:
        """The broker has confirmed this claim of ours."""
        self._confirmed = max(self._confirmed, microseconds(claim or "") or 0)

    def covers(self, at: int) -> bool:
        """Whether a confirmed claim lies above a time that was given."""
        return at <= self._confirmed

    def heard(self, claim: str | None) -> None:
        """Another process claims so much. What does not pass our own claim is an echo of it."""
        at = microseconds(claim or "") or 0
        if at > self._claim:
            self._last = max(self._last, at)

    def seconds_ahead(self, now: int) -> float:
        """How far the lane's times run ahead of this host's clock."""
        return max(0.0, (self._last - now) / 1_000_000)
