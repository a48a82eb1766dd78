"""A RabbitMQ of our own that takes bodies of up to 100 kB."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import broker
from tests.acceptance.conftest import system
from tests.integration.conftest import way

__all__ = ["system", "way"]

LIMIT = 100_000  # bytes
GIVEN = "ZENOTI_TESTS_SMALL_BROKER_URL"  # a broker with this limit, of any release, instead of our own


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs them all: they share a broker."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("small-broker"))


class _Unsignalled(broker.Signals):
    """Signals are the test runner's."""

    def __init__(self) -> None:
        self._early = []


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """The broker, for all of these tests."""
    if given := os.environ.get(GIVEN):
        yield given
        return
    server = shutil.which("rabbitmq-server", path=broker.usual_places())
    if server is None:
        pytest.skip("a broker of its own needs rabbitmq-server; tests install nothing")
    config = f"max_message_size = {LIMIT}\n"
    with broker.private_node(server, _Unsignalled(), verbose=False, config=config) as url:
        yield url
