"""The stream of what the daemons say of themselves: writing to it, hearing the others, reading the newest of each."""

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

TELL_SECONDS = 5.0
SPACING_SECONDS = 0.2  # between two states at least: the stream is small, and `status` wants 15 seconds of it
WAIT_SECONDS = 3.0
AGAIN_SECONDS = 1.0
PREFETCH = 100
STALE_SECONDS = 15
IDLE_SECONDS = 0.7


_decoder = msgspec.json.Decoder(DaemonState)


class StateStream:
    """What this process says of itself, and what it hears the others say.

    Args:
        publisher: the connection to publish by.
        exchange: where states go.
    """

    def __init__(self, publisher: Publisher, *, exchange: str) -> None:
        self._publisher, self._exchange = publisher, exchange
        self._own: tuple[str, str] | None = None
        self._said = self._answered = self._heard = 0  # how many states, or the number of the last
        self._is_confirmed = True
        self._wanted, self._changed = asyncio.Event(), asyncio.Condition()

    async def run(
        self, describe: Callable[[], DaemonState], *, confirmed: Callable[[DaemonState], None] = lambda _: None
    ) -> None:
        """Say it every TELL_SECONDS and when asked to, for ever; a daemon that cannot be heard goes on working.

        Args:
            describe: this process as it stands.
            confirmed: the broker has confirmed this state of ours.
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
                async with asyncio.timeout(TELL_SECONDS - SPACING_SECONDS):
                    await self._wanted.wait()

    def say_soon(self) -> None:
        """Say it now rather than at the next turn."""
        self._wanted.set()

    async def said(self) -> bool:
        """Return once the next state is confirmed; False: it is not within WAIT_SECONDS, or the last one was not."""
        last = self._answered
        return self._is_confirmed and await self._until(lambda: self._answered > last) and self._is_confirmed

    async def catch_up(self) -> bool:
        """Return once all that was said before this has been heard; False: it was not within WAIT_SECONDS."""
        last = self._said
        self.say_soon()
        return await self._until(lambda: self._heard > last)

    async def listen(self, link: Subscriber, *, stream: str, heard: Callable[[DaemonState, bool], None]) -> None:
        """Hear what the others say, for ever, from the oldest state that the stream still has.

        Args:
            link: the connection to consume by.
            stream: of the states.
            heard: a state of another process, and whether it was said just now.
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
            newest = self._said  # what comes before our next state is of the past
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
            await self._publisher.publish(message, within=TELL_SECONDS)
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
    """A state; None: something else, put there by a stranger."""
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
    """The newest state of each process that has spoken within STALE_SECONDS.

    Raises:
        BrokerUnavailable: the stream cannot be read.
    """
    newest: dict[str, DaemonState] = {}
    heard = asyncio.Event()

    async def on_delivery(delivery: Delivery) -> None:
        if (state := _read(delivery.body)) is not None:
            newest[state.instance] = state  # the stream keeps their order, whatever a clock says
        heard.set()
        delivery.ack()

    lately = {"x-stream-offset": f"{STALE_SECONDS}s"}  # by the broker's clock: a daemon with a wrong one is seen, too
    async with link.subscribe(stream, prefetch=PREFETCH, on_delivery=on_delivery, arguments=lately):
        with suppress(TimeoutError):  # many daemons never fall silent together; by then each has spoken
            async with asyncio.timeout(TELL_SECONDS):
                await _silence(heard)
    return sorted(newest.values(), key=lambda state: (state.daemon, state.instance))
