import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.builders import INVOICE_ID, enrichment, event
from tests.conftest import Hand
from tests.eventually import eventually
from zenoti_ingest.core.events import cloud_event
from zenoti_ingest.core.events.messages import Outgoing

ROOT = Path(__file__).parents[2]
START_SECONDS = 20.0


def example() -> str:
    """The program in docs/delivery.md."""
    return (ROOT / "docs/delivery.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def message(queue: str, event_id: str, *, fetched_at: str, state: str) -> Outgoing:
    """An event of one invoice as it goes out, straight to the receiver's queue."""
    invoice = json.dumps({"id": INVOICE_ID, "state": state}).encode()
    enriched = enrichment(fetched_at=fetched_at)
    made = cloud_event.outgoing(
        event(id=event_id, event_id=event_id), exchange="", enrichment=enriched, fetched=invoice
    )
    return Outgoing(
        exchange="",
        routing_key=queue,
        body=made.body,
        message_id=made.message_id,
        headers=made.headers,
        content_type=None,
    )


@pytest.fixture
async def receiver(broker_url: str, own_queue: str, tmp_path: Path) -> AsyncIterator[Path]:
    """The example, running; its database."""
    environ = os.environ | {"BROKER_URL": broker_url, "QUEUE": own_queue, "DATABASE": str(tmp_path / "db")}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", example(), cwd=ROOT, env=environ)
    yield tmp_path / "db"
    process.kill()
    await process.wait()


async def test_the_receiver_of_the_docs(hand: Hand, own_queue: str, receiver: Path) -> None:
    """It keeps an invoice's newest state, does once what must be once, puts aside what it cannot read, acks all."""
    await hand.put(message(own_queue, "event-2", fetched_at="2031-05-06T17:08:12.000000Z", state="closed"))
    await hand.put(message(own_queue, "event-1", fetched_at="2031-05-06T17:08:10.000000Z", state="open"))
    await hand.put(message(own_queue, "event-2", fetched_at="2031-05-06T17:08:14.000000Z", state="redriven"))
    await hand.put(
        Outgoing(exchange="", routing_key=own_queue, body=b"?", message_id="m", headers={}, content_type=None)
    )

    def kept(question: str) -> list[tuple[object, ...]]:
        with (
            closing(sqlite3.connect(receiver)) as db,
            suppress(sqlite3.OperationalError),
        ):  # its tables may not be there yet
            return db.execute(question).fetchall()
        return []

    async def is_done() -> bool:
        return await hand.ready(own_queue) == 0 and bool(kept("SELECT 1 FROM unreadable"))

    await eventually(is_done, within=START_SECONDS)
    assert kept("SELECT id FROM to_thank ORDER BY id") == [("event-1",), ("event-2",)]
    ((document,),) = kept("SELECT document FROM invoices")
    assert isinstance(document, bytes)
    assert json.loads(document)["state"] == "redriven"
