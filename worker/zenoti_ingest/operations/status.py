"""`status`: what is wrong, depths, daemons, backlog, dead letters; once, or with `--watch` again and again."""

import argparse
import asyncio

from zenoti_ingest.operations import status_view, status_watch
from zenoti_ingest.operations.link import connected
from zenoti_ingest.operations.status_look import Look
from zenoti_ingest.operations.terminal import document
from zenoti_ingest.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of `status`."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="again and again, on a terminal, until Ctrl-C")
    how.add_argument("--json", action="store_true", help="one JSON document on stdout")


async def run(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    """Do what the words say."""
    if arguments.watch:
        return await status_watch.watch(settings, stop)
    return await status(settings, as_json=arguments.json)


async def status(settings: Settings, *, as_json: bool) -> int:
    """Look once and print."""
    async with connected(settings, name="status") as link:
        found = await Look(settings, link).once()
    if as_json:
        document(found)
    else:
        status_view.show(found, prefix=settings.broker.prefix)
    return 0
