"""What the scenario `partial` calls kept, and what broken."""

import pytest

from tests.chaos import partial
from tests.chaos.ledger import Answered, Ledger, Pace
from tests.chaos.partial import Share
from tests.chaos.parts import IN_FLIGHT_SECONDS, PARTS, Part
from tests.chaos.scenarios import CALLS_PER_MINUTE

FULL_RECEIVER = next(part for part in PARTS if part.copies)
SICK = next(part for part in PARTS if not part.copies)
BEGAN = 100.0
EARLY, LATE = BEGAN + IN_FLIGHT_SECONDS / 2, BEGAN + IN_FLIGHT_SECONDS * 2


def complaints(
    part: Part,
    *,
    delays: tuple[float, ...] = (0.1, 0.2),
    missing: int = 0,
    copies: int = 0,
    at: float = EARLY,
    calls: int = 0,
) -> list[str]:
    """Of two events in a share, with so many copies of the first, which was accepted then."""
    ledger = Ledger(answered={"a": Answered(at, 0), "b": Answered(at, 1)})
    pace = Pace(2, sorted(delays), ["b"] * missing, {"a": copies} if copies else {})
    return partial.complaints(ledger, Share(part, BEGAN, BEGAN + 60), pace, calls=calls, bound=5.0)


def test_kept() -> None:
    """Nothing missing, no copy, in time, within the quota; one copy of what was in flight as a receiver refused."""
    assert complaints(SICK, calls=CALLS_PER_MINUTE) == []
    assert complaints(FULL_RECEIVER, copies=1) == []


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(complaints(SICK, delays=(0.1, 5.1)), id="too late"),
        pytest.param(complaints(SICK, missing=1), id="missing"),
        pytest.param(complaints(SICK, copies=1), id="a copy"),
        pytest.param(complaints(FULL_RECEIVER, copies=2), id="two copies"),
        pytest.param(complaints(FULL_RECEIVER, copies=1, at=LATE), id="a copy of what was not yet in flight"),
        pytest.param(complaints(SICK, calls=CALLS_PER_MINUTE + 1), id="a call too many"),
    ],
)
def test_broken(found: list[str]) -> None:
    """Each is reported separately."""
    assert len(found) == 1


def test_no_others_is_no_proof() -> None:
    """A share in which there was nobody to be kept from harm has shown nothing."""
    empty = partial.complaints(Ledger(), Share(SICK, 0, 60), Pace(0, [], [], {}), calls=0, bound=5.0)
    assert empty == ["there were no others"]


@pytest.mark.parametrize("kind", ["intake", "translate", "enrich"])
def test_deploy_limits_each_kind(kind: str) -> None:
    """A limit that is not found would be none."""
    assert 64 < partial.limit_mib(kind) < 4096
