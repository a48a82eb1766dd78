"""The baton: what a process that leaves a lane in order passes to its successor, through the queue `<lane>.turn`.

Times are ages and spans in seconds, since two hosts share no clock. Nobody knows how long the baton lay in the queue.
So ages count from its reading: calls seem younger than they are, never older.
"""

import msgspec

from zenoti_ingest.core.invoices.circuit import Opened
from zenoti_ingest.core.invoices.quota import Spent

CONTENT_TYPE = "application/json"


class Baton(msgspec.Struct, frozen=True):
    """What the lane's holder knows: the calls spent from the quota, and the circuit if it is open."""

    spent: Spent = Spent()
    opened: Opened | None = None


_decoder = msgspec.json.Decoder(Baton)


def encode(baton: Baton) -> bytes:
    """The message body of a baton."""
    return msgspec.json.encode(baton)


def decode(body: bytes) -> Baton | None:
    """Read a message body; None: it is not a baton, but somebody else's message."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
