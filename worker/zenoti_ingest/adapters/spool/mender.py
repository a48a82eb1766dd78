"""Mends, in a thread of its own: adopts the folders of ended processes, saves the rows of damaged files, clears away.

What fails for one folder or file is noted, tried again in the next round, and stops no other.
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
    """Mends what stands on the shelf.

    Args:
        directory: of all processes' folders.
        shelf: our files; whatever touches these is done by way of `on_shelf`.
        lines: where log lines go.
        on_shelf: does something in the thread of the shelf, and waits for it.

    Attributes:
        troubles: why a folder cannot be taken over, read or mended, by its name.
        oldest_at: when the oldest event that waits was received; empty: none waits.
        others_bytes: what other processes' folders and damaged files take on disk.
    """

    def __init__(
        self, directory: Path, shelf: Shelf, lines: Lines, *, on_shelf: Callable[[Callable[[], object]], object]
    ) -> None:
        self._directory = directory
        self._lines = lines
        self._shelf = shelf
        self._on_shelf = on_shelf
        self._is_stopped = threading.Event()
        self._told: dict[str, str] = {}
        self.troubles: dict[str, str] = {}
        self.oldest_at = ""
        self.others_bytes = 0

    def stop(self) -> None:
        """Begin nothing new; a salvage under way is undone."""
        self._is_stopped.set()

    def mend(self) -> None:
        """One round."""
        troubles: dict[str, str] = {}
        for file in [*self._shelf.replaced]:
            with _isolated(troubles, file.folder.path):
                self._save(file)
        for path in self._folders(troubles):
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
        """Move records that cannot be read into `corrupt`; in the thread of the shelf."""
        if file.unreadable:
            file.lay_aside(corrupt_folder(self._directory))

    def note(self, path: Path, error: BaseException) -> None:
        """Something failed for a folder between two rounds."""
        self.troubles = {**self.troubles, path.name: described(error)}
        self._tell(path.name, described(error))

    def _folders(self, troubles: dict[str, str]) -> list[Path]:
        with _isolated(troubles, self._directory):
            return folders.ours_in(self._directory, file=files.NAME)
        return []  # type: ignore[unreachable]  # mypy does not see that _isolated swallows

    def _adopt(self, path: Path) -> None:
        """Take over a folder that nobody holds, or let go of it."""
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
        """Save the rows of a file that was replaced, in a new one."""
        expected, published = file.events, dict(file.published)
        if file.is_open:  # it was removed: what we still have open is all there is
            target = self._rescued(file, published=published)
        elif file.path.exists():
            target = self._save_damaged(file.folder, file.path, published=published, expected=expected)
        else:
            target = SpoolFile(file.folder, files.salvaged(file.path))  # there if only the answer got lost
            self._tell_damaged(file.path, recovered=target.events, lost=expected - target.events)
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
        """Save the rows of a damaged file beside it. `expected`: how many; None: as many as its index has."""
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
        self._tell_damaged(damaged, recovered=target.events, lost=lost)
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
        """A new file with these rows; none where something fails meanwhile."""
        files.remove(path)
        if shutil.disk_usage(folder.path).free < size:
            raise OSError(errno.ENOSPC, f"the disk is too full to save the rows of {path.name}")
        salvage = Salvage(cells, SpoolFile(folder, path), published=published)
        try:
            while salvage.step():
                self._tell_unreadable(folder, salvage.unreadable)
                self._go_on()
            self._tell_unreadable(folder, salvage.unreadable)
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
        """Lay aside what cannot be read, and see how old the oldest is."""
        ages: list[str] = []

        def look(file: SpoolFile) -> None:
            self.lay_aside(file)
            ages.append(file.oldest_received_at())

        for file in self._shelf.files:
            with _isolated(troubles, file.folder.path):
                self._on_shelf(lambda file=file: self._shelf.do(file, look, file))  # type: ignore[misc]
        self.oldest_at = min(filter(None, ages), default="")

    def _report(self, troubles: dict[str, str]) -> None:
        for name, reason in troubles.items():
            self._tell(name, reason)
        # A folder that another process is trying just now has no trouble with us, and may have it again.
        self._told = {name: reason for name, reason in self._told.items() if (self._directory / name).exists()}
        self.troubles = troubles

    def _tell(self, name: str, reason: str) -> None:
        if self._told.get(name) != reason:
            self._lines.error("spool_folder_failed", folder=name, detail=reason)
        self._told[name] = reason

    def _tell_damaged(self, damaged: Path, *, recovered: int, lost: int | None) -> None:
        """`lost` is None where nobody knows how many there were."""
        spool_corrupt.inc(lost or 0)
        kept = str(self._directory / CORRUPT / damaged.name)
        self._lines.error("spool_damaged", folder=damaged.parent.name, recovered=recovered, lost=lost, kept=kept)

    def record_lost(self, folder: Path, number: int, receipt_id: str) -> None:
        """A record is not what was stored."""
        kept = str(self._directory / CORRUPT)
        receipt = receipt_id[:36]
        self._lines.error("spool_record_lost", folder=folder.name, number=number, receipt_id=receipt, kept=kept)

    def _tell_unreadable(self, folder: Folder, cells: list[Cell]) -> None:
        for cell in cells:
            self.record_lost(folder.path, cell.number, cell.receipt_id)


def corrupt_folder(directory: Path) -> Path:
    """Where an operator finds what could not be read."""
    path = directory / CORRUPT
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def described(error: BaseException) -> str:
    """What went wrong, in a line."""
    return f"{type(error).__name__}: {error}"[:300]


@contextmanager
def _isolated(troubles: dict[str, str], path: Path) -> Iterator[None]:
    """What fails in here is noted for this folder."""
    try:
        yield
    except FAILURES as error:
        troubles[path.name] = described(error)
