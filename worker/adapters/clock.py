"""Time and fresh ids: the two things that `core` is given as arguments."""

from datetime import UTC, datetime

import uuid_utils


def utc_now() -> str:
    """Now, RFC 3339 in UTC with microseconds; sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_receipt_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time."""
    return str(uuid_utils.uuid7())
