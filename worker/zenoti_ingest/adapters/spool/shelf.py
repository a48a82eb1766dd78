"""The files that this process is responsible for: its own file and older files. One thread uses them; others only read.

A damaged or removed file is replaced at once, so that events can still be stored; its rows are saved later.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from zenoti_ingest.adapters.spool.file import NAME, Row, SpoolFile, is_damage, kept_in, sweep
from zenoti_ingest.adapters.spool.folder import Folder, make_own
from zenoti_ingest.adapters.spool.lines import Lines

FAILURES: Final = (sqlite3.Error, OSError, ValueError)  # ValueError: text of a damaged schema

P = ParamSpec("P")
R = TypeVar("R")


class Shelf:
    """The files of a spool.

    Args:
        directory: holds the folders of all processes.
        lines: collects log lines.

    Attributes:
        own: the file that takes events; None before the first folder is created.
        older: files of adopted or saved events, oldest first.
        replaced: files whose rows wait to be saved.
        folders: the folders that we hold.
    """

    def __init__(self, directory: Path, lines: Lines) -> None:
        self._directory = directory
        self._lines = lines
        self.own: SpoolFile | None = None
        self.older: list[SpoolFile] = []
        self.replaced: list[SpoolFile] = []
        self.folders: list[Folder] = []

    @property
    def files(self) -> list[SpoolFile]:
        """The files from which events can be read, oldest first."""
        own = self.own
        return [file for file in [*self.older, *([own] if own else [])] if not file.is_replaced]

    def add(self, rows: Sequence[Row]) -> None:
        """Store events in our own file, or in a new file if that is no longer usable.

        Raises:
            sqlite3.Error, OSError: nothing is stored.
        """
        own = self.ready_own()
        try:
            own.add(rows)
        except FAILURES as error:
            if not self._replace(own, error):
                raise
            self.ready_own().add(rows)

    def do(self, file: SpoolFile, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an action on a file. If the file turns out damaged or gone, replace it and raise the error again."""
        try:
            return action(*args, **kwargs)
        except FAILURES as error:
            self._replace(file, error)
            raise

    def check(self, *, thoroughly: bool) -> None:
        """Check that all files are in place and that our own folder can take events; create what is missing.

        Raises:
            OSError: our folder can take no events.
        """
        for file in [*self.older]:
            if not file.is_replaced and not file.is_in_place:
                self._gone(file)
        folder = self.ready_own().folder
        folder.check()
        if thoroughly:
            folder.try_write()

    def ready_own(self) -> SpoolFile:
        """The file that takes events; it and its folder are created if missing.

        Raises:
            OSError: no folder can be created.
        """
        own = self.own
        if own is not None and not own.is_replaced:
            if own.is_in_place:
                return own
            self._gone(own)
        if own is None or not own.folder.is_in_place:
            folder = make_own(self._directory)
            self._log_gone(own)
            self.folders.append(folder)
            own = self.own = SpoolFile(folder, folder.path / NAME)
        elif own.is_replaced:
            own = self.own = SpoolFile(own.folder, own.folder.path / NAME)
        return own

    def take(self, folder: Folder, files: Sequence[SpoolFile]) -> None:
        """Take over a folder and its files."""
        self.folders.append(folder)
        self._place(files)

    def succeed(self, old: SpoolFile, new: SpoolFile) -> None:
        """Register the new file, which holds the saved rows of a replaced file, as its successor."""
        old.close()
        self.replaced.remove(old)
        self._place([new])
        old.successor = new
        old.remove(old.published.values())

    def let_go(self) -> None:
        """Let go of empty files, and of folders without files."""
        for file in self.older:
            with suppress(*FAILURES):  # the disk cannot be written; the next round tries again
                self.do(file, file.tidy)
        self.older = [file for file in self.older if not file.is_replaced]
        wanted = {file.folder for file in [*self.older, *self.replaced]} | ({self.own.folder} if self.own else set())
        for folder in [folder for folder in self.folders if folder not in wanted and not kept_in(folder)]:
            self.folders.remove(folder)
            sweep(folder)
            folder.release()

    def close(self) -> None:
        """Close all files and release all folders; what is on disk stays for the next process."""
        for file in [*self.files, *self.replaced]:
            file.close()
        for folder in self.folders:
            folder.release()

    def _place(self, files: Sequence[SpoolFile]) -> None:
        self.older = sorted([*self.older, *files], key=lambda file: (file.folder.path.name, file.path.name == NAME))

    def _replace(self, file: SpoolFile, error: BaseException) -> bool:
        """Replace a file if it is damaged or gone; return whether it is replaced."""
        if file.is_replaced:
            return True
        if not file.is_in_place:
            self._gone(file)
        elif is_damage(error):
            file.set_apart()
            self.replaced.append(file)
        else:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
                file.close()  # a connection opened on a read-only disk stays read-only
            return False
        return True

    def _gone(self, file: SpoolFile) -> None:
        """Handle a file that was removed or is elsewhere (a disk unmounted, a folder moved), alone or with its folder.

        A removed file can be read as long as we have it open. A file elsewhere is adopted when it comes back.
        """
        is_elsewhere = not file.folder.is_in_place and not file.folder.is_removed
        file.is_replaced = True
        if file.events and file.is_open and not is_elsewhere:
            self.replaced.append(file)
        else:
            file.close()
        if not file.folder.is_in_place and file is not self.own:
            self._log_gone(file)

    def _log_gone(self, file: SpoolFile | None) -> None:
        if file is not None:
            lies = "removed" if file.folder.is_removed else "elsewhere"
            self._lines.error("spool_folder_gone", folder=file.folder.path.name, events=file.events, detail=lies)
