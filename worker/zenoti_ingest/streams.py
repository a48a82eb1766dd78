"""stdin, stdout and stderr as every command can rely on them, also where whoever started it has closed them.

A closed one is dangerous: the next file or connection gets its number, and log lines would go into the spool or to the
broker. So each is opened, the wrong way round: what is written then fails, and is noticed.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def secure() -> None:
    """See that all three are there, before anything else is opened; no write to stderr fails from now on."""
    for number in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == _STDIN else os.O_RDONLY)  # it gets the lowest that is free
    if sys.stdout is None:  # Python's word for one that was closed
        sys.stdout = open(_STDOUT, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  # for all our life
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = io.TextIOWrapper(
        _Stderr(), encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True
    )


def discard_stdout() -> None:
    """Nothing more can be written: what is still buffered must not fail again when Python ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)


class _Stderr(io.RawIOBase):
    """What a full disk, a reader that is gone or a terminal that has hung up do not take is dropped."""

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
