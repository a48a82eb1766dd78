"""Secrets from where the operator put them; a file is read again when it changes: a rotation needs no restart."""

import time
from pathlib import Path

from worker.core.errors import WrongSettings
from worker.telemetry import log

LOOK_SECONDS = 1.0  # how often a file's time is looked at


class Secret:
    """One or several values, given or in a file (one a line). Shows neither."""

    def __init__(
        self, *, key: str, given: tuple[str, ...] = (), file: str | None = None, may_come_later: bool = False
    ) -> None:
        """Read the file at once, so that a wrong path stops the start, unless the values `may_come_later`.

        Raises:
            WrongSettings: the file cannot be read, or holds nothing, and may not come later.
        """
        self._key = key
        self._values = tuple(value.encode() for value in given)
        self._file = Path(file) if file is not None else None
        self._stamp: tuple[int, int] | None = None
        self._looked_at = 0.0
        if self._file is not None:
            try:
                self._read(self._file)
            except OSError as error:
                if may_come_later:
                    self._tell_unreadable()
                    return
                raise WrongSettings(f"{key}_file = {file!r}: cannot be read: {error.strerror}") from error
            if not self._values and not may_come_later:
                raise WrongSettings(f"{key}_file = {file!r}: holds no secret")

    def __repr__(self) -> str:
        return f"Secret({self._key})"

    def values(self) -> tuple[bytes, ...]:
        """What counts now, in the order given."""
        if self._file is not None and time.monotonic() - self._looked_at >= LOOK_SECONDS:
            try:
                self._read(self._file)
            except OSError:
                self._tell_unreadable()  # while it is being replaced, say; the last values count until it is back
        return self._values

    def texts(self) -> tuple[str, ...]:
        """The same as text."""
        return tuple(value.decode("utf-8", "surrogateescape") for value in self.values())

    def _tell_unreadable(self) -> None:
        log.warning("library", logger="secrets", place=f"{self._key}_file", error="unreadable")

    def _read(self, file: Path) -> None:
        self._looked_at = time.monotonic()
        status = file.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        lines = tuple(line.strip() for line in file.read_bytes().splitlines() if line.strip())
        self._stamp = stamp
        self._values = lines or self._values
