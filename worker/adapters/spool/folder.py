"""Folders of the spool directory: each process holds one of its own by a lock, which ends with the process.

The lock is on the folder itself, and whoever removes a folder holds it: no window in which two could own one.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import uuid_utils

CORRUPT = "corrupt"  # beside the folders: what could not be read, for an operator to look at

_PROBE = "probe"
_PROBE_BYTES = 256 * 1024


class Folder:
    """A folder that this process holds."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def sync(self) -> None:
        """See the names in it safe on disk."""
        os.fsync(self._descriptor)

    def try_write(self) -> None:
        """Write a little and take it away again.

        Raises:
            OSError: the disk takes nothing.
        """
        probe = self.path / _PROBE
        try:
            with probe.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of it; removed where it is empty."""
        (self.path / _PROBE).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: for another to adopt
            self.path.rmdir()
        os.close(self._descriptor)


def make_own(directory: Path) -> Folder:
    """A new folder; its name sorts by time.

    Raises:
        OSError: it cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    while True:
        path = directory / str(uuid_utils.uuid7())
        path.mkdir(mode=0o700)  # bodies hold customers' data
        folder = _lock(path)
        if folder is not None:  # else somebody took the empty folder for an orphan
            _sync(directory)
            return folder


def adopt(directory: Path) -> list[Folder]:
    """The folders that nobody holds, oldest first."""
    return [folder for path in _folders(directory) if (folder := _lock(path)) is not None]


def others_bytes(directory: Path, *, ours: set[Path]) -> int:
    """What the folders of other processes, and what was moved aside, take on disk."""
    found = 0
    for path in [*_folders(directory), directory / CORRUPT]:
        if path not in ours:
            found += sum(_size(file) for file in _listed(path))
    return found


def _folders(directory: Path) -> list[Path]:
    return sorted(path for path in _listed(directory) if path.name != CORRUPT and path.is_dir())


def _listed(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except FileNotFoundError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # drained meanwhile
        return 0


def _lock(path: Path) -> Folder | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return Folder(path, descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
