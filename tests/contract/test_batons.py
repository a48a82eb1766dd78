"""The contract of the port `Batons`, for the queues on a real broker and for the fake of the tests."""

import pytest

from tests.conftest import OpenLink
from tests.fakes import FakeBatons
from tests.simulation.broker import SimulatedBroker, SimulatedLink, seeded
from zenoti_ingest.adapters.broker.batons import BatonQueues
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.invoices.quota import Spent
from zenoti_ingest.core.topology.declared import whole_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.ports import Batons

WITHIN = 5.0


def numbered(number: int) -> Baton:
    """A baton that differs from others."""
    return Baton(Spent(calls=(float(number),)))


@pytest.fixture
def fake_port() -> Batons:
    """The fake of the tests."""
    return FakeBatons()


@pytest.fixture
async def queues_port(names: Names, open_link: OpenLink) -> Batons:
    """The queues, empty."""
    queues = BatonQueues(await open_link(), await open_link(), names=names)
    await queues.take("main")
    return queues


@pytest.fixture
async def simulated_port(names: Names) -> Batons:
    """The queues on the broker of the simulated world."""
    broker = SimulatedBroker(seeded(1))
    broker.declare(whole_topology(names, sources=["main"], downstreams=(), delays_seconds=(), archive=None))
    link = SimulatedLink(broker)
    queues = BatonQueues(link, link, names=names)
    await queues.take("main")
    return queues


@pytest.fixture(params=["fake", "simulated", "queues"])
def batons(request: pytest.FixtureRequest) -> Batons:
    """The fake, then the real queues."""
    found: Batons = request.getfixturevalue(f"{request.param}_port")
    return found


async def test_a_baton_is_taken_once(batons: Batons) -> None:
    """It is there for the first taker, and then for nobody."""
    assert await batons.take("main") is None
    assert await batons.put("main", numbered(1), within=WITHIN)
    assert await batons.take("main") == numbered(1)
    assert await batons.take("main") is None


async def test_the_newest_alone(batons: Batons) -> None:
    """There is at most a single baton; a newer baton takes its place."""
    for number in range(3):
        assert await batons.put("main", numbered(number), within=WITHIN)
    assert await batons.take("main") == numbered(2)
    assert await batons.take("main") is None


async def test_no_queue(open_link: OpenLink, prefix: str) -> None:
    """Where the queue is not there, none can be had or left; nothing is raised."""
    queues = BatonQueues(await open_link(), await open_link(), names=Names(prefix))
    assert await queues.take("main") is None
    assert not await queues.put("main", numbered(1), within=WITHIN)
