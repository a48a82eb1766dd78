"""`check`: the webhook URL of each source, then broker, spool directory and API key; a line each."""

import argparse
import asyncio
from functools import partial
from pathlib import Path

import msgspec

from zenoti_ingest.adapters.broker.topology import depths
from zenoti_ingest.adapters.invoice_api import new_session
from zenoti_ingest.adapters.spool.folder import make_own
from zenoti_ingest.app.invoice_apis import invoice_api
from zenoti_ingest.app.sources import require_sources, secret_of
from zenoti_ingest.app.topologies import full_topology
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
from zenoti_ingest.operations.link import connected
from zenoti_ingest.operations.terminal import document, say
from zenoti_ingest.settings import Settings, SourceSettings

WITHIN_SECONDS = 30.0
_NO_SUCH_INVOICE = "00000000-0000-4000-8000-000000000001"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of `check`."""
    add_json(parser)


async def run(settings: Settings, arguments: argparse.Namespace, _: asyncio.Event) -> int:
    """Do what the words say."""
    return await check(settings, as_json=arguments.json)


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, whether it holds, and what to do or to know."""

    what: str
    ok: bool
    detail: str


async def check(settings: Settings, *, as_json: bool) -> int:
    """Try everything; 0 only where all of it holds."""
    require_sources(settings)
    findings = [
        Finding(
            "configuration",
            ok=True,
            detail=f"{len(settings.sources)} source(s), {len(settings.downstream)} downstream(s)",
        )
    ]
    findings += [_door(name, source) for name, source in settings.sources.items()]
    findings += [await _broker(settings), _spool(settings)]
    findings += [await _key(name, source) for name, source in settings.sources.items()]
    if as_json:
        document({"ok": all(f.ok for f in findings), "findings": findings})
    else:
        for finding in findings:
            say(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}")
    return 0 if all(f.ok for f in findings) else 1


def _door(name: str, source: SourceSettings) -> Finding:
    token = "?token=<your webhook_token>" if source.webhook_token else ""
    url = f"https://<your public host>/webhooks/{name}{token}"
    try:
        for kind, spec in (("webhook_secret", source.webhook_secret), ("webhook_token", source.webhook_token)):
            secret_of(f"sources.{name}.{kind}", spec)
    except WrongSettings as error:
        return Finding(f"webhook of {name}", ok=False, detail=str(error))
    if not (source.webhook_secret or source.webhook_token or source.insecure):
        return Finding(
            f"webhook of {name}", ok=False, detail=f"{url}: set webhook_secret, webhook_token, or insecure = true"
        )
    return Finding(f"webhook of {name}", ok=True, detail=f"paste into Zenoti: {url}")


async def _broker(settings: Settings) -> Finding:
    wanted = [queue.name for queue in full_topology(settings).queues]
    try:
        async with connected(settings, name="check") as link:
            found = await link.use(partial(depths, queues=wanted), within=WITHIN_SECONDS)
    except WorkerError as error:
        return Finding("broker", ok=False, detail=str(error))
    there = sum(depth is not None for depth in found.values())
    detail = f"connected; {there} of {len(wanted)} queues are there"
    if there < len(wanted):
        detail += ": `zenoti-ingest topology apply` declares the others"
        detail += "; so do the daemons" if settings.broker.declare else ", the daemons may not"
    return Finding("broker", ok=there == len(wanted) or settings.broker.declare, detail=detail)


def _spool(settings: Settings) -> Finding:
    directory = Path(settings.intake.spool_dir)
    try:
        trial = make_own(directory)  # a folder, locked
        try:
            trial.try_write()
        finally:
            trial.release()
    except OSError as error:
        return Finding("spool directory", ok=False, detail=f"{directory} cannot be used: {error.strerror}")
    return Finding("spool directory", ok=True, detail=f"{directory} can be written and locked")


async def _key(name: str, source: SourceSettings) -> Finding:
    """Ask for an invoice that does not exist: any answer but 401 says that the key is taken."""
    what = f"API key of {name}"
    try:
        async with new_session(source.base_url) as session:
            response = await invoice_api(session, name, source).fetch(request(_NO_SUCH_INVOICE, expand=()))
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
