"""Witness exchanges show that a queue was deleted, even if somebody has declared it again since.

A witness is an auto-delete exchange bound only to the queue: the broker deletes it together with the queue, and only we
declare it again. Without it, a queue that is deleted and declared again between two checks looks untouched.
"""

from collections.abc import Callable, Iterable, Sequence

import aiormq.exceptions
from aio_pika.abc import AbstractConnection


class Witnesses:
    """The witness exchanges of this process, by queue.

    Args:
        queues: the queues to watch.
        owner: returns this process's unique name; called at each `set_up`. Two processes that share a witness hide a
            deletion from each other.
    """

    def __init__(self, queues: Sequence[str], *, owner: Callable[[], str]) -> None:
        self._queues, self._owner = queues, owner
        self._exchanges: dict[str, str] = {}
        self._in_doubt: set[str] = set()  # the making of their witness was interrupted: unbound, it proves nothing

    async def set_up(self, connection: AbstractConnection) -> list[str]:
        """Give each queue its witness; the queues must exist.

        Returns:
            The queues that were deleted since the last call. A new witness would hide that, so it is checked here too.
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
        """The queues that have been deleted since `set_up`, or may have been."""
        found = []
        for queue, exchange in self._exchanges.items():
            if queue in self._in_doubt or not await _is_there(connection, exchange):
                found.append(queue)
        return [queue for queue in found if queue in self._exchanges]  # `remove` dropped the others meanwhile

    async def remove(self, connection: AbstractConnection) -> None:
        """Delete the witnesses. Later deletions of queues are not reported, not even by a check already under way."""
        exchanges, self._exchanges = self._exchanges, {}
        await _delete(connection, exchanges.values())

    async def clear(self, connection: AbstractConnection, owner: str) -> None:
        """Delete the witnesses that a killed process left."""
        await _delete(connection, self._of(owner).values())

    def _of(self, owner: str) -> dict[str, str]:
        return {queue: f"{queue}.witness.{owner}" for queue in self._queues}


async def _delete(connection: AbstractConnection, exchanges: Iterable[str]) -> None:
    """Delete exchanges; the broker accepts the deletion of a missing exchange."""
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
