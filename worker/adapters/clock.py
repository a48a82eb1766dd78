"""Time and fresh ids: the two things that `core` is given as arguments."""

from datetime import UTC, datetime

import uuid_utils


def utc_now() -> str:
    """Now, RFC 3339 in UTC with microseconds; sorts as text."""
    return (
        datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    )  # isoformat is five times as fast as strftime


def seconds_since(at: str) -> float | None:
    """How long ago, by this host's clock, and never less than none; None where it is no time."""
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())
    except (ValueError, TypeError):  # no time, or one without a zone
        return None


def new_receipt_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time."""
    return str(uuid_utils.uuid7())
