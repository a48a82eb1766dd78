"""Witnesses of queues: whether a queue is still the one it was, even if somebody has made it anew since.

An auto-delete exchange that is bound to nothing but the queue: the broker removes it together with the queue, and
nobody but us makes it again. A queue that is deleted and declared again between two looks looks whole otherwise.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import aiormq.exceptions
from aio_pika.abc import AbstractConnection


class Witnesses:
    """Exchanges of our own by the queue whose deletion they tell.

    Args:
        queues: that are watched.
        owner: this process's name among all that run; asked when the witnesses are set up. A name that comes again
            after a kill takes over what that one left.
    """

    def __init__(self, queues: Sequence[str], *, owner: Callable[[], str]) -> None:
        self._queues, self._owner = queues, owner
        self._exchanges: dict[str, str] = {}

    async def set_up(self, connection: AbstractConnection) -> None:
        """From now on each queue has its witness; the queues must be there."""
        exchanges = {queue: f"{queue}.witness.{self._owner()}"[:255] for queue in self._queues}
        async with connection.channel() as channel:
            underlay = await channel.get_underlay_channel()
            for queue, exchange in exchanges.items():
                await underlay.exchange_declare(exchange, exchange_type="fanout", durable=True, auto_delete=True)
                await underlay.queue_bind(queue, exchange)
        self._exchanges = exchanges

    async def deleted(self, connection: AbstractConnection) -> list[str]:
        """The queues that have been deleted since."""
        found = []
        for queue, exchange in self._exchanges.items():
            channel = await connection.channel()
            try:
                await (await channel.get_underlay_channel()).exchange_declare(exchange, passive=True)
            except aiormq.exceptions.ChannelNotFoundEntity:
                if queue in self._exchanges:  # else we have removed it ourselves meanwhile
                    found.append(queue)
            else:
                await channel.close()
        return found

    async def remove(self, connection: AbstractConnection) -> None:
        """What happens to the queues from now on is nobody's deletion; a look that is under way takes it for none."""
        exchanges, self._exchanges = self._exchanges, {}
        with suppress(aiormq.exceptions.AMQPError):
            async with connection.channel() as channel:
                underlay = await channel.get_underlay_channel()
                for exchange in exchanges.values():
                    await underlay.exchange_delete(exchange)
