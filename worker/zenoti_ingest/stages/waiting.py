"""Waiting events of a receiver -> to its queue alone, in order, singly -> confirmed -> off the wait queue.

Every process runs this stage for every receiver, and RabbitMQ makes one of them the active consumer. Events do not go
through the events exchange: if the receiver's queue were gone, an event would return to the end of the wait queue, for
ever.
"""

import asyncio
from collections import deque

from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import PUBLISH_SECONDS, Outgoing
from zenoti_ingest.core.failures.backoff import Backoff
from zenoti_ingest.core.failures.defects import Defects
from zenoti_ingest.core.failures.errors import PermanentError, PublishUnconfirmed, Unroutable
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.ports import Publishes, Subscription

PREFETCH = 5  # bodies in memory; they are published singly
MAX_BYTES = 32 * 1024 * 1024  # bound on these bodies, all receivers together
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0


class WaitQueue:
    """The wait queue of a receiver.

    Args:
        publisher: the port to the broker.
        names: of exchanges and queues.
        receiver: its name; metrics and logs have it as `source`.
        max_bytes: bound on the bodies in hand; a single body may be larger.

    Attributes:
        in_hand: events taken from the wait queue that the receiver's queue has not confirmed yet.
    """

    name = "wait"

    def __init__(self, publisher: Publishes, *, names: Names, receiver: str, max_bytes: int = MAX_BYTES) -> None:
        self._publisher = publisher
        self._exchange = names.receiver_alone(receiver)
        self._changed = asyncio.Event()
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        self.in_hand: deque[Delivery] = deque()
        self.source = receiver
        self.queue = names.waiting(receiver)
        self.prefetch = PREFETCH
        self.max_bytes = max_bytes
        self.defects = Defects()
        self.doing = "waiting"

    def open(self, subscription: Subscription) -> None:  # noqa: ARG002  # the stages' common shape
        """Be ready for deliveries."""
        self.in_hand.clear()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Put an event behind the others."""
        self.in_hand.append(delivery)
        self._changed.set()

    def wake(self) -> None:
        """Look again."""
        self._changed.set()

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Publish the first event until the receiver takes it, then the next; hand back what is left at the end."""
        while not (stop.is_set() or subscription.ended.is_set()):
            self._changed.clear()
            if not self.in_hand:
                await self._changed.wait()
            elif await self._is_taken(self.in_hand[0]):
                self.in_hand.popleft().ack()
                self._backoff.succeeded()
            else:
                await self._rest(subscription, stop)
        await subscription.handled()
        self.in_hand.clear()

    async def _is_taken(self, delivery: Delivery) -> bool:
        try:
            await self._publisher.publish(_again(delivery, self._exchange), within=PUBLISH_SECONDS)
        except (
            PublishUnconfirmed,
            Unroutable,
            PermanentError,
        ):  # the receiver refuses, is gone, or takes no body of this size
            return False
        return True

    async def _rest(self, subscription: Subscription, stop: asyncio.Event) -> None:
        ended = [asyncio.ensure_future(event.wait()) for event in (stop, subscription.ended)]
        try:
            await asyncio.wait(ended, timeout=self._backoff.failed(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in ended:
                waiter.cancel()


def _again(delivery: Delivery, exchange: str) -> Outgoing:
    """The message as it came out, without what the broker wrote into it."""
    return Outgoing(
        exchange=exchange,
        routing_key=delivery.routing_key,
        body=delivery.body,
        message_id=delivery.message_id,
        headers={name: value for name, value in delivery.headers.items() if not name.startswith("x-")},
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
    )
