"""How commands print: a table for people, or a JSON document for programs. Both go to stdout; logs go to stderr.

The text may come from strangers. Nothing in it steers the terminal: for people control characters are spelled out, in
a document they are escaped.
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
    """Print a plain line, or several; nothing is taken for markup, and control characters are spelled out."""
    Console(highlight=False, soft_wrap=True).print(plain(text, lines=lines))


def note(text: str) -> None:
    """Print a plain line on stderr, beside the output."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201  # for the person who waits


def plain(text: object, style: str = "", *, lines: bool = False) -> Text:
    """Return text as `say` prints it, for a part of a page."""
    return Text(printable(str(text), lines=lines), style)


def document(content: Any) -> None:
    """Print a JSON document."""
    _write(msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n")


def _write(part: str) -> None:
    """Write a part of a document, in UTF-8 whatever the terminal's encoding."""
    sys.stdout.buffer.write(printable_json(part).encode())


class DocumentWithList:
    """A JSON document with a long list. Each element is written at once and not kept; all else follows the list.

    Nothing is written before the first element or the end: a command that fails at once writes nothing.
    """

    def __init__(self, name: str) -> None:
        self._opening = f'{{\n  "{name}": ['
        self._between = self._opening

    def __enter__(self) -> Self:
        """Write nothing yet: the document begins with its first element."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave a document that was cut off as it is, so that no reader takes it for whole."""
        sys.stdout.flush()

    def add(self, element: Any) -> None:
        """Write the next element of the list, on a line of its own."""
        _write(f"{self._between}\n    {msgspec.json.encode(element).decode()}")
        self._between = ","

    def end(self, rest: Mapping[str, Any]) -> None:
        """Close the list, and write the rest of the document."""
        if self._between is self._opening:
            _write(self._opening)
        whole = msgspec.json.format(msgspec.json.encode(rest), indent=2).decode()
        _write("\n  ]," + whole.removeprefix("{") + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """Return a table of plain cells."""
    made = Table(*headings, title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for row in rows:
        made.add_row(*(plain("" if cell is None else cell) for cell in row))
    return made


def show(made: Table) -> None:
    """Print a table; where stdout is no terminal, up to 220 characters wide."""
    console = Console(highlight=False)
    console.print(made) if console.is_terminal else Console(highlight=False, width=220).print(made)
