"""Makes stdin, stdout and stderr usable for every command, even if the starting program has closed them.

A closed stream is dangerous: the next file or connection gets its number, and log lines would go into the spool or to
the broker. So each closed stream is opened in the wrong direction: any use of it then fails, and is noticed.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def secure() -> None:
    """Open all three that are closed, before anything else is opened; no write to stderr fails from now on."""
    for number in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == _STDIN else os.O_RDONLY)  # it gets the lowest free number
    if sys.stdout is None:  # so Python marks a closed stdout
        sys.stdout = open(_STDOUT, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  # open until the process ends
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = io.TextIOWrapper(
        _Stderr(), encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True
    )


def discard_stdout() -> None:
    """Discard stdout, which takes nothing more, so that buffered text does not fail again when Python ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)


class _Stderr(io.RawIOBase):
    """Drops what cannot be written, because the disk is full, the reader is gone or the terminal has hung up."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDERR

    def isatty(self) -> bool:
        return os.isatty(_STDERR)

    def write(self, text: Any) -> int:
        with suppress(OSError):
            os.write(_STDERR, text)
        return len(text)
