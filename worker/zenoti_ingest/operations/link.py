"""A broker connection for a command that ends: it must come up within seconds, or the command says why not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.app.links import broker_link
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.settings import Settings

CONNECT_SECONDS = 10.0


@asynccontextmanager
async def connected(settings: Settings, *, name: str) -> AsyncIterator[Link]:
    """A connection that is up.

    Raises:
        BrokerUnavailable: it did not come up within CONNECT_SECONDS.
    """
    link = broker_link(settings, name=name)
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await link.wait_ready()
    except TimeoutError:
        running.cancel()
        raise BrokerUnavailable(f"no connection within {CONNECT_SECONDS:g} s: {link.state.detail}") from None
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.wait([running])
