"""What the commands print: a table for people, one JSON document for programs. Both on stdout; logs stay on stderr."""

from collections.abc import Iterable, Sequence
from typing import Any

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
