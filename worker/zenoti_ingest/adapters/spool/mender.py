"""Mends, in a thread of its own: adopts folders of ended processes, saves the rows of damaged files, cleans up.

A failure of a folder or file is noted and retried in the next round; it stops no other folder or file.
"""

import errno
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zenoti_ingest.adapters.spool import file as files
from zenoti_ingest.adapters.spool import folder as folders
from zenoti_ingest.adapters.spool.carve import Cell, carve
from zenoti_ingest.adapters.spool.file import Key, SpoolFile
from zenoti_ingest.adapters.spool.folder import CORRUPT, Folder
from zenoti_ingest.adapters.spool.lines import Lines
from zenoti_ingest.adapters.spool.salvage import Salvage
from zenoti_ingest.adapters.spool.shelf import FAILURES, Shelf
from zenoti_ingest.telemetry.metrics import spool_corrupt


class Mender:
    """Mends the files of the shelf.

    Args:
        directory: holds the folders of all processes.
        shelf: our files; every access to them goes through `on_shelf`.
        lines: collects log lines.
        on_shelf: runs an action in the shelf's thread, and waits for it.

    Attributes:
        troubles: by folder name, why a folder cannot be taken over, read or mended.
        oldest_at: when the oldest waiting event was received; empty: none waits.
        others_bytes: bytes on disk of other processes' folders and of damaged files.
    """

    def __init__(
        self, directory: Path, shelf: Shelf, lines: Lines, *, on_shelf: Callable[[Callable[[], object]], object]
    ) -> None:
        self._directory = directory
        self._lines = lines
        self._shelf = shelf
        self._on_shelf = on_shelf
        self._is_stopped = threading.Event()
        self._logged: dict[str, str] = {}
        self.troubles: dict[str, str] = {}
        self.oldest_at = ""
        self.others_bytes = 0

    def stop(self) -> None:
        """Begin nothing new, and undo a salvage that is under way."""
        self._is_stopped.set()

    def mend(self) -> None:
        """Run a round of mending."""
        troubles: dict[str, str] = {}
        for file in [*self._shelf.replaced]:
            with _isolated(troubles, file.folder.path):
                self._save(file)
        for path in self._folders_of_others(troubles):
            with _isolated(troubles, path):
                self._adopt(path)
        for folder in [*self._shelf.folders]:
            with _isolated(troubles, folder.path):
                self._keep_damaged(folder)
        self._look_into_files(troubles)
        self._on_shelf(self._shelf.let_go)
        ours = {file.path for file in self._shelf.files}
        self.others_bytes = folders.others_bytes(self._directory, ours=ours)
        self._report(troubles)

    def lay_aside(self, file: SpoolFile) -> None:
        """Move unreadable records into `corrupt`; call this in the shelf's thread."""
        if file.unreadable:
            file.lay_aside(corrupt_folder(self._directory))

    def note(self, path: Path, error: BaseException) -> None:
        """Record a failure of a folder between two rounds."""
        self.troubles = {**self.troubles, path.name: described(error)}
        self._log_once(path.name, described(error))

    def _folders_of_others(self, troubles: dict[str, str]) -> list[Path]:
        held = {folder.path.name for folder in self._shelf.folders if folder.is_in_place}
        with _isolated(troubles, self._directory):
            return folders.spools_in(self._directory, file=files.NAME, leave_out=held)
        return []  # type: ignore[unreachable]  # mypy does not see that _isolated suppresses errors

    def _adopt(self, path: Path) -> None:
        """Take over a folder that nobody holds; release it again if that fails."""
        folder = None if self._is_stopped.is_set() else folders.lock(path)
        if folder is None:
            return
        adopted: list[SpoolFile] = []
        try:
            for whole in files.whole_in(folder):
                if not files.is_sound(whole):
                    files.set_apart(folder, whole)
            for damaged in files.damaged_in(folder):
                self._save_damaged(folder, damaged, published={}, expected=None).close()
            for whole in files.whole_in(folder):
                adopted.append(SpoolFile(folder, whole))  # noqa: PERF401  # those before a failure are closed
            self._on_shelf(lambda: self._shelf.take(folder, adopted))
        except BaseException:
            for file in adopted:
                file.close()
            folder.release()
            raise
        if counts := sum((file.counts for file in adopted), Counter[str]()):
            self._lines.info("spool_adopted", folder=path.name, events=counts.total(), sources=sorted(counts))

    def _save(self, file: SpoolFile) -> None:
        """Save the rows of a replaced file in a new file."""
        expected, published = file.events, dict(file.published)
        if file.is_open:  # it was removed: our open copy is the only copy
            target = self._rescued(file, published=published)
        elif file.path.exists():
            target = self._save_damaged(file.folder, file.path, published=published, expected=expected)
        else:
            target = SpoolFile(file.folder, files.salvaged(file.path))  # exists if only the result of saving got lost
            self._log_damaged(file.path, recovered=target.events, lost=expected - target.events)
        self._on_shelf(lambda: self._shelf.succeed(file, target))

    def _rescued(self, file: SpoolFile, *, published: Mapping[int, Key]) -> SpoolFile:
        folder = self._ready_folder()
        target = self._copied(file.cells(), folder, files.rescued(folder), size=file.used_bytes, published=published)
        lost = max(file.events - target.events, 0)
        spool_corrupt.inc(lost)
        self._lines.error("spool_rescued", folder=file.folder.path.name, recovered=target.events, lost=lost)
        return target

    def _ready_folder(self) -> Folder:
        self._on_shelf(self._shelf.ready_own)
        own = self._shelf.own
        if own is None:
            raise FileNotFoundError("there is no folder to save into")
        return own.folder

    def _save_damaged(
        self, folder: Folder, damaged: Path, *, published: Mapping[int, Key], expected: int | None
    ) -> SpoolFile:
        """Save the rows of a damaged file beside it. `expected`: how many rows; None: as many as its index counts."""
        indexed = files.rows_by_index(damaged)
        expected = indexed if expected is None else expected
        path = files.salvaged(damaged)
        target = self._copied(carve(damaged), folder, path, size=damaged.stat().st_size, published=published)
        try:
            files.is_saved(folder, damaged)
        except BaseException:
            target.close()
            raise
        lost = None if expected is None else max(expected - target.events, 0)
        self._log_damaged(damaged, recovered=target.events, lost=lost)
        return target

    def _copied(
        self,
        cells: Generator[Cell, None, None],
        folder: Folder,
        path: Path,
        *,
        size: int,
        published: Mapping[int, Key],
    ) -> SpoolFile:
        """A new file with these rows; if anything fails, the file is removed."""
        files.remove(path)
        if shutil.disk_usage(folder.path).free < size:
            raise OSError(errno.ENOSPC, f"the disk is too full to save the rows of {path.name}")
        salvage = Salvage(cells, SpoolFile(folder, path), published=published)
        try:
            while salvage.step():
                self._log_unreadable(folder, salvage.unreadable)
                self._go_on()
            self._log_unreadable(folder, salvage.unreadable)
        except BaseException:
            salvage.undo()
            raise
        cells.close()
        return salvage.target

    def _go_on(self) -> None:
        if self._is_stopped.is_set():
            raise InterruptedError("the spool is being closed")

    def _keep_damaged(self, folder: Folder) -> None:
        """Move damaged files, whose rows are saved, into `corrupt`."""
        for kept in files.kept_in(folder):
            files.keep(kept, corrupt_folder(self._directory))

    def _look_into_files(self, troubles: dict[str, str]) -> None:
        """Lay unreadable records aside, and find the oldest event."""
        ages: list[str] = []

        def look(file: SpoolFile) -> None:
            self.lay_aside(file)
            ages.append(file.oldest_received_at())

        for file in [file for file in self._shelf.files if file.events or file.unreadable]:
            with _isolated(troubles, file.folder.path):
                self._on_shelf(lambda file=file: self._shelf.do(file, look, file))  # type: ignore[misc]
        self.oldest_at = min(filter(None, ages), default="")

    def _report(self, troubles: dict[str, str]) -> None:
        for name, reason in troubles.items():
            self._log_once(name, reason)
        # Folders without a failure in this round stay logged while they exist: another process may hold the folder just
        # now, and the same failure may return.
        self._logged = {name: reason for name, reason in self._logged.items() if (self._directory / name).exists()}
        self.troubles = troubles

    def _log_once(self, name: str, reason: str) -> None:
        if self._logged.get(name) != reason:
            self._lines.error("spool_folder_failed", folder=name, detail=reason)
        self._logged[name] = reason

    def _log_damaged(self, damaged: Path, *, recovered: int, lost: int | None) -> None:
        """`lost` is None if nobody knows how many rows there were."""
        spool_corrupt.inc(lost or 0)
        kept = str(self._directory / CORRUPT / damaged.name)
        self._lines.error("spool_damaged", folder=damaged.parent.name, recovered=recovered, lost=lost, kept=kept)

    def record_lost(self, folder: Path, number: int, receipt_id: str) -> None:
        """Log that a record is damaged."""
        kept = str(self._directory / CORRUPT)
        receipt = receipt_id[:36]
        self._lines.error("spool_record_lost", folder=folder.name, number=number, receipt_id=receipt, kept=kept)

    def _log_unreadable(self, folder: Folder, cells: list[Cell]) -> None:
        for cell in cells:
            self.record_lost(folder.path, cell.number, cell.receipt_id)


def corrupt_folder(directory: Path) -> Path:
    """The folder in which an operator finds unreadable records and damaged files; it is created if missing."""
    path = directory / CORRUPT
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def described(error: BaseException) -> str:
    """An error as a single line of text."""
    return f"{type(error).__name__}: {error}"[:300]


@contextmanager
def _isolated(troubles: dict[str, str], path: Path) -> Iterator[None]:
    """Note failures inside the block for this folder, and suppress them."""
    try:
        yield
    except FAILURES as error:
        troubles[path.name] = described(error)
