"""`status`: shows what is wrong, depths, daemons, backlog and dead letters; once, or repeatedly with `--watch`."""

import argparse
import asyncio

from zenoti_ingest.app.installation import Installation
from zenoti_ingest.operations import status_view, status_watch
from zenoti_ingest.operations.status_look import Look
from zenoti_ingest.operations.terminal import document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `status`."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="every 2 s, on a terminal, until Ctrl-C")
    how.add_argument("--json", action="store_true", help="one JSON document on stdout")


async def run(installation: Installation, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    """Run `status`, once or as a watch; returns the exit status."""
    if arguments.watch:
        return await status_watch.watch(installation, stop)
    return await status(installation, as_json=arguments.json)


async def status(installation: Installation, *, as_json: bool) -> int:
    """Look once and print what was found."""
    async with installation.connected("status") as link:
        found = await Look(installation, link).once()
    if as_json:
        document(found)
    else:
        status_view.show(found, prefix=installation.names.prefix)
    return 0
