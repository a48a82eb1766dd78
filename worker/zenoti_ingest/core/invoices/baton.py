"""The baton: what a process that leaves a lane in order hands to its successor, by the queue `<lane>.turn`.

Times are ages and spans in seconds, since two hosts share no clock. How long the baton lay there is not known, so ages
count from when it is read: the calls are taken for younger than they are, never for older.
"""

import msgspec

from zenoti_ingest.core.invoices.circuit import Opened
from zenoti_ingest.core.invoices.quota import Spent

CONTENT_TYPE = "application/json"


class Baton(msgspec.Struct, frozen=True):
    """What the lane's holder knows: what is spent of the quota, and the circuit where it is open."""

    spent: Spent = Spent()
    opened: Opened | None = None


_decoder = msgspec.json.Decoder(Baton)


def encode(baton: Baton) -> bytes:
    """As it lies in the queue."""
    return msgspec.json.encode(baton)


def decode(body: bytes) -> Baton | None:
    """None: it is none; somebody else put it there."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
