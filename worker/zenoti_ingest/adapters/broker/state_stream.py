"""The state stream, in which daemons publish their states: publish our own, listen to the others, read the newest."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from zenoti_ingest.adapters.broker.needs import Publisher, Subscriber
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable, PermanentError, PublishUnconfirmed, Unroutable
from zenoti_ingest.telemetry import log
from zenoti_schemas.state import DaemonState

PUBLISH_INTERVAL_SECONDS = 5.0
SPACING_SECONDS = 0.2  # least time between two states: the stream is small, and `status` needs its last 15 seconds
WAIT_SECONDS = 3.0
AGAIN_SECONDS = 1.0
PREFETCH = 100
STALE_SECONDS = 15
IDLE_SECONDS = 0.7


_decoder = msgspec.json.Decoder(DaemonState)


class StateStream:
    """Publishes this process's states, and receives those of the others.

    Args:
        publisher: the connection to publish on.
        exchange: the exchange of the states.
    """

    def __init__(self, publisher: Publisher, *, exchange: str) -> None:
        self._publisher, self._exchange = publisher, exchange
        self._own: tuple[str, str] | None = None
        self._said = self._answered = self._heard = 0  # numbers of our last state published, answered and received
        self._is_confirmed = True
        self._wanted, self._changed = asyncio.Event(), asyncio.Condition()

    async def run(
        self, describe: Callable[[], DaemonState], *, confirmed: Callable[[DaemonState], None] = lambda _: None
    ) -> None:
        """Publish our state every PUBLISH_INTERVAL_SECONDS and on request, until cancelled; failures stop nothing.

        Args:
            describe: returns the state of this process.
            confirmed: called with each state that the broker has confirmed.
        """
        while True:
            await self._publisher.wait_ready()
            self._wanted.clear()
            state = describe()
            self._is_confirmed = await self._say(state)
            if self._is_confirmed:
                confirmed(state)
            async with self._changed:
                self._answered = self._said
                self._changed.notify_all()
            await asyncio.sleep(SPACING_SECONDS if self._is_confirmed else AGAIN_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH_INTERVAL_SECONDS - SPACING_SECONDS):
                    await self._wanted.wait()

    def say_soon(self) -> None:
        """Publish the state now, not only at the next interval."""
        self._wanted.set()

    async def said(self) -> bool:
        """Wait until our next state is confirmed; False: not within WAIT_SECONDS, or the last state was unconfirmed."""
        last = self._answered
        return self._is_confirmed and await self._until(lambda: self._answered > last) and self._is_confirmed

    async def catch_up(self) -> bool:
        """Wait until all states published before this call have been received; False: not within WAIT_SECONDS."""
        last = self._said
        self.say_soon()
        return await self._until(lambda: self._heard > last)

    async def listen(self, link: Subscriber, *, stream: str, heard: Callable[[DaemonState, bool], None]) -> None:
        """Receive the states of other processes until cancelled, from the oldest in the stream on.

        Args:
            link: the connection to consume on.
            stream: the name of the state stream.
            heard: called with a state of another process, and whether it is newer than this subscription.
        """
        start: str | int = "first"
        newest = 0

        async def on_delivery(delivery: Delivery) -> None:
            nonlocal start
            start = int(delivery.headers["x-stream-offset"]) + 1
            state = _read(delivery.body)
            if state is not None and (state.instance, state.started_at) == self._own:
                async with self._changed:
                    self._heard = max(self._heard, int(delivery.headers.get("number", 0)))
                    self._changed.notify_all()
            elif state is not None:
                heard(state, self._heard > newest)
            delivery.ack()

        while True:
            await link.wait_ready()
            newest = self._said  # states that come before our next state are from the past
            arguments = {"x-stream-offset": start}
            try:
                async with link.subscribe(
                    stream, prefetch=PREFETCH, on_delivery=on_delivery, arguments=arguments
                ) as subscription:
                    await subscription.ended.wait()
            except BrokerUnavailable as error:
                log.debug("state_unheard", detail=str(error))
            await asyncio.sleep(AGAIN_SECONDS)

    async def _say(self, state: DaemonState) -> bool:
        self._own, self._said = (state.instance, state.started_at), self._said + 1
        message = Outgoing(
            exchange=self._exchange,
            routing_key="",
            body=msgspec.json.encode(state),
            message_id=f"{state.instance} {state.at}",
            headers={"number": self._said},
            content_type="application/json",
        )
        try:
            await self._publisher.publish(message, within=PUBLISH_INTERVAL_SECONDS)
        except (PublishUnconfirmed, Unroutable, PermanentError) as error:
            log.debug("state_unpublished", detail=str(error))
            return False
        return True

    async def _until(self, is_so: Callable[[], bool]) -> bool:
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._changed:
                return await self._changed.wait_for(is_so)
        except TimeoutError:
            return False


def _read(body: bytes) -> DaemonState | None:
    """Decode a state; None: the message is not a state, but somebody else's."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


async def _silence(heard: asyncio.Event) -> None:
    while True:
        heard.clear()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await heard.wait()
        except TimeoutError:
            return


async def latest(link: Subscriber, *, stream: str) -> list[DaemonState]:
    """The newest state of each process that has published within STALE_SECONDS.

    Raises:
        BrokerUnavailable: the stream cannot be read.
    """
    newest: dict[str, DaemonState] = {}
    heard = asyncio.Event()

    async def on_delivery(delivery: Delivery) -> None:
        if (state := _read(delivery.body)) is not None:
            newest[state.instance] = state  # the stream keeps their order, whatever the clocks say
        heard.set()
        delivery.ack()

    lately = {"x-stream-offset": f"{STALE_SECONDS}s"}  # by the broker's clock: a daemon's wrong clock does not matter
    async with link.subscribe(stream, prefetch=PREFETCH, on_delivery=on_delivery, arguments=lately):
        with suppress(TimeoutError):  # many daemons are never silent all at once; by then each has published
            async with asyncio.timeout(PUBLISH_INTERVAL_SECONDS):
                await _silence(heard)
    return sorted(newest.values(), key=lambda state: (state.daemon, state.instance))
