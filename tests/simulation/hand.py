"""Looks at the simulated broker's queues and puts messages there, as `tests.conftest.Hand` does on a real one."""

from typing import Any, cast

import aiormq.abc
from pamqp import commands as spec
from pamqp.header import ContentHeader

from tests.conftest import Hand
from tests.simulation.broker import SimulatedLink
from tests.simulation.management import ManagementChannel, SimulatedConnection
from zenoti_ingest.core.events.messages import Outgoing


class SimulatedHand(Hand):
    """A hand on the simulated broker."""

    def __init__(self, link: SimulatedLink) -> None:
        super().__init__(cast("Any", SimulatedConnection(link)))
        self._broker = link.broker
        self._managing: ManagementChannel | None = None

    async def channel(self) -> aiormq.abc.AbstractChannel:
        """A channel; another after the broker has closed it."""
        if self._managing is None or self._managing.is_closed:
            self._managing = await cast("SimulatedConnection", self.connection).channel()
        return cast("aiormq.abc.AbstractChannel", self._managing)

    async def take(self, queue: str) -> aiormq.abc.DeliveredMessage | None:
        """The first message, taken out; None where it is empty."""
        ready = self._broker.queues[queue].ready
        if not ready:
            return None
        message = ready.popleft().message
        properties = spec.Basic.Properties(message_id=message.message_id, headers=dict(message.headers))
        found = spec.Basic.GetOk(exchange=message.exchange, routing_key=message.routing_key, message_count=len(ready))
        header = ContentHeader(properties=properties)
        return aiormq.abc.DeliveredMessage(delivery=found, header=header, body=message.body, channel=cast("Any", None))

    async def put(self, message: Outgoing) -> None:
        """Publish, confirmed."""
        assert self._broker.route(message) == "ack"
