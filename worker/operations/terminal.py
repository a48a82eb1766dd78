"""What the commands print: a table for people, one JSON document for programs. Both on stdout; logs stay on stderr."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def say(text: str) -> None:
    """A plain line; nothing in it is taken for markup."""
    Console(highlight=False, soft_wrap=True).print(Text(text))


def document(content: Any) -> None:
    """One JSON document."""
    print(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())  # noqa: T201  # stdout is the product here


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
        sys.stdout.write(f"{self._between}\n    {msgspec.json.encode(element).decode()}")
        self._between = ","

    def end(self, rest: Mapping[str, Any]) -> None:
        """Close the list, and say the rest."""
        if self._between is self._opening:
            sys.stdout.write(self._opening)
        whole = msgspec.json.format(msgspec.json.encode(rest), indent=2).decode()
        sys.stdout.write("\n  ]," + whole.removeprefix("{") + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """A table of plain cells."""
    made = Table(*headings, title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def show(made: Table) -> None:
    """Print a table; off a terminal it is as wide as it needs to be."""
    console = Console(highlight=False)
    console.print(made) if console.is_terminal else Console(highlight=False, width=220).print(made)
