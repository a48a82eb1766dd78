import pytest

from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES, SizeBudget, limit_in
from zenoti_ingest.core.failures.errors import PermanentError, TooLarge


@pytest.mark.parametrize(
    ("refusal", "limit"),
    [
        ("PRECONDITION_FAILED - message size 300000 is larger than configured max size 100000", 100_000),
        ("PRECONDITION_FAILED - message size 600000000 is larger than max size 536870912", 536_870_912),
        ("PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q'", None),
        ("PRECONDITION_FAILED - unknown delivery tag 100000", None),
        ("None", None),
        ("", None),
    ],
)
def test_what_a_refusal_says(refusal: str, limit: int | None) -> None:
    """Only a refusal for size names a limit."""
    assert limit_in(refusal) == limit


def test_a_body_of_the_limit_passes() -> None:
    """The limit itself is taken, one byte more is a permanent failure that names both sizes."""
    budget = SizeBudget(1000)
    budget.require(0)
    budget.require(1000)
    with pytest.raises(TooLarge, match=r"1001 bytes.*1000") as raised:
        budget.require(1001)
    assert isinstance(raised.value, PermanentError)
    assert raised.value.reason == "too-large"


def test_it_only_becomes_smaller() -> None:
    """A lower limit is followed, a higher limit is not; it says whether it changed."""
    budget = SizeBudget()
    assert budget.max_message_bytes == DEFAULT_MAX_MESSAGE_BYTES
    assert budget.lower(100_000)
    assert not budget.lower(100_000)
    assert not budget.lower(200_000)
    assert budget.max_message_bytes == 100_000
