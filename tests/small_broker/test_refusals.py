"""What the broker says of a body that is too large, and what becomes of the publishes beside it."""

import asyncio

import pytest
from aiormq.exceptions import ChannelPreconditionFailed

from tests.conftest import Hand, OpenLink
from tests.small_broker.conftest import LIMIT
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.core.delivery.size_budget import limit_in
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import PublishUnconfirmed, TooLarge

WITHIN = 10.0


def message(queue: str, size: int, *, number: int = 0, header: str = "") -> Outgoing:
    """A body of such a size."""
    return Outgoing(
        exchange="", routing_key=queue, body=bytes(size), message_id=f"id-{number}", headers={"text": header}
    )


async def test_the_broker_counts_the_body_alone(hand: Hand, own_queue: str) -> None:
    """A learning test: headers do not count, a body of the limit is taken, one more byte is refused with the limit."""
    await hand.put(message(own_queue, LIMIT, header="x" * 50_000))
    with pytest.raises(ChannelPreconditionFailed) as refused:
        await hand.put(message(own_queue, LIMIT + 1))
    assert limit_in(str(refused.value)) == LIMIT
    assert len(await hand.drain(own_queue)) == 1


async def test_a_refusal_is_learnt(link: Link, hand: Hand, own_queue: str) -> None:
    """The publish that is too large gets TooLarge; those beside it are confirmed or repeated, and nothing is lost.

    The next publish of its size is not sent: no channel closes under anybody.
    """
    small = [message(own_queue, 10, number=number) for number in range(50)]
    large = [message(own_queue, LIMIT + 1, number=100), message(own_queue, 3 * LIMIT, number=101)]
    batch = [*small[:25], *large, *small[25:]]
    results = await asyncio.gather(*(link.publish(m, within=WITHIN) for m in batch), return_exceptions=True)
    assert [type(r) for r in results[25:27]] == [TooLarge, TooLarge]
    repeated = [m for m, r in zip(batch, results, strict=True) if isinstance(r, PublishUnconfirmed)]
    assert {type(r) for r in (*results[:25], *results[27:])} <= {type(None), PublishUnconfirmed}
    await asyncio.gather(*(link.publish(m, within=WITHIN) for m in repeated))
    arrived = [m.header.properties.message_id for m in await hand.drain(own_queue)]
    assert set(arrived) == {m.message_id for m in small}
    assert max(arrived.count(receipt) for receipt in arrived) <= 2

    again = await asyncio.gather(*(link.publish(m, within=WITHIN) for m in batch), return_exceptions=True)
    assert [type(r) for r in again] == [type(None)] * 25 + [TooLarge] * 2 + [type(None)] * 25


async def test_a_refusal_that_nobody_waits_for_is_learnt(link: Link, own_queue: str) -> None:
    """A publish whose caller has gone teaches the limit too."""
    large = message(own_queue, 3 * LIMIT)
    publishing = asyncio.create_task(link.publish(large, within=WITHIN))
    await link.ready(own_queue)
    publishing.cancel()
    await asyncio.wait([publishing])
    for _ in range(3):
        with pytest.raises((PublishUnconfirmed, TooLarge)):
            await link.publish(large, within=WITHIN)
    with pytest.raises(TooLarge, match=str(LIMIT)):
        await link.publish(large, within=WITHIN)


async def test_another_precondition_is_not_for_size(open_link: OpenLink, hand: Hand, own_queue: str) -> None:
    """A channel that closes for another reason (406) leaves the budget as it is."""
    link = await open_link()
    sender = await link.open_sender()
    sent = sender.begin(message(own_queue, 10))
    sender.ack(4711, multiple=False)  # the broker knows no such delivery
    try:
        await sender.confirmed(sent, within=WITHIN)
    except PublishUnconfirmed as error:
        assert "unknown delivery tag" in str(error)  # noqa: PT017  # confirmed in time is as good
    with pytest.raises(TooLarge, match=str(LIMIT)):
        await link.publish(message(own_queue, LIMIT + 1), within=WITHIN)  # sent, and refused by the broker itself
    await hand.drain(own_queue)
