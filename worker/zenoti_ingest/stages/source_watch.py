"""Watches the answers to each source: failures in a row and silences, as metrics, state, and an early warning."""

from zenoti_ingest.core.intake.source_health import ACCEPTED, SWITCHED_OFF_AT, Silence, Streak
from zenoti_ingest.stages.ports import Clock
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import source_failures_in_a_row, source_silence, source_usual_gap


class SourceWatch:
    """A source, as the door of this process knows it."""

    def __init__(self, source: str, clock: Clock) -> None:
        self._source, self._clock = source, clock
        self.streak = Streak()
        self.silence = Silence(now=clock.monotonic())
        source_silence.labels(source).set_function(lambda: self.silence.seconds(now=clock.monotonic()))
        source_usual_gap.labels(source).set_function(lambda: self.silence.usual_gap_seconds or 0.0)
        source_failures_in_a_row.labels(source, "refused").set_function(lambda: self.streak.refused)
        source_failures_in_a_row.labels(source, "unserved").set_function(
            lambda: self.streak.failures - self.streak.refused
        )

    def answered(self, status: int) -> None:
        """Take note of an answer's HTTP status."""
        if status == ACCEPTED:
            self.silence.ended(now=self._clock.monotonic())
        if self.streak.answered(status):
            log.error(
                "switch_off_near",
                source=self._source,
                failures=self.streak.failures,
                refused=self.streak.refused,
                switched_off_at=SWITCHED_OFF_AT,
            )
