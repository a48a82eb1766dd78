"""Names that processes have on the broker, each for its life, and those that processes which were killed have left.

A host name and a port name no process: two containers can have both in common. So a name is chance, and stands as a
file beside the spool's folders, locked as long as its process lives. Whoever finds one unlocked clears away what it
named.
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
    """This process's name, and those of ended ones.

    Args:
        directory: of the spool, which only such processes share as can know of each other. Where it cannot be written
            the name is good all the same, but what it named stays on the broker if the process is killed.
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
        """The names that nobody holds any more; what cannot be read is looked at the next time."""
        try:
            return [file.name for file in self._folder.iterdir() if _NAME.fullmatch(file.name) and _is_free(file)]
        except OSError:
            return []

    def forget(self, name: str) -> None:
        """Nothing bears this name any more."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            log.debug("spool_failed", directory=str(self._folder), detail=f"{type(error).__name__}: {error}"[:300])

    def release(self) -> None:
        """Let go of our own name; whoever has not forgotten it finds it."""
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
            except (BlockingIOError, FileNotFoundError):  # somebody took it for an ended one's before it was locked
                self.own = secrets.token_hex(8)
            finally:
                if self._descriptor is None:
                    os.close(descriptor)


def _is_free(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # another has cleared it away; or it is not ours to look into
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
