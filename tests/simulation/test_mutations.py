"""Faults that are put into the real code on purpose, mended faults of the past among them, are found."""

from collections.abc import Iterator

import pytest

from tests.simulation.mutations import CHOSEN, MENDS, MUTATIONS, SEEDS, search, short_cut
from tests.simulation.run import silenced

LEAST_CHOSEN, MENDED = 10, 10


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Log nothing: logs would be half of the work."""
    with silenced():
        yield


def test_there_are_twenty() -> None:
    """Ten of our choice, and ten undone mends, each of which says which mend it undoes."""
    assert len(CHOSEN) >= LEAST_CHOSEN
    assert len(MENDS) == MENDED
    assert all((mutation.__doc__ or "").startswith("Undoes mend") for mutation in MENDS)


@pytest.mark.timeout(600)  # of a search through all seeds, on a busy machine
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_of_the_code_is_found(name: str) -> None:
    """It breaks a promise within so many seeds."""
    assert search(name, seeds=short_cut(name)).seed is not None, f"not within {SEEDS} seeds"
