"""`fetched_at`, the time that a lane gives an invoice: it never goes back, even when another host takes the lane over.

Times are microseconds since 1970 (UTC). The lane's next consumer may run on another host with another clock. So a
process announces a *claim* to all others: a time that no invoice of its lane exceeds until it announces a later claim.
An invoice goes out only when a claim at or above its time is confirmed. The lane's next holder begins above all claims.
"""

from collections.abc import Iterable
from typing import Final

from zenoti_ingest.core.operating.times import as_text, microseconds

RESERVE_MICROSECONDS: Final = 1_000_000  # a busy lane claims about once a second; a successor begins at most 1 s ahead


class LaneClock:
    """The times of a lane, as known to this process."""

    def __init__(self) -> None:
        self._last = 0  # the latest time given here or claimed by another process
        self._given = 0
        self._claim = 0
        self._confirmed = 0

    def next(self, now: int, received_at: Iterable[str]) -> int:
        """The time of a call that begins now.

        It is this host's time, or 1 µs after the latest of the lane's times and the times of receipt.

        Args:
            now: this host's clock.
            received_at: times of receipt of the events that the call serves; unreadable times do not count.
        """
        received = (at for text in received_at if (at := microseconds(text)) is not None)
        self._last = self._given = max(now - 1, self._last, *received) + 1
        return self._given

    def claim(self) -> str | None:
        """The claim to announce: ours, or another process's if that is later; None: no time of this lane is known."""
        if self._given and self._given > self._claim - RESERVE_MICROSECONDS:
            self._claim = self._given + RESERVE_MICROSECONDS
        latest = max(self._claim, self._last)
        return as_text(latest) if latest else None

    def confirmed(self, claim: str | None) -> None:
        """Record that the broker has confirmed our claim."""
        self._confirmed = max(self._confirmed, microseconds(claim or "") or 0)

    def covers(self, at: int) -> bool:
        """Whether a confirmed claim is at or above the time `at`."""
        return at <= self._confirmed

    def heard(self, claim: str | None) -> None:
        """Record another process's claim; a claim that is not above our own is an echo of ours."""
        at = microseconds(claim or "") or 0
        if at > self._claim:
            self._last = max(self._last, at)

    def seconds_ahead(self, now: int) -> float:
        """How far the lane's times are ahead of this host's clock, in seconds."""
        return max(0.0, (self._last - now) / 1_000_000)
