"""Worlds of fixed seeds keep every promise, and the same seed takes the same steps."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from tests.simulation.plot import SECONDS, plot
from tests.simulation.run import silenced
from tests.simulation.shrink import shrunk
from tests.simulation.world import live

SEEDS = 240
SEEDS_OF_A_TEST = 10
TWICE = 50
OTHER_HASHES = 10
DIGESTS = (
    "import sys; from tests.simulation.run import silence; from tests.simulation.test_simulation import digest;"
    "silence(); print([digest(seed) for seed in range(int(sys.argv[1]))])"
)


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Log nothing: logs would be half of the work."""
    with silenced():
        yield


def digest(seed: int) -> str:
    """Of a world's trace."""
    return hashlib.sha256("\n".join(live(plot(seed)).trace).encode()).hexdigest()


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_no_promise_is_broken(first: int) -> None:
    """Nothing accepted is lost, the quota holds, no time goes back, all is at rest in the end, and so on."""
    for seed in range(first, first + SEEDS_OF_A_TEST):
        assert live(plot(seed)).violations == [], f"make simulation SEED={seed} TRACE=1"


@pytest.mark.parametrize("first", range(0, TWICE, SEEDS_OF_A_TEST))
def test_a_seed_decides_everything(first: int) -> None:
    """The same seed takes the same steps."""
    seeds = range(first, first + SEEDS_OF_A_TEST)
    digests = [digest(seed) for seed in seeds]
    assert digests == [digest(seed) for seed in seeds]
    assert len(set(digests)) == len(seeds)


def test_hashes_decide_nothing() -> None:
    """Nor does it matter in which process they are taken, and which hashes texts have there."""
    environ = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", DIGESTS, str(OTHER_HASHES)]
    other = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)  # noqa: S603  # our own
    assert other.stdout.strip() == str([digest(seed) for seed in range(OTHER_HASHES)])


def test_every_kind_of_fault_is_drawn() -> None:
    """Each in at least one of twenty worlds, and few worlds are large."""
    drawn = [plot(seed) for seed in range(2000)]
    for kind in [*SECONDS, "hostile bodies"]:
        assert sum(kind in each.kinds for each in drawn) >= 0.05 * len(drawn), kind


def test_the_shrinker_finds_what_matters() -> None:
    """A failure that needs one of several faults: the others go, and so does all that it does not need."""
    drawn = next(each for seed in range(1000) if len((each := plot(seed)).faults) >= 4 and each.consumers > 1)
    needed = drawn.faults[2]

    def fails(smaller: object) -> bool:
        assert isinstance(smaller, type(drawn))
        return any((each.kind, each.choice) == (needed.kind, needed.choice) for each in smaller.faults)

    smallest = shrunk(drawn, fails)
    assert [(each.kind, each.within) for each in smallest.faults] == [(needed.kind, None)]
    assert (smallest.events, smallest.consumers) == (1, 1)
    assert live(msgspec.structs.replace(smallest, seed=1)).violations == []
