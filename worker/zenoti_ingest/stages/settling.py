"""How translate and enrich settle a delivery: they publish what it became, or its dead letter, and then ack."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.identity import Identity
from zenoti_ingest.core.events.messages import PUBLISH_SECONDS, Outgoing, Received
from zenoti_ingest.core.events.spans import HANDED_BACK, Place
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.backoff import Backoff
from zenoti_ingest.core.failures.defects import Defects
from zenoti_ingest.core.failures.errors import PublishUnconfirmed, TooLarge, Unroutable
from zenoti_ingest.core.failures.policy import DEFECT, DeadLetter
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.delivery_log import DeliveryLog
from zenoti_ingest.stages.ports import Clock, Publishes, Span, Subscription
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import publishes_failed

FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 60.0
TOO_MANY_DEFECTS = "too many defects in a row: this version must not drain the queue into the dead letters"


def place_of(delivery: Delivery, *, stage: str, queue: str) -> Place:
    """Where a delivery came from, as its span needs it."""
    return Place(
        stage=stage,
        queue=queue,
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        delivery_tag=delivery.tag,
    )


async def until_confirmed(attempt: Callable[[], Awaitable[None]], *, exchange: str, subscription: Subscription) -> None:
    """Repeat a publish, with growing pauses, until it is confirmed or the subscription is to be left.

    Handing the delivery back at once would raise its delivery count and cost another API call, though the message is
    not at fault.

    Raises:
        PublishUnconfirmed: the broker may not have it, and the delivery is to be handed back.
        Unroutable: no queue is bound for it, and the delivery is to be handed back.
        TooLarge: the broker takes no body of this size.
    """
    backoff = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
    while True:
        try:
            await attempt()
        except (PublishUnconfirmed, Unroutable) as error:
            publishes_failed.labels(exchange).inc()
            if subscription.leaving.is_set():
                raise
            pause = backoff.failed()
            log.warning("publish_failed", exchange=exchange, detail=str(error), retry_seconds=pause)
            try:
                async with asyncio.timeout(pause):
                    await subscription.leaving.wait()
            except TimeoutError:
                continue
            raise
        else:
            return


class Settler:
    """How a consuming stage ends a delivery: with a publish to a queue of ours, or with a dead letter.

    Args:
        publisher: the port to the broker.
        names: of exchanges and queues.
        delivery_log: records each delivery.
        archived: whether the archive has every event.
        clock: the port.

    Attributes:
        defects: counts defects in a row.
    """

    def __init__(
        self, publisher: Publishes, *, names: Names, delivery_log: DeliveryLog, archived: bool, clock: Clock
    ) -> None:
        self._publisher, self._names, self._log, self._archived = publisher, names, delivery_log, archived
        self._clock = clock
        self.defects = Defects()

    async def publish(self, message: Outgoing, *, subscription: Subscription) -> None:
        """Publish to one of our own queues; see `until_confirmed`."""
        await until_confirmed(
            partial(self._publisher.publish, message, within=PUBLISH_SECONDS),
            exchange=message.exchange,
            subscription=subscription,
        )

    async def dead_letter(
        self,
        delivery: Delivery,
        message: Received,
        verdict: DeadLetter,
        *,
        subscription: Subscription,
        span: Span,
        identity: Identity,
    ) -> None:
        """Publish the dead letter, then ack. After too many defects in a row it writes none, and the stage stops.

        The letter of an oversized event has no body if the archive has the event. Without an archive the letter keeps
        the body as it came; if even that is too large, the broker itself makes the delivery a dead letter.

        Raises:
            PublishUnconfirmed: the broker may not have the letter; the delivery is not acked.
            Unroutable: there is no queue of dead letters.
        """
        if verdict.reason == DEFECT:
            if self.defects.are_too_many:
                span.outcome(HANDED_BACK, error=DEFECT)
                subscription.fail(TOO_MANY_DEFECTS)
                return
            self.defects.noted(invoice_id=identity.invoice_id)
        letter = dead_letter.write(
            message, verdict, names=self._names, stage=self._log.stage, dead_at=self._clock.utc_now(), identity=identity
        )
        archived = self._archived and bool(message.received_at)  # the archive is searched by it
        bare = dead_letter.without_body(letter, body_at=dead_letter.ARCHIVE)
        try:
            await self.publish(
                bare if archived and verdict.reason == TooLarge.reason else letter, subscription=subscription
            )
            delivery.ack()
        except TooLarge:
            if archived:
                await self.publish(bare, subscription=subscription)
                delivery.ack()
            else:
                subscription.reject(delivery.tag)
        self._log.dead_lettered(delivery, message, verdict, span=span, identity=identity)
        if verdict.reason != DEFECT:
            self.defects.went_well()
