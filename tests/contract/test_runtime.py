"""Clock, chance and ids: one contract for the fakes of the tests and for this host."""

import asyncio
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import pytest

from tests.fakes import FakeChance, FakeRuntime
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.stages.ports import Runtime

MANY = 2000


@pytest.fixture(params=["fake", "real"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each of them."""
    return FakeRuntime() if request.param == "fake" else HOST


async def test_monotonic_time_never_goes_back(runtime: Runtime) -> None:
    """Each reading is at least the one before, across waits too."""
    readings = []
    for _ in range(20):
        readings.append(runtime.clock.monotonic())
        await asyncio.sleep(0)
    assert readings == sorted(readings)


def test_the_date_as_text_is_the_date(runtime: Runtime) -> None:
    """`utc_now` lies between two readings of `unix_microseconds`, and has six digits and a Z."""
    before = runtime.clock.unix_microseconds()
    text = runtime.clock.utc_now()
    after = runtime.clock.unix_microseconds()
    at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert before <= round(at.timestamp() * 1_000_000) <= after
    assert len(text) == len("2031-05-06T17:08:10.000000Z")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_chance_draws_each_number(runtime: Runtime, count: int) -> None:
    """Every number below `count` is drawn, about as often as the others, and none else."""
    drawn = [runtime.chance.below(count) for _ in range(MANY)]
    assert set(drawn) == set(range(count))
    assert min(drawn.count(number) for number in range(count)) > MANY / count / 2


def test_ids_are_fresh(runtime: Runtime) -> None:
    """No two ids are the same; each is a UUID of its version; sortable ids sort in the order of their making."""
    sortable = [runtime.ids.sortable() for _ in range(MANY)]
    found = [runtime.ids.random() for _ in range(MANY)]
    assert len({*sortable, *found}) == 2 * MANY
    assert sortable == sorted(sortable)
    assert {(UUID(text).variant, UUID(text).version) for text in sortable} == {(RFC_4122, 7)}
    assert {(UUID(text).variant, UUID(text).version) for text in found} == {(RFC_4122, 4)}


def test_a_seed_repeats_its_numbers() -> None:
    """What the fakes add: the same seed draws the same numbers, another seed others."""
    first, again, other = ([chance.below(2**32) for _ in range(9)] for chance in map(FakeChance, (1, 1, 2)))
    assert first == again != other
