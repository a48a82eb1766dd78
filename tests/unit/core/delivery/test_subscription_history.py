from typing import Any

import pytest

from zenoti_ingest.core.delivery.prefetch import Prefetch
from zenoti_ingest.core.delivery.subscription_history import (
    LEAST_WINDOW,
    MAX_LOSSES,
    STEADY_SECONDS,
    WIDEN_AFTER,
    SubscriptionHistory,
)


@pytest.fixture
def history() -> SubscriptionHistory:
    """That of a stage that can hold 1,000 deliveries."""
    return SubscriptionHistory(Prefetch(1000, max_bytes=1 << 30), silent_seconds=60.0)


def reason(history: SubscriptionHistory, **other: Any) -> str:
    """Why a subscription should end that has lasted for a second, by default."""
    given = {
        "lasted_seconds": 1.0,
        "held_seconds": 0.0,
        "max_hold_seconds": 900.0,
        "settled": 0,
        "is_one_by_one": False,
    }
    return history.reason_to_end(**given | other)


def test_losses_in_a_row_make_careful(history: SubscriptionHistory) -> None:
    """After five subscriptions lost soon after they began deliveries come one by one, until a subscription lasts."""
    for _ in range(MAX_LOSSES):
        assert history.prefetch(1000) == 1000
        history.ended(lasted_seconds=0.1, is_lost=True)
    assert history.prefetch(1000) == 1
    assert reason(history, lasted_seconds=STEADY_SECONDS) == ""
    assert "steady" in reason(history, lasted_seconds=STEADY_SECONDS + 0.1)
    history.ended(lasted_seconds=STEADY_SECONDS + 0.1, is_lost=False)
    assert history.prefetch(1000) == 1000


def test_an_end_in_order_forgets_losses(history: SubscriptionHistory) -> None:
    """Losses count in a row alone."""
    for is_lost in (True,) * (MAX_LOSSES - 1) + (False, True):
        history.ended(lasted_seconds=0.1, is_lost=is_lost)
    assert not history.is_careful


def test_the_window_shrinks_to_what_was_settled_and_widens_again(history: SubscriptionHistory) -> None:
    """What was settled while an event was held too long is the next window, and at least a hundred."""
    assert reason(history, held_seconds=900.0) == ""
    assert "held for over 900 s" in reason(history, held_seconds=900.1, settled=300)
    assert history.prefetch(1000) == 300
    assert "held" in reason(history, held_seconds=901.0, settled=3)
    assert history.prefetch(1000) == LEAST_WINDOW
    assert "wider" in reason(history, lasted_seconds=WIDEN_AFTER * 900.0 + 1)
    assert history.prefetch(1000) == 2 * LEAST_WINDOW


def test_one_by_one_says_nothing_of_the_window(history: SubscriptionHistory) -> None:
    """A stage that takes one delivery at a time, as with an open circuit, does not shrink the window."""
    assert "held" in reason(history, held_seconds=901.0, is_one_by_one=True)
    assert history.prefetch(1000) == 1000


def test_waits_grow_until_a_steady_subscription(history: SubscriptionHistory) -> None:
    """The wait before the next subscription doubles; after a subscription that lasted it begins anew."""
    assert [history.backoff.failed() for _ in range(2)] == [0.2, 0.4]
    history.ended(lasted_seconds=STEADY_SECONDS - 1, is_lost=True)
    assert history.backoff.failed() == 0.8
    history.ended(lasted_seconds=STEADY_SECONDS + 1, is_lost=True)
    assert history.backoff.failed() == 0.2
