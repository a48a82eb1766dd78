"""`check`: tries the webhook settings of each source, then broker, spool directory and API keys; prints a line each."""

import argparse
import asyncio
from functools import partial
from pathlib import Path

import msgspec

from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.adapters.spool.folder import make_own
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.app.sources import Source
from zenoti_ingest.command_line import add_json
from zenoti_ingest.core.failures.errors import (
    ApiRefusedUs,
    ApiThrottled,
    InvoiceNotFound,
    PermanentError,
    WorkerError,
    WrongSettings,
)
from zenoti_ingest.core.invoices.protocol import decipher, request
from zenoti_ingest.operations.terminal import document, say

WITHIN_SECONDS = 30.0
_NO_SUCH_INVOICE = "00000000-0000-4000-8000-000000000001"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    add_json(parser)


async def run(installation: Installation, arguments: argparse.Namespace, _: asyncio.Event) -> int:
    """Run `check`; returns the exit status."""
    return await check(installation, as_json=arguments.json)


class Finding(msgspec.Struct, frozen=True):
    """One line: what was tried, whether it is good, and what to do or to know."""

    what: str
    ok: bool
    detail: str


async def check(installation: Installation, *, as_json: bool) -> int:
    """Try everything; returns 0 only where all of it is good.

    Raises:
        WrongSettings: there is no source.
    """
    sources, receivers = installation.require_sources(), installation.receiver_queues
    findings = [
        Finding(
            "configuration",
            ok=True,
            detail=f"{len(sources)} source(s), {len(receivers)} downstream(s)",
        )
    ]
    findings += [_door(source) for source in sources.values()]
    findings += [await _broker(installation), _spool(installation.spool_directory)]
    findings += [await _key(installation, source) for source in sources.values()]
    if as_json:
        document({"ok": all(f.ok for f in findings), "findings": findings})
    else:
        for finding in findings:
            say(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}")
    return 0 if all(f.ok for f in findings) else 1


def _door(source: Source) -> Finding:
    what = f"webhook of {source.name}"
    try:
        secrets, tokens = source.webhook_secrets(), source.webhook_tokens()
    except WrongSettings as error:
        return Finding(what, ok=False, detail=str(error))
    url = f"https://<your public host>/webhooks/{source.name}"
    if not (secrets or tokens or source.insecure):
        return Finding(what, ok=False, detail=f"{url}: set webhook_secret, webhook_token, or insecure = true")
    token = "?token=<your webhook_token>" if tokens else ""
    return Finding(what, ok=True, detail=f"paste into Zenoti: {url}{token}")


async def _broker(installation: Installation) -> Finding:
    wanted = [queue.name for queue in installation.topology.queues]
    try:
        async with installation.connected("check") as link:
            found = await link.use(partial(depths, queues=wanted), within=WITHIN_SECONDS)
    except WorkerError as error:
        return Finding("broker", ok=False, detail=str(error))
    there = sum(depth is not None for depth in found.values())
    detail = f"connected; {there} of {len(wanted)} queues are there"
    if there < len(wanted):
        detail += ": `zenoti-ingest topology apply` declares the others"
        detail += "; so do the daemons" if installation.daemons_declare else ", the daemons may not"
    return Finding("broker", ok=there == len(wanted) or installation.daemons_declare, detail=detail)


def _spool(directory: Path) -> Finding:
    try:
        trial = make_own(directory)  # makes a folder in it and locks the folder
        try:
            trial.try_write()
        finally:
            trial.release()
    except OSError as error:
        return Finding("spool directory", ok=False, detail=f"{directory} cannot be used: {error.strerror}")
    return Finding("spool directory", ok=True, detail=f"{directory} can be written and locked")


async def _key(installation: Installation, source: Source) -> Finding:
    """Ask for an invoice that does not exist: any answer but 401 shows that the API accepts the key."""
    what = f"API key of {source.name}"
    try:
        async with installation.invoice_api(source.name) as api:
            response = await api.fetch(request(_NO_SUCH_INVOICE, expand=()))
        decipher(response, invoice_id=_NO_SUCH_INVOICE, expand=())
    except InvoiceNotFound:
        return Finding(what, ok=True, detail=f"taken by {source.base_url}")
    except ApiThrottled as error:
        return Finding(what, ok=True, detail=f"taken, but the quota is spent for {error.retry_after:g} s")
    except ApiRefusedUs:
        return Finding(
            what, ok=False, detail=f"{source.base_url} does not take it (401): wrong, expired, or without this scope"
        )
    except PermanentError as error:
        return Finding(what, ok=True, detail=f"answered by {source.base_url}: {error}")
    except WorkerError as error:
        return Finding(what, ok=False, detail=f"{source.base_url}: {error}")
    return Finding(what, ok=True, detail=f"taken by {source.base_url}")
