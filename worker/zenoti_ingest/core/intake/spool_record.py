"""A spooled event as bytes on disk: a checksum, then the event, so that damage is noticed.

An event too large for the broker leaves a note in the spool: the event without its body, under a source of its own. So
the dead letter that must still be written delays no event.
"""

import zlib
from collections.abc import Collection

import msgspec

from zenoti_ingest.core.events.messages import Received

_CHECKSUM_BYTES = 4


class Spooled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event that waits on disk.

    Attributes:
        event: the event as the door received it.
        archived: the archive has the event already; only the raw queue lacks it.
        body_at: only in the note of an event that is too large: the place of its body (`core/failures/dead_letter`).
    """

    event: Received
    archived: bool = False
    body_at: str = ""


_NOTES = ".too-large"  # no source has a dot in its name


def notes_of(source: str) -> str:
    """The source name under which the notes of a source wait."""
    return source + _NOTES


def is_note_of(waiting: str, sources: Collection[str]) -> bool:
    """Whether `waiting` is the notes' source name of any of these sources."""
    return waiting.endswith(_NOTES) and waiting.removesuffix(_NOTES) in sources


def note(event: Received, *, body_at: str) -> Spooled:
    """The note of an event that is too large."""
    return Spooled(event=msgspec.structs.replace(event, body=b"", source=notes_of(event.source)), body_at=body_at)


def noted(spooled: Spooled) -> Received:
    """The event of a note, without its body."""
    return msgspec.structs.replace(spooled.event, source=spooled.event.source.removesuffix(_NOTES))


_decoder = msgspec.msgpack.Decoder(Spooled)


def seal(spooled: Spooled) -> bytes:
    """The record: checksum, then the event."""
    content = msgspec.msgpack.encode(spooled)
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big") + content


def unseal(record: object) -> Spooled | None:
    """Read a record; None if it is damaged, or its shape is not ours."""
    if not isinstance(record, bytes):
        return None
    checksum, content = record[:_CHECKSUM_BYTES], record[_CHECKSUM_BYTES:]
    if zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        return None
    try:
        return _decoder.decode(content)
    except msgspec.DecodeError:  # written by another release, with another shape
        return None
