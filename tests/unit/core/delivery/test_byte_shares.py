from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.delivery.byte_shares import ByteShares


@given(max_bytes=st.integers(64 * 1024, 2**40))
def test_together_they_are_what_may_be_in_hand(max_bytes: int) -> None:
    """The shares sum to no more than the whole, and none of them is nothing."""
    shares = ByteShares.of(max_bytes)
    assert 0.99 * max_bytes < shares.kept + shares.at_work + shares.answers <= max_bytes
    assert min(shares.kept, shares.at_work, shares.answers) > 0
