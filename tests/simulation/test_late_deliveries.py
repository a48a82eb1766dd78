"""A subscription that was left takes nothing more, even if the broker closes its channel late."""

import asyncio

from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from tests.simulation.virtual_time import run_in_virtual_time
from zenoti_ingest.adapters.broker.library import CLOSE_SECONDS
from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing


def test_what_comes_after_leaving_goes_back() -> None:
    """A frozen node answers the close late; its deliveries belong to nobody, since the owner has subscribed anew."""
    taken: list[bytes] = []

    async def take(delivery: Delivery) -> None:
        taken.append(delivery.body)

    async def story() -> None:
        broker = SimulatedBroker(seeded(1))
        broker.declare_queue("work", {"x-queue-type": "quorum"})
        link = SimulatedLink(broker)
        async with link.subscribe("work", prefetch=10, on_delivery=take):
            broker.freeze(0)
            broker.route(_message(b"late"))  # on its way to us, in the frozen node
        await asyncio.sleep(CLOSE_SECONDS)
        assert taken == []
        broker.thaw(0)
        await asyncio.sleep(1)
        assert taken == []
        async with link.subscribe("work", prefetch=10, on_delivery=take):
            await asyncio.sleep(1)
        assert taken == [b"late"]

    run_in_virtual_time(story())


def _message(body: bytes) -> Outgoing:
    return Outgoing(exchange="", routing_key="work", body=body, message_id="m", headers={})
