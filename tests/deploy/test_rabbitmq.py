"""RabbitMQ takes the production values."""

import json
import shutil

import pytest

from deploy.local import broker
from tests.deploy.conftest import DEPLOY

# Loopback's and a small machine's own: ports of the management page, free disk, where the log goes.
NOT_HERE = ("management", "disk_free_limit", "log.console")


class _Unsignalled(broker.Signals):
    """Signals are the test runner's."""

    def __init__(self) -> None:
        self._early = []


def test_a_node_starts_with_them() -> None:
    """A node boots with every line that is not about its machine: disk, ports and log."""
    server = shutil.which("rabbitmq-server", path=broker.usual_places())
    if server is None:
        pytest.skip("NOT CHECKED: a node of its own needs rabbitmq-server, and tests install nothing")
    lines = (DEPLOY / "rabbitmq" / "production.conf").read_text().splitlines()
    config = "\n".join(line for line in lines if not line.startswith(NOT_HERE)) + "\n"
    with broker.private_node(server, _Unsignalled(), verbose=False, config=config) as url:
        assert broker.silence_of(url) == ""


def test_policies_keep_what_queues_hold() -> None:
    """No policy bounds, expires or drops: `topology plan` would warn of it."""
    policies = json.loads((DEPLOY / "rabbitmq" / "policies.json").read_text())["policies"]
    assert {key for policy in policies for key in policy["definition"]} == {"target-group-size"}
