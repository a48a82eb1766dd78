"""Times as text: as we write them, and as an operator writes them: ISO 8601, or an age (`2h`, `3d`)."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from zenoti_ingest.core.failures.errors import WrongSettings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"([0-9]{1,18})([smhdw])")
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # nothing was received before this
_END = datetime.max.replace(tzinfo=UTC)
_SHOWN = 100
_MICROSECOND = timedelta(microseconds=1)
_LAST_YEAR = 9998


def as_text(at: int) -> str:
    """RFC 3339 in UTC with six digits, of microseconds since 1970; sorts as text."""
    second, microsecond = divmod(at, 1_000_000)
    return f"{_to_the_second(second)}.{microsecond:06d}Z"


@lru_cache(maxsize=2)
def _to_the_second(unix: int) -> str:
    """Kept for the next event: that takes a quarter of the time of datetime's isoformat."""
    return (BEGINNING + timedelta(seconds=unix)).strftime("%Y-%m-%dT%H:%M:%S")


def microseconds(text: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time, in UTC where it names no zone.

    None where the text is no time, or lies in the year 9999: nothing is later than the last moment of a datetime.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.year > _LAST_YEAR:
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - BEGINNING) // _MICROSECOND


def seconds_since(at: str, *, now: int) -> float | None:
    """How long ago a time was, in seconds, and never less than 0; None where the text is no time.

    Args:
        at: ISO 8601, in UTC where it names no zone.
        now: microseconds since 1970.
    """
    found = microseconds(at)
    return None if found is None else max(0.0, (now - found) / 1_000_000)


def moment(text: str, *, now: datetime) -> str:
    """The time in the form of `received_at`: RFC 3339, UTC, microseconds; sorts as text.

    A time before BEGINNING becomes BEGINNING, which the broker accepts.

    Raises:
        WrongSettings: the text is neither a time nor an age.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    try:
        at = _before(now, int(ago[1]), _UNITS[ago[2]]) if ago else _utc(datetime.fromisoformat(text.strip()))
    except ValueError:
        shown = repr(text[:_SHOWN])
        raise WrongSettings(
            f"{shown} is not a time: write ISO 8601 (2031-05-06T17:00, UTC without a zone) or an age (2h, 3d)"
        ) from None
    return max(at, BEGINNING).strftime(_FORMAT)


def _before(now: datetime, number: int, unit: str) -> datetime:
    try:
        return (now - timedelta(**{unit: number})).astimezone(UTC)
    except OverflowError:  # before the year 1
        return BEGINNING


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:  # in UTC it is outside of the years that datetime knows
        return BEGINNING if at.year < BEGINNING.year else _END


def instant(at: str) -> datetime:
    """The datetime of a text that `moment` returned."""
    return datetime.strptime(at, _FORMAT).replace(tzinfo=UTC)
