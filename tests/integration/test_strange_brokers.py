"""A connection that is kept up outlives whatever answers on the broker's port."""

import asyncio

from aio_pika.abc import AbstractConnection

from tests.eventually import eventually
from tests.strange_brokers import STRANGE, StrangeBroker
from zenoti_ingest.adapters.broker import Link

AGAIN = 2  # connections: the first was outlived


async def _prepare(connection: AbstractConnection) -> None:
    """As a daemon does: the first question to a new connection."""
    async with connection.channel():
        pass


async def _outlives(name: str, broker_url: str) -> str:
    """What the connection reports of a strange broker, once it has come back to it and then found the true broker."""
    async with StrangeBroker(STRANGE[name]) as strange:
        at = [f"amqp://guest:the-password@127.0.0.1:{strange.port}/?heartbeat=1"]
        details: set[str] = set()
        link = Link(lambda: at, name=f"test {name}", prepare=_prepare)
        running = asyncio.create_task(link.run())

        def is_back() -> bool:
            details.add(link.state.detail)
            assert not running.done(), f"{name}: {running}"
            return strange.connections >= AGAIN

        await eventually(is_back, within=60)
        at[0] = broker_url
    async with asyncio.timeout(90):
        await link.wait_ready()
    running.cancel()
    await asyncio.wait([running])
    return " ".join(details)


async def test_every_strange_broker(broker_url: str) -> None:
    """No handshake ends it, none leaks the password into what it says, and it finds a true broker afterwards."""
    async with asyncio.timeout(150):
        outcomes = await asyncio.gather(*(_outlives(name, broker_url) for name in STRANGE))
    assert "the-password" not in "".join(outcomes)
