"""Time and fresh ids: the two things that `core` is given as arguments."""

from contextlib import suppress
from datetime import UTC, datetime

import uuid_utils


def utc_now() -> str:
    """Now, RFC 3339 in UTC with microseconds; sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_since(at: str) -> float | None:
    """How long ago, by this host's clock, and never less than none; None where it is no time."""
    with suppress(ValueError, TypeError):  # no time, or one without a zone
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())
    return None


def new_receipt_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time."""
    return str(uuid_utils.uuid7())
