"""What both consuming stages do with a delivery: read it as our message, and lay it among the dead letters."""

from worker.adapters.broker import Delivery
from worker.adapters.clock import utc_now
from worker.core import dead_letter
from worker.core.messages import Received, received
from worker.core.settle import DeadLetter
from worker.core.topology import Names
from worker.stages.ports import PUBLISH_SECONDS, Publishes
from worker.telemetry import dead_letters, log


def message_of(delivery: Delivery, *, source: str) -> Received:
    """The message in a delivery of one of our queues."""
    return received(
        delivery.body,
        delivery.headers,
        source=source,
        message_id=delivery.message_id,
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
    )


async def bury(
    publisher: Publishes,
    delivery: Delivery,
    message: Received,
    verdict: DeadLetter,
    *,
    names: Names,
    stage: str,
    event_type: str = "",
    event_id: str = "",
    invoice_id: str = "",
) -> None:
    """Publish the letter, then ack.

    Raises:
        PublishUnconfirmed: it is not sure that the letter is there; the delivery is not acked.
        Unroutable: there is no queue of dead letters.
    """
    letter = dead_letter.write(
        message,
        verdict,
        names=names,
        stage=stage,
        dead_at=utc_now(),
        event_type=event_type,
        event_id=event_id,
        invoice_id=invoice_id,
    )
    await publisher.publish(letter, within=PUBLISH_SECONDS)
    dead_letters.labels(message.source, verdict.reason).inc()
    told = {"receipt_id": message.receipt_id, "reason": verdict.reason, "detail": verdict.detail}
    log.warning("dead_lettered", stage=stage, source=message.source, **told)
    await delivery.ack()
