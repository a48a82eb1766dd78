"""Saves the rows of a damaged or removed file into a new file, a step at a time."""

from collections.abc import Generator, Mapping
from typing import Final

from zenoti_ingest.adapters.spool.carve import Cell
from zenoti_ingest.adapters.spool.file import Key, Row, SpoolFile, remove
from zenoti_ingest.core.intake.spool_record import Spooled, unseal

_STEP_BYTES: Final = 1024 * 1024
_STEP_ROWS: Final = 256


class Salvage:
    """Copies rows and counts them. It holds only a step's rows in memory, however large the file is.

    Args:
        cells: the rows that can be read.
        target: the new file; rows keep their numbers in it.
        published: rows to leave out.

    Attributes:
        recovered: the number of saved rows.
        unreadable: rows of the last step whose record is damaged.
    """

    def __init__(self, cells: Generator[Cell, None, None], target: SpoolFile, *, published: Mapping[int, Key]) -> None:
        self.target = target
        self.recovered = 0
        self.unreadable: list[Cell] = []
        self._cells = cells
        self._published = published

    def step(self) -> bool:
        """Save some more rows; return whether there may be more."""
        self.unreadable.clear()
        rows: list[Row] = []
        size = 0
        for cell in self._cells:
            if spooled := unseal(cell.record):
                self._take(cell, spooled, rows)
                size += len(cell.record)
            elif cell.is_sure:
                self.unreadable.append(cell)
            if len(rows) + len(self.unreadable) >= _STEP_ROWS or size >= _STEP_BYTES:
                self._save(rows)
                return True
        self._save(rows)
        return False

    def close(self) -> None:
        """Close both files; what is saved stays."""
        self._cells.close()
        self.target.close()

    def undo(self) -> None:
        """Close both files, and remove the new file."""
        self.close()
        remove(self.target.path)

    def _take(self, cell: Cell, spooled: Spooled, rows: list[Row]) -> None:
        event, published = spooled.event, self._published.get(cell.number)
        if published is None or published.receipt_id != event.receipt_id:
            rows.append(Row(event.source, event.receipt_id, event.received_at, cell.record, cell.number))

    def _save(self, rows: list[Row]) -> None:
        if rows:
            self.target.add(rows)
        self.recovered = self.target.events
