"""A time as an operator writes it: ISO 8601, or so long ago (`2h`, `3d`)."""

import re
from datetime import UTC, datetime, timedelta

from worker.core.errors import WrongSettings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def moment(text: str, *, now: datetime) -> str:
    """The time that is meant, as `received_at` is written: RFC 3339, UTC, microseconds; sorts as text.

    Raises:
        WrongSettings: it is neither.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    try:
        if ago:
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).astimezone(UTC).strftime(_FORMAT)
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).strftime(_FORMAT)
    except (ValueError, OverflowError):
        raise WrongSettings(
            f"{text!r} is no time: write ISO 8601 (2031-05-06T17:00, UTC without a zone) or so long ago (2h, 3d)"
        ) from None


def instant(at: str) -> datetime:
    """The other way round: of what `moment` gave."""
    return datetime.strptime(at, _FORMAT).replace(tzinfo=UTC)
