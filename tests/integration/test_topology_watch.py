"""The watch of the topology, on a real RabbitMQ: a raw queue that is deleted in the middle of a look."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aio_pika.abc import AbstractConnection

from tests.conftest import Hand, OpenLink
from tests.eventually import eventually
from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.broker.deletion_witness import Witnesses
from zenoti_ingest.app.broker import door_topology, names_of, topology_watch
from zenoti_ingest.settings import Settings, load
from zenoti_ingest.stages.topology_watch import TOPOLOGY_POLL_SECONDS


class Meddled(Witnesses):
    """Somebody deletes the queue at a certain time, once."""

    def __init__(self, queue: str, hand: Hand, *, behind_the_look: bool) -> None:
        super().__init__([queue], owner=lambda: "one")
        self._queue, self._hand, self._behind_the_look = queue, hand, behind_the_look
        self.meddles = False

    async def set_up(self, connection: AbstractConnection) -> list[str]:
        """As it is; the queue may go just before it."""
        if not self._behind_the_look:
            await self._meddle()
        return await super().set_up(connection)

    async def deleted(self, connection: AbstractConnection) -> list[str]:
        """As it is; the queue may go just after it."""
        found = await super().deleted(connection)
        if self._behind_the_look:
            await self._meddle()
        return found

    async def _meddle(self) -> None:
        if self.meddles:
            self.meddles = False
            await (await self._hand.channel()).queue_delete(self._queue)


class Looks:
    """What the looks said."""

    def __init__(self) -> None:
        self.begun = self.good = self.missing = 0

    def look_begins(self) -> None:
        """Count it."""
        self.begun += 1

    async def look_was_good(self) -> None:
        """Count it."""
        self.good += 1

    async def was_missing(self) -> None:
        """Count it."""
        self.missing += 1


@pytest.fixture
async def settings(prefix: str, hand: Hand) -> AsyncIterator[Settings]:
    """Of a door whose topology is declared."""
    made = load(
        path=None, environ={"ZENOTI_INGEST_BROKER__PREFIX": prefix, "ZENOTI_INGEST_SOURCES__MAIN__INSECURE": "1"}
    )
    await broker_topology.declare(hand.connection, door_topology(made))
    yield made
    await broker_topology.delete(hand.connection, door_topology(made))


@pytest.mark.parametrize("behind_the_look", [True, False], ids=["before it is put right", "before the witness"])
async def test_a_queue_deleted_in_the_middle_of_a_look(
    settings: Settings, hand: Hand, open_link: OpenLink, *, behind_the_look: bool
) -> None:
    """No look that vouches for what was confirmed comes between the deletion and its report.

    Before the witness is set up somebody else may declare the queue anew, so that the next look finds all there.
    """
    raw = names_of(settings).raw("main")
    witnesses, looks = Meddled(raw, hand, behind_the_look=behind_the_look), Looks()
    await witnesses.set_up(hand.connection)
    watch = topology_watch(settings, await open_link(), door_topology(settings), witnesses=witnesses)
    watch.looked = looks
    witnesses.meddles = True
    watching = asyncio.create_task(watch.run())
    try:
        await eventually(lambda: looks.begun and not witnesses.meddles, within=2 * TOPOLOGY_POLL_SECONDS)
        if not behind_the_look:
            await broker_topology.declare(hand.connection, door_topology(settings))
        await eventually(lambda: looks.missing, within=3 * TOPOLOGY_POLL_SECONDS)
        assert looks.good == 0
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await witnesses.remove(hand.connection)
