"""Bodies that the broker does not take, as files: each a record with its checksum, on disk before its dead letter."""

import os
from pathlib import Path

from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.intake.spool_record import Spooled, seal, unseal


def write(folder: Path, spooled: Spooled) -> Path:
    """Write the event; return its file once that is safe on disk. Writing the event again gives the same file.

    Raises:
        OSError: it cannot be written.
    """
    path = folder.absolute() / f"{spooled.event.receipt_id}.record"
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.write(seal(spooled))
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    for names in (path.parent, path.parent.parent):
        _sync(names)
    return path


def read(path: Path) -> Received | None:
    """The event in a file; None if the file cannot be read, is not such a file, or is damaged."""
    try:
        spooled = unseal(path.read_bytes())
    except OSError:
        return None
    return spooled.event if spooled else None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
