"""Names of processes on the broker: this process's own, and those left behind by killed processes.

Host name and port do not identify a process: two containers can have both in common. So each process draws a random
name and keeps it as a file beside the spool's folders, locked while the process lives. A process that finds an unlocked
file deletes what that name left on the broker.
"""

import fcntl
import os
import re
import secrets
from pathlib import Path

from zenoti_ingest.telemetry import log

FOLDER = "owners"
_NAME = re.compile("[0-9a-f]{16}")


class Owners:
    """This process's name, and the names of ended processes.

    Args:
        directory: the spool's directory; only processes that share it know of each other. If it cannot be written, the
            name still works, but what it names stays on the broker if the process is killed.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER
        self._descriptor: int | None = None
        self.own = secrets.token_hex(8)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._hold()
        except OSError as error:
            log.warning("spool_failed", directory=str(self._folder), detail=f"{type(error).__name__}: {error}"[:300])

    def ended(self) -> list[str]:
        """The names that no process holds any more; a name that cannot be read now is left for the next call."""
        try:
            return [file.name for file in self._folder.iterdir() if _NAME.fullmatch(file.name) and _is_free(file)]
        except OSError:
            return []

    def forget(self, name: str) -> None:
        """Delete the file of a name that names nothing any more."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            log.debug("spool_failed", directory=str(self._folder), detail=f"{type(error).__name__}: {error}"[:300])

    def release(self) -> None:
        """Unlock our own name; if its file is still there, another process finds it and cleans up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _hold(self) -> None:
        while self._descriptor is None:
            file = self._folder / self.own
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    self._descriptor = descriptor
            except (BlockingIOError, FileNotFoundError):  # another process took the unlocked file for an orphan
                self.own = secrets.token_hex(8)
            finally:
                if self._descriptor is None:
                    os.close(descriptor)


def _is_free(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # another process has deleted it, or we may not read it
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
