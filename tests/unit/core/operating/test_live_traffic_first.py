import pytest

from zenoti_ingest.core.operating.live_traffic_first import Depths, obstacle
from zenoti_ingest.core.topology.names import Names

NAMES = Names("zenoti")
RAW, LANE = "zenoti.raw.main", "zenoti.enrich.main.0"


@pytest.mark.parametrize(
    ("depths", "why"),
    [
        ({RAW: (100, 1), LANE: (0, 1)}, ""),
        ({RAW: None, LANE: None}, ""),
        ({}, ""),
        ({RAW: (101, 1), LANE: (0, 1)}, f"101 events ready in {RAW}"),
        ({RAW: (300, 0), LANE: (5, 0)}, f"300 events ready in {RAW}, nobody consumes"),
        ({RAW: (0, 1), LANE: (1, 2)}, f"1 events ready in {LANE}"),
        ({RAW: (0, 1), LANE: (1, 0)}, f"1 events ready in {LANE}, nobody consumes"),
    ],
)
def test_live_events_go_first(depths: Depths, why: str) -> None:
    """More events wait, for a reason, while the source's raw queue is long or anything waits before its lane."""
    assert obstacle(depths, names=NAMES, source="main") == why
