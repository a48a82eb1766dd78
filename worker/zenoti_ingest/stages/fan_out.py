"""Fan-out (EIP: recipient list): an event goes to every receiver that wants it; a full receiver holds up no other.

As long as all receivers take events, a single publish to the events exchange reaches them all. Once a queue refuses,
the event is published to each receiver alone: none gets it twice, and for a receiver that does not take it, it waits in
its wait queue, in order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from zenoti_ingest.core.delivery.receivers import Receivers
from zenoti_ingest.core.events.messages import PUBLISH_SECONDS, Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable, ConfirmTimedOut, PublishRefused, Unroutable
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.ports import Clock, Publishes
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import receiver_refusing

ALONE_SECONDS: Final = 5.0  # how long a receiver's queue may take to confirm a publish to it alone
POLL_INTERVAL_SECONDS: Final = 5.0


class FanOut:
    """The receivers, as this process knows them.

    Args:
        publisher: the port to the broker.
        names: of exchanges and queues.
        patterns: the binding keys of each receiver, by its name.
        clock: the port.

    Attributes:
        receivers: which receivers take events now.
    """

    def __init__(
        self, publisher: Publishes, *, names: Names, patterns: Mapping[str, tuple[str, ...]], clock: Clock
    ) -> None:
        self.publisher = publisher
        self.names = names
        self.clock = clock
        self.receivers = Receivers(patterns)
        self.receivers.looked((), at=self.clock.utc_now())  # until the first look: the queues have just been declared
        for name in patterns:
            receiver_refusing.labels(name).set(0)

    def publication(self, message: Outgoing, *, only: str = "") -> "Publication":
        """An event on its way to its receivers, or to `only` that receiver."""
        wanting = self.receivers.wanting(message.routing_key, only=only)
        return Publication(self, message, wanting, is_for_one=bool(only))

    async def watch(self, ready: Callable[[str], Awaitable[int]]) -> None:
        """Check for empty wait queues of refusing receivers, and log refusals of unknown queues, until cancelled.

        Args:
            ready: asks the broker how many messages of a queue nobody holds; raises BrokerUnavailable.
        """
        stranger_logged = False
        while True:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            for name in list(self.receivers.refusals):
                try:
                    if not await ready(self.names.waiting(name)):
                        self.receivers.wait_queue_is_empty(name)
                except BrokerUnavailable as error:
                    log.debug("queue_unseen", queue=self.names.waiting(name), detail=str(error))
            if self.receivers.a_stranger_refuses and not stranger_logged:
                log.error("stranger_refuses", exchange=self.names.events)
            stranger_logged = self.receivers.a_stranger_refuses

    def note_absent(self, absent: Collection[str]) -> None:
        """Take note that the queues of these receivers are missing, and no others."""
        for name in self.receivers.looked(absent, at=self.clock.utc_now()):
            log.error("receiver_queue_gone", receiver=name, waits_in=self.names.waiting(name))

    def note_refusal(self, name: str, detail: str) -> None:
        """Take note that a receiver did not take an event, which waits now."""
        if self.receivers.refused(name, detail, at=self.clock.utc_now()):
            receiver_refusing.labels(name).set(1)
            log.error("receiver_refuses", receiver=name, detail=detail, waits_in=self.names.waiting(name))

    def note_taken(self, name: str) -> None:
        """Take note that a receiver took an event that was published to it alone."""
        if self.receivers.took(name):
            receiver_refusing.labels(name).set(0)
            log.info("receiver_takes_events_again", receiver=name)


class Publication:
    """An event on its way to its receivers. `attempt` may be repeated: it skips receivers that have the event."""

    def __init__(self, fan_out: FanOut, message: Outgoing, wanting: Sequence[str], *, is_for_one: bool) -> None:
        self._fan_out = fan_out
        self._message = message
        self._wanting = tuple(wanting)
        self._left = dict.fromkeys(wanting)
        self._is_apart = is_for_one

    @property
    def is_wanted(self) -> bool:
        """Whether a receiver of ours wants the event."""
        return bool(self._wanting)

    async def attempt(self) -> None:
        """Return once every receiver has the event, or its wait queue has it.

        Raises:
            PublishUnconfirmed: for some receivers that is not confirmed.
            Unroutable: the topology is broken.
        """
        receivers, was_refused = self._fan_out.receivers, False
        if not self._is_apart and not receivers.must_be_apart(self._wanting, now=self._fan_out.clock.monotonic()):
            was_refused = not await self._together()
            if not was_refused:
                return
        if not self.is_wanted:
            # A queue that is no receiver's refused it, or the receiver it is meant for is unknown.
            await self._to(self._fan_out.names.unrouted)
        results = await asyncio.gather(*map(self._alone, list(self._left)), return_exceptions=True)
        for error in filter(None, results):
            raise error
        if was_refused and receivers.refusals.keys().isdisjoint(self._wanting):
            receivers.stranger_refused(now=self._fan_out.clock.monotonic())

    async def _together(self) -> bool:
        """Publish once for all receivers; False: a queue refused it."""
        try:
            await self._fan_out.publisher.publish(self._message, within=PUBLISH_SECONDS)
        except (PublishRefused, ConfirmTimedOut):
            self._is_apart = True
            return False
        self._fan_out.receivers.all_took()
        return True

    async def _alone(self, name: str) -> None:
        """Publish to the receiver's queue alone, or else to its wait queue."""
        fan_out = self._fan_out
        if fan_out.receivers.takes(name):
            try:
                await self._to(fan_out.names.receiver_alone(name), within=ALONE_SECONDS)
            except (PublishRefused, Unroutable) as error:
                fan_out.note_refusal(name, str(error))
                await self._wait(name)
            except ConfirmTimedOut as error:
                await self._wait(name)  # if this is not confirmed either, the broker is at fault, not the receiver
                fan_out.note_refusal(name, str(error))
            except Exception:
                fan_out.receivers.unknown(name)
                raise
            else:
                fan_out.note_taken(name)
        else:
            await self._wait(name)
        self._left.pop(name, None)

    async def _wait(self, name: str) -> None:
        try:
            await self._to(self._fan_out.names.waiting(name))
        except Exception:
            self._fan_out.receivers.unknown(name)
            raise

    async def _to(self, exchange: str, *, within: float = PUBLISH_SECONDS) -> None:
        await self._fan_out.publisher.publish(msgspec.structs.replace(self._message, exchange=exchange), within=within)
