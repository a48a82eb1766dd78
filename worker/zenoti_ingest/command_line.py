"""What a command is, and the arguments that several commands share."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

Given_contra = TypeVar("Given_contra", contravariant=True)
EVENT_ID: Final = "a CloudEvent's id, an event_id, a receipt's or an invoice's id"


class Command(Protocol[Given_contra]):
    """A module that is a command. It can set two defaults of its parser.

    `daemon`: the command runs until it is asked to stop, and its log is its output. `drains`: a signal does not cancel
    the command; it finishes by itself after `stop` is set.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the command."""

    async def run(self, given: Given_contra, arguments: argparse.Namespace, stop: asyncio.Event, /) -> int:
        """Run the command; returns the exit status.

        Args:
            given: for a daemon the settings, for an operator's command the installation.
            arguments: of the command line.
            stop: set when the command must end.
        """


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option `--json`, for programs that parse the output."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def filled(text: str) -> str:
    """Return a text that is not empty.

    An empty text would choose everything that lacks the value: `--id "$ID"` without an ID, every letter without an id.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def number(read: Callable[[str], float], *, least: float, most: float) -> Callable[[str], Any]:
    """Return a reader of numbers from `least` to `most`, both included."""

    def bounded(text: str) -> float:
        try:
            found = read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not least <= found <= most:  # nor is NaN
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
        return found

    return bounded
