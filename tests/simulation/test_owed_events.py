"""What went into a raw queue that was deleted goes there once more, even where the disk is full at that moment."""

import asyncio
from random import Random

from tests.fakes import FakeIds, FakeSpool
from tests.simulation.bodies import Bodies, Door
from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from tests.simulation.processes import NAMES, SOURCE, HostClock, HostRuntime, SeededChance, arrival
from tests.simulation.virtual_time import run_in_virtual_time
from tests.simulation.world import topology
from zenoti_ingest.core.failures.errors import SpoolUnavailable
from zenoti_ingest.core.intake.admission import Rule
from zenoti_ingest.core.intake.spool_record import Spooled
from zenoti_ingest.stages.intake import DoorSource, Intake


class FullSpool(FakeSpool):
    """A spool that takes nothing while it is full."""

    is_full = False

    async def put(self, spooled: Spooled) -> None:
        """As the port says."""
        if self.is_full:
            raise SpoolUnavailable("the disk is full")
        await super().put(spooled)


def test_a_good_look_does_not_forget_what_is_owed() -> None:
    """The queue is back at the next look, which is good; the disk takes the event only then."""

    async def story() -> None:
        broker = SimulatedBroker(seeded(1))
        broker.declare(topology())
        spool = FullSpool()
        intake = Intake(
            SimulatedLink(broker),
            spool,
            names=NAMES,
            sources={SOURCE: DoorSource(signature_header="x", rule=Rule)},
            confirm_seconds=5.0,
            unavailable_reason=str,
            runtime=HostRuntime(HostClock(0.0), SeededChance(Random(1)), FakeIds()),  # noqa: S311  # any
        )
        posted = Bodies(Random(1), invoices=1, door=Door()).event()  # noqa: S311  # any
        answer = await intake.receive(arrival(posted))
        assert answer.status == 202
        spool.is_full = True
        await intake.was_missing()
        intake.look_begins()
        await intake.look_was_good()
        assert spool.kept == []
        spool.is_full = False
        intake.look_begins()
        await intake.look_was_good()
        await asyncio.sleep(1)
        assert [each.spooled.event.receipt_id for each in spool.kept] == [answer.receipt_id]

    run_in_virtual_time(story())
