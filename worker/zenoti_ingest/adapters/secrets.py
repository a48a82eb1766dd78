"""Secrets, from the settings or from a file. A file is read again every second, so a rotation needs no restart."""

import os
import stat
import time
from pathlib import Path

from zenoti_ingest.core.configuration.secret_text import UnusableSecret, secrets_in
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.telemetry import log

FILE_POLL_SECONDS = 1.0  # how often a file is read
MAX_BYTES = 64 * 1024  # size of a file


class Secret:
    """One or several secret values, given directly or in a file, a line each. Its repr shows no value.

    Args:
        key: the name of the setting.
        given: the values.
        file: the file that holds the values, if they are not given.
        required: if False, an unusable file is not an error: there are no values until it becomes usable.
    """

    def __init__(
        self, *, key: str, given: tuple[str, ...] = (), file: str | None = None, required: bool = True
    ) -> None:
        """Read the file at once, so that a wrong path stops the start.

        Raises:
            WrongSettings: the file is required, and cannot be read or holds no usable value.
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
        """The values now valid, in the order given."""
        if self._file is not None and time.monotonic() - self._looked_at >= FILE_POLL_SECONDS:
            self._look(self._file)
            if self.fault:
                # A file that is being replaced may be missing or empty for a moment; the last values stay valid.
                log.warning("secret_unusable", detail=self.fault)
        return self._values

    def texts(self) -> tuple[str, ...]:
        """The same as text."""
        return tuple(value.decode() for value in self.values())

    def _look(self, file: str) -> None:
        """Read the whole file: a replaced file can have the size and the time of the file before it."""
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
        OSError: the file cannot be read.
        UnusableSecret: it is not a regular file, is too large, or holds no usable value.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe must not block
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnusableSecret("is not a file")
        content = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise UnusableSecret(f"is larger than {MAX_BYTES} bytes")
    return secrets_in(content)
