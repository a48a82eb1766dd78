from collections.abc import AsyncIterator

import pytest

from tests.conftest import Hand, OpenLink
from tests.way import Way
from zenoti_ingest.core.topology.names import Names


@pytest.fixture
async def way(hand: Hand, names: Names, open_link: OpenLink) -> AsyncIterator[Way]:
    """The way of an event, empty before and after."""
    whole = Way(hand, names, publisher=await open_link(), consumer=await open_link())
    await whole.empty()
    yield whole
    await whole.empty()
