"""The stream of what the daemons say of themselves: writing to it, and reading the newest of each."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from schemas.state import DaemonState
from worker.core.errors import PublishUnconfirmed, Unroutable
from worker.core.messages import Outgoing
from worker.telemetry import log

TELL_SECONDS = 5.0
STALE_SECONDS = 15.0
IDLE_SECONDS = 0.7


class _Publishes(Protocol):
    async def wait_ready(self) -> None: ...

    async def publish(self, message: Outgoing, *, within: float) -> None: ...


class _Subscribes(Protocol):
    def subscribe(
        self, queue: str, *, prefetch: int, on_delivery: Callable[[Any], Awaitable[None]], arguments: Any = None
    ) -> Any: ...


_decoder = msgspec.json.Decoder(DaemonState)


async def tell(publisher: _Publishes, *, exchange: str, describe: Callable[[], DaemonState]) -> None:
    """Say it every TELL_SECONDS, for ever; a daemon that cannot be heard goes on working."""
    while True:
        await publisher.wait_ready()
        state = describe()
        message = Outgoing(
            exchange=exchange,
            routing_key="",
            body=msgspec.json.encode(state),
            message_id=f"{state.instance} {state.at}",
            headers={},
            content_type="application/json",
        )
        try:
            await publisher.publish(message, within=TELL_SECONDS)
        except (PublishUnconfirmed, Unroutable) as error:
            log.debug("state_unpublished", detail=str(error))
        await asyncio.sleep(TELL_SECONDS)


async def _silence(heard: asyncio.Event) -> None:
    while True:
        heard.clear()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await heard.wait()
        except TimeoutError:
            return


async def latest(link: _Subscribes, *, stream: str) -> list[DaemonState]:
    """The newest state of each process that has spoken within STALE_SECONDS.

    Raises:
        BrokerUnavailable: the stream cannot be read.
    """
    newest: dict[str, DaemonState] = {}
    heard = asyncio.Event()

    async def on_delivery(delivery: Any) -> None:
        state = _decoder.decode(delivery.body)
        known = newest.get(state.instance)
        if known is None or known.at < state.at:
            newest[state.instance] = state
        heard.set()
        await delivery.ack()

    since = datetime.now(UTC) - timedelta(seconds=STALE_SECONDS)
    async with link.subscribe(stream, prefetch=100, on_delivery=on_delivery, arguments={"x-stream-offset": since}):
        with suppress(TimeoutError):  # many daemons never fall silent together; by then each has spoken
            async with asyncio.timeout(TELL_SECONDS):
                await _silence(heard)
    oldest = since.strftime("%Y-%m-%dT%H:%M:%S")
    return sorted(
        (state for state in newest.values() if state.at >= oldest), key=lambda state: (state.daemon, state.instance)
    )
