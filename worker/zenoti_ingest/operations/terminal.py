"""What the commands print: a table for people, one JSON document for programs. Both on stdout; logs stay on stderr.

What is shown to people may come from strangers: nothing in it steers their terminal. A document keeps it, escaped.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zenoti_ingest.core.operating.printable import printable, printable_json


def say(text: str, *, lines: bool = False) -> None:
    """A plain line, or several; nothing in it is taken for markup, and what would steer the terminal is spelled out."""
    Console(highlight=False, soft_wrap=True).print(plain(text, lines=lines))


def note(text: str) -> None:
    """A plain line beside the product, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201  # for the person who waits


def plain(text: object, style: str = "", *, lines: bool = False) -> Text:
    """As `say` has it, for a part of a page."""
    return Text(printable(str(text), lines=lines), style)


def document(content: Any) -> None:
    """One JSON document."""
    _write(msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n")


def _write(part: str) -> None:
    """A part of a document, which is UTF-8 whatever the terminal's encoding."""
    sys.stdout.buffer.write(printable_json(part).encode())


class DocumentWithList:
    """One JSON document whose long list is written as it comes, not kept; what else it says stands after the list.

    Nothing is written before the first element or the end, so a command that fails at once writes nothing.
    """

    def __init__(self, name: str) -> None:
        self._opening = f'{{\n  "{name}": ['
        self._between = self._opening

    def __enter__(self) -> Self:
        """The document begins with its first element."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was cut off stays cut off: no reader may take it for whole."""
        sys.stdout.flush()

    def add(self, element: Any) -> None:
        """The next element of the list, on a line of its own."""
        _write(f"{self._between}\n    {msgspec.json.encode(element).decode()}")
        self._between = ","

    def end(self, rest: Mapping[str, Any]) -> None:
        """Close the list, and say the rest."""
        if self._between is self._opening:
            _write(self._opening)
        whole = msgspec.json.format(msgspec.json.encode(rest), indent=2).decode()
        _write("\n  ]," + whole.removeprefix("{") + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """A table of plain cells."""
    made = Table(*headings, title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for row in rows:
        made.add_row(*(plain("" if cell is None else cell) for cell in row))
    return made


def show(made: Table) -> None:
    """Print a table; off a terminal it is as wide as it needs to be."""
    console = Console(highlight=False)
    console.print(made) if console.is_terminal else Console(highlight=False, width=220).print(made)
