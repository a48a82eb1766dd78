"""Witnesses of queues: whether a queue is still the one it was, even if somebody has made it anew since.

An auto-delete exchange that is bound to nothing but the queue: the broker removes it together with the queue, and
nobody but us makes it again. A queue that is deleted and declared again between two looks looks whole otherwise.
"""

from collections.abc import Callable, Iterable, Sequence

import aiormq.exceptions
from aio_pika.abc import AbstractConnection


class Witnesses:
    """Exchanges of our own by the queue whose deletion they show.

    Args:
        queues: that are watched.
        owner: this process's name among all that run, and that none has: two that share a witness hide from each
            other that a queue was deleted. Asked when the witnesses are set up.
    """

    def __init__(self, queues: Sequence[str], *, owner: Callable[[], str]) -> None:
        self._queues, self._owner = queues, owner
        self._exchanges: dict[str, str] = {}
        self._in_doubt: set[str] = set()  # their witness was being made: it may not be bound, and then proves nothing

    async def set_up(self, connection: AbstractConnection) -> list[str]:
        """From now on each queue has its witness; the queues must be there.

        Returns:
            The queues that were deleted since the last time. A new witness would hide that, so it is asked here, too.
        """
        exchanges = self._of(self._owner())
        deleted = await self.deleted(connection)
        unwatched = [q for q, exchange in exchanges.items() if q in deleted or self._exchanges.get(q) != exchange]
        self._in_doubt.update(unwatched)
        async with connection.channel() as channel:
            underlay = await channel.get_underlay_channel()
            for queue in unwatched:
                await underlay.exchange_declare(
                    exchanges[queue], exchange_type="fanout", durable=True, auto_delete=True
                )
                await underlay.queue_bind(queue, exchanges[queue])
        self._exchanges = exchanges
        self._in_doubt.clear()
        return deleted

    async def deleted(self, connection: AbstractConnection) -> list[str]:
        """The queues that have been deleted since, or may have been."""
        found = []
        for queue, exchange in self._exchanges.items():
            if queue in self._in_doubt or not await _is_there(connection, exchange):
                found.append(queue)
        return [queue for queue in found if queue in self._exchanges]  # the others we have removed ourselves meanwhile

    async def remove(self, connection: AbstractConnection) -> None:
        """What happens to the queues from now on is nobody's deletion; a look that is under way takes it for none."""
        exchanges, self._exchanges = self._exchanges, {}
        await _delete(connection, exchanges.values())

    async def clear(self, connection: AbstractConnection, owner: str) -> None:
        """Remove what another process left when it was killed."""
        await _delete(connection, self._of(owner).values())

    def _of(self, owner: str) -> dict[str, str]:
        return {queue: f"{queue}.witness.{owner}" for queue in self._queues}


async def _delete(connection: AbstractConnection, exchanges: Iterable[str]) -> None:
    """Delete them; to the broker one that is not there is deleted."""
    async with connection.channel() as channel:
        underlay = await channel.get_underlay_channel()
        for exchange in exchanges:
            await underlay.exchange_delete(exchange)


async def _is_there(connection: AbstractConnection, exchange: str) -> bool:
    channel = await connection.channel()
    try:
        await (await channel.get_underlay_channel()).exchange_declare(exchange, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await channel.close()
    return True
