"""Worlds of fixed seeds keep every promise, and the same seed takes the same steps."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.plot import plot
from tests.simulation.run import silence
from tests.simulation.world import live

SEEDS = 30
SEEDS_OF_A_TEST = 5
TWICE = 5
DIGESTS = (
    "import sys; from tests.simulation.run import silence; from tests.simulation.test_simulation import digest;"
    "silence(); print([digest(seed) for seed in range(int(sys.argv[1]))])"
)


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Log nothing: logs would be half of the work."""
    before = structlog.get_config()
    silence()
    yield
    structlog.configure(**before)


def digest(seed: int) -> str:
    """Of a world's trace."""
    return hashlib.sha256("\n".join(live(plot(seed)).trace).encode()).hexdigest()


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_no_promise_is_broken(first: int) -> None:
    """Nothing accepted is lost, the quota holds, no time goes back, all is at rest in the end."""
    for seed in range(first, first + SEEDS_OF_A_TEST):
        outcome = live(plot(seed))
        assert outcome.violations == [], f"make simulation SEED={seed}"
        assert outcome.accepted == outcome.plot.events


def test_a_seed_decides_everything() -> None:
    """The same seed takes the same steps, twice in a process and with other hashes in another."""
    digests = [digest(seed) for seed in range(TWICE)]
    assert digests == [digest(seed) for seed in range(TWICE)]
    assert len(set(digests)) == TWICE
    environ = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", DIGESTS, str(TWICE)]
    other = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)  # noqa: S603  # our own
    assert other.stdout.strip() == str(digests)
