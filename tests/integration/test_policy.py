"""An operator's policy fills a queue, and goes again. The broker is our own: policies are an operator's right."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest

from deploy.local import broker
from tests.chaos import rabbit
from tests.eventually import eventually
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker import link as link_module
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import PublishRefused

QUEUE = "policed"
FULL = '{"max-length": 1, "overflow": "reject-publish"}'
REFUSED_SECONDS = 2.0  # instead of ten, after which a channel that was refused is replaced
WITHIN = 10.0


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[rabbit.Node]:
    """A broker whose policies are ours."""
    server = shutil.which("rabbitmq-server", path=broker.usual_places())
    if server is None:
        pytest.skip("a broker of its own needs rabbitmq-server; tests install nothing")
    async with rabbit.running(1, programs=Path(server).parent, folder=tmp_path) as started:
        yield started.nodes[0]


@pytest.fixture
def broker_url(node: rabbit.Node) -> str:
    """Of that broker."""
    return node.url


@pytest.mark.xdist_group("small-broker")  # one private node at a time
async def test_a_channel_that_was_refused_for_long_is_replaced(
    node: rabbit.Node, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ 3.10 goes on refusing on the same channel once the policy is gone; publishes go through all the same."""
    monkeypatch.setattr(link_module, "REFUSED_CHANNEL_SECONDS", REFUSED_SECONDS)
    connection = await aio_pika.connect(node.url)
    async with connection, connection.channel() as channel:
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    message = Outgoing(exchange="", routing_key=QUEUE, body=b"x", message_id="id", headers={})

    async def is_taken() -> bool:
        try:
            await link.publish(message, within=WITHIN)
        except PublishRefused:
            return False
        return True

    async def is_refused() -> bool:
        return not await is_taken()

    assert await is_taken()
    await node.control("set_policy", "full", f"^{QUEUE}$", FULL, "--apply-to", "queues")
    await eventually(is_refused, within=WITHIN)
    await node.control("clear_policy", "full")
    await eventually(is_taken, within=REFUSED_SECONDS + WITHIN)
    assert [await is_taken() for _ in range(20)] == [True] * 20
