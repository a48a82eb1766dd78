"""Folders of the spool directory: each process holds its own folder by a lock, which ends with the process.

The lock is on the folder itself, and only its holder removes a folder, so two processes can never own the same folder.
"""

import errno
import fcntl
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import uuid_utils

CORRUPT = "corrupt"  # beside the folders: unreadable records and damaged files, for an operator
_FOREIGN = {CORRUPT, "lost+found"}  # the file system makes lost+found

_PROBE = "probe"
_PROBE_BYTES = 256 * 1024


class Folder:
    """A folder that this process holds."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._is_held = True

    @property
    def is_in_place(self) -> bool:
        """Whether its path still leads to this folder."""
        try:
            return self._is_held and os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            return False

    @property
    def is_removed(self) -> bool:
        """Whether it was deleted, not just moved or unmounted."""
        return self._is_held and os.fstat(self._descriptor).st_nlink == 0

    def names(self) -> list[str]:
        """Of the files in it; none if its path leads nowhere."""
        return [entry.name for entry in _entries(self.path)]

    def sync(self) -> None:
        """Make the file names in it safe on disk."""
        os.fsync(self._descriptor)

    def check(self) -> None:
        """Check that it can take events; it writes only if the disk is nearly full.

        Raises:
            OSError: it cannot take events.
        """
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "the folder cannot be written to", str(self.path))
        room = os.fstatvfs(self._descriptor)
        if room.f_bavail * room.f_frsize < _PROBE_BYTES:
            self.try_write()

    def try_write(self) -> None:
        """Write a small file and delete it again.

        Raises:
            OSError: the disk takes no data.
        """
        probe = self.path / _PROBE
        try:
            with probe.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise (OSError(errno.ENOSPC, "the disk is full") if error.errno == errno.ENOSPC else error) from error
        finally:
            probe.unlink(missing_ok=True)

    def release(self) -> None:
        """Remove the folder if it is empty, and release the lock; a second call does nothing."""
        if not self._is_held:
            return
        if self.is_in_place:  # else the path leads to another folder
            with suppress(OSError):  # not empty: another process will adopt it
                (self.path / _PROBE).unlink(missing_ok=True)
                self.path.rmdir()
        self._is_held = False
        os.close(self._descriptor)


def make_own(directory: Path) -> Folder:
    """A new folder; its name sorts by time.

    Raises:
        OSError: it cannot be created.
    """
    directory.mkdir(parents=True, exist_ok=True)
    while True:
        path = directory / str(uuid_utils.uuid7())
        path.mkdir(mode=0o700)  # bodies hold customer data
        folder = lock(path)
        if folder is not None:  # else another process took the empty folder for an orphan
            try:
                _sync(directory)
            except OSError:
                folder.release()
                raise
            return folder


def spools_in(directory: Path, *, file: str, leave_out: Collection[str]) -> list[Path]:
    """The folders of spools, oldest first: those named like ours (a UUID), and others that contain `file`.

    Raises:
        OSError: the directory cannot be read.
    """
    left_out = {*_FOREIGN, *leave_out}
    try:
        with os.scandir(directory) as entries:
            found = [entry.path for entry in entries if entry.name not in left_out and _is_ours(entry, file)]
    except FileNotFoundError:
        return []
    return [Path(path) for path in sorted(found)]


def lock(path: Path) -> Folder | None:
    """Lock a folder that nobody holds; None: another process holds it, or it is gone.

    Raises:
        OSError: it cannot be opened.
    """
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


def others_bytes(directory: Path, *, ours: Collection[Path]) -> int:
    """The bytes of all files beneath the directory except ours; unreadable files count as 0."""
    left_out = {str(path) for path in ours}
    return sum(
        _size(file) for entry in _entries(directory) for file in _entries(entry.path) if file.path not in left_out
    )


def _is_ours(entry: os.DirEntry[str], file: str) -> bool:
    try:
        UUID(entry.name)
    except ValueError:
        return _is_there(Path(entry.path, file))
    return not entry.is_file(follow_symlinks=False)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # somebody else's folder, which we may not read
        return False


def _entries(path: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []


def _size(file: os.DirEntry[str]) -> int:
    try:
        return file.stat().st_size
    except OSError:  # drained meanwhile, or somebody else's
        return 0


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
