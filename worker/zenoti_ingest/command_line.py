"""What the words of several commands have in common."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from zenoti_ingest.settings import Settings

EVENT_ID: Final = "a CloudEvent's id, an event_id, a receipt's or an invoice's id"


class Command(Protocol):
    """A module that is a command. Its parser has two defaults that it can set.

    `daemon`: it runs until it is asked to stop, and its log is what it says. `drains`: a signal does not cancel it; it
    finishes by itself once `stop` is set.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add its words."""

    async def run(self, settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
        """Do what the words say; returns the exit status."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option of whoever wants to parse."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def filled(text: str) -> str:
    """A text that is not empty.

    An empty one would mean all that have none: of `--id "$ID"` where there is no ID, every letter without.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def number(read: Callable[[str], float], *, least: float, most: float) -> Callable[[str], Any]:
    """Reads a number between two others, both allowed."""

    def bounded(text: str) -> float:
        try:
            found = read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not least <= found <= most:  # nor is NaN
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
        return found

    return bounded
