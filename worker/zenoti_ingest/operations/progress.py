"""Shows how far a long command has come, on stderr: a bar on a terminal, elsewhere a line every 10 s."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zenoti_ingest.operations.terminal import note as note_line

LINE_SECONDS = 10.0
WAITING_SECONDS = 3.0  # a shorter wait is not shown where there is no terminal


class ProgressReport:
    """The bar on a terminal, or the lines elsewhere.

    Args:
        what: the word before the numbers.
        total: how many events or letters there are; None where that is not known.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._done = what, total, 0
        self._next_line = time.monotonic() + LINE_SECONDS
        self._waits_since: float | None = None
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            note = TextColumn("{task.fields[note]}", markup=False)
            self._bar = Progress(*columns, note, console=console, transient=True)
            self._task = self._bar.add_task(what, total=total, note="")

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int, *, of: int | None = None, note: str = "") -> None:
        """Show that `done` of them were looked at; `note` says where that is."""
        self._done, self._waits_since = done, None
        self._total = of or self._total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total, note=note)
        else:
            self._line(note)

    def waiting(self, why: str) -> None:
        """Show that the command waits, and why."""
        now = time.monotonic()
        if self._waits_since is None:
            self._waits_since, self._next_line = now, min(self._next_line, now + WAITING_SECONDS)
        if self._bar is not None:
            self._bar.update(self._task, note=f"waiting: {why}")
        else:
            self._line(f"waiting: {why}")

    def _line(self, note: str) -> None:
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + LINE_SECONDS
        of = "" if self._total is None else f" of {self._total}"
        note_line(f"{self._what}: {self._done}{of}{'; ' if note else ''}{note}")
