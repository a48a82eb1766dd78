"""A spooled event as bytes on disk: a checksum before it, so that a torn or flipped record shows.

An event that no broker takes leaves a note in the spool: the event without its body, under a source of its own, so that
the dead letter that is still to be written holds up no event.
"""

import zlib
from collections.abc import Collection

import msgspec

from zenoti_ingest.core.events.messages import Received

_CHECKSUM_BYTES = 4


class Spooled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event that waits on disk.

    Attributes:
        event: as the door took it.
        archived: the archive has it already, only the raw queue lacks it.
        body_at: this is the note of an event that is too large: where its body is (see `core/failures/dead_letter`).
    """

    event: Received
    archived: bool = False
    body_at: str = ""


_NOTES = ".too-large"  # no source has a dot in its name


def notes_of(source: str) -> str:
    """The source under which the notes of a source wait."""
    return source + _NOTES


def is_note_of(waiting: str, sources: Collection[str]) -> bool:
    """Whether what waits under this source are notes of one of these."""
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
    """Read a record; None where it is not what was sealed."""
    if not isinstance(record, bytes):
        return None
    checksum, content = record[:_CHECKSUM_BYTES], record[_CHECKSUM_BYTES:]
    if zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        return None
    try:
        return _decoder.decode(content)
    except msgspec.DecodeError:  # sealed by another release whose shape is not ours
        return None
