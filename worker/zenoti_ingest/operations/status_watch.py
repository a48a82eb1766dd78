"""`status --watch`: renews the page of `status` on one connection until Ctrl-C; also shows when the broker is away."""

import asyncio
from contextlib import suppress

from rich.console import Console, RenderableType
from rich.live import Live

from zenoti_ingest.app.installation import Installation
from zenoti_ingest.core.failures.errors import BrokerUnavailable, TopologyMismatch, WrongSettings
from zenoti_ingest.operations.status_look import Look
from zenoti_ingest.operations.status_view import render
from zenoti_schemas.status import Status

REFRESH_SECONDS = 2.0


async def watch(installation: Installation, stop: asyncio.Event) -> int:
    """Show the page until stop is set; the last page stays on the terminal.

    Raises:
        WrongSettings: stdout is no terminal.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        raise WrongSettings("status --watch wants a terminal; `status` and `status --json` look once")
    link = installation.link("status")
    running = asyncio.create_task(link.run())
    page = _Page(Look(installation, link), prefix=installation.names.prefix)
    stopped = asyncio.create_task(stop.wait())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_SECONDS):
                await link.wait_ready()
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not stop.is_set():
                looking = asyncio.create_task(page.look())
                await asyncio.wait([looking, stopped], return_when=asyncio.FIRST_COMPLETED)
                if not looking.done():
                    looking.cancel()
                    break
                looking.result()
                live.update(page.rendered(), refresh=True)
                await asyncio.wait([stopped], timeout=REFRESH_SECONDS)
        console.print(page.rendered())
    finally:
        stopped.cancel()
        running.cancel()
        await asyncio.wait([running, stopped])
    return 0


class _Page:
    """The last look, the look before it, and the reason why there is no newer look; empty: there is none."""

    def __init__(self, looking: Look, *, prefix: str) -> None:
        self._looking, self._prefix = looking, prefix
        self._found: Status | None = None
        self._before: Status | None = None
        self._away = ""

    async def look(self) -> None:
        try:
            now = await self._looking.once()
        except (BrokerUnavailable, TopologyMismatch) as error:
            self._away = str(error)
        else:
            self._before, self._found, self._away = self._found, now, ""

    def rendered(self) -> RenderableType:
        return render(self._found, prefix=self._prefix, before=self._before, away=self._away)
