"""Secrets from where the operator put them; a file is read again when it changes: a rotation needs no restart."""

import os
import stat
import time
from pathlib import Path

from zenoti_ingest.core.configuration.secret_text import UnusableSecret, secrets_in
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.telemetry import log

FILE_POLL_SECONDS = 1.0  # how often a file is read
MAX_BYTES = 64 * 1024  # of a file


class Secret:
    """One or several values, given or in a file (one a line). Shows neither.

    Args:
        key: of the settings.
        given: the values.
        file: where they are, if not given.
        required: False: a file that cannot be used yet is no error; there are no values until it can.
    """

    def __init__(
        self, *, key: str, given: tuple[str, ...] = (), file: str | None = None, required: bool = True
    ) -> None:
        """Read the file at once, so that a wrong path stops the start.

        Raises:
            WrongSettings: the file cannot be read, or holds nothing that can be used.
        """
        self._key = key
        self._values = tuple(value.encode() for value in given)
        self._file = file
        self._looked_at = 0.0
        self.fault = ""
        if file is not None:
            self._look(file)
            if self.fault and required:
                raise WrongSettings(self.fault)

    def __repr__(self) -> str:
        return f"Secret({self._key})"

    def values(self) -> tuple[bytes, ...]:
        """What counts now, in the order given."""
        if self._file is not None and time.monotonic() - self._looked_at >= FILE_POLL_SECONDS:
            self._look(self._file)
            if self.fault:
                # A file that is being replaced may be away or empty for a moment; the last values count until then.
                log.warning("secret_unusable", detail=self.fault)
        return self._values

    def texts(self) -> tuple[str, ...]:
        """The same as text."""
        return tuple(value.decode() for value in self.values())

    def _look(self, file: str) -> None:
        """Read it whole: a file that was replaced can have the size and the time of the one before it."""
        self._looked_at = time.monotonic()
        try:
            self._values = tuple(value.encode() for value in read_secrets(file))
            self.fault = ""
        except OSError as error:
            self.fault = f"{self._key}_file = {file!r}: cannot be read: {error.strerror}"
        except UnusableSecret as error:
            self.fault = f"{self._key}_file = {file!r}: {error}"


def read_secrets(file: str | Path) -> tuple[str, ...]:
    """The secrets in a file.

    Raises:
        OSError: it cannot be read.
        UnusableSecret: it is no file, or holds nothing that can be used.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold us up
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnusableSecret("is no file")
        content = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise UnusableSecret(f"is larger than {MAX_BYTES} bytes")
    return secrets_in(content)
