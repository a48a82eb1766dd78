"""Reads a time as an operator writes it: ISO 8601, or an age (`2h`, `3d`)."""

import re
from datetime import UTC, datetime, timedelta

from zenoti_ingest.core.failures.errors import WrongSettings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"([0-9]{1,18})([smhdw])")
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # nothing was received before this
_END = datetime.max.replace(tzinfo=UTC)
_SHOWN = 100


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
