"""`status`, once and again and again, as an operator sees it."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aio_pika import DeliveryMode, Message
from jsonschema import Draft202012Validator

from tests.acceptance.conftest import ROOT, System
from tests.eventually import eventually
from tests.proxy import Proxy


class Terminal:
    """A command on a terminal of its own, and what it has written there."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.text = ""


@asynccontextmanager
async def on_a_terminal(system: System, *arguments: str) -> AsyncIterator[Terminal]:
    """Run a command on a pseudo-terminal; killed at the end where it still runs."""
    ours, theirs = pty.openpty()
    environ = system.environ | {"TERM": "xterm", "COLUMNS": "150", "LINES": "60"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "zenoti_ingest",
        *arguments,
        cwd=ROOT,
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    terminal = Terminal(process)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            terminal.text += os.read(ours, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            loop.remove_reader(ours)

    loop.add_reader(ours, read)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        loop.remove_reader(ours)
        os.close(ours)


async def test_status_keeps_to_its_schema(system: System) -> None:
    """`status --json` is a document of its schema, whether nothing is there yet or dead letters are."""
    schema = json.loads((ROOT / "schemas" / "zenoti_schemas" / "generated" / "Status.schema.json").read_text())

    async def said() -> Any:
        code, out, _ = await system.run("status", "--json")
        assert code == 0
        Draft202012Validator(schema).validate(json.loads(out))
        return json.loads(out)

    nothing = await said()
    assert nothing["alarms"][0]["level"] == "wrong"
    assert "topology plan" in nothing["alarms"][0]["text"]
    assert (await system.run("topology", "apply"))[0] == 0
    async with system.connection.channel() as channel:
        for reason in ("refused", "refused", "malformed"):
            letter = Message(b"{}", headers={"reason": reason}, delivery_mode=DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(letter, routing_key=f"{system.prefix}.dead")
    found = await said()
    assert (found["dead_letters"], found["dead_letters_total"]) == ({"malformed": 1, "refused": 2}, 3)
    assert {"level": "look", "text": "3 dead letter(s): `zenoti-ingest dead list`"} in found["alarms"]


@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_watch_wants_a_terminal(system: System, more: tuple[str, ...]) -> None:
    """Off a terminal, and together with --json, `--watch` is wrong usage: 2, and nothing on stdout."""
    code, out, err = await system.run("status", "--watch", *more)
    assert (code, out) == (2, "")
    assert "--watch" in err


async def test_watch(system: System, broker_url: str) -> None:
    """`status --watch` shows the page anew, a broker that goes away and comes back; Ctrl-C ends it with 0."""
    assert (await system.run("topology", "apply"))[0] == 0
    async with Proxy(broker_url) as proxy:
        system.settings["BROKER__URL"] = proxy.url
        async with on_a_terminal(system, "status", "--watch") as terminal:
            await eventually(lambda: "enrich.main.0" in terminal.text, within=20)
            async with system.connection.channel() as channel:
                await channel.default_exchange.publish(Message(b"x"), routing_key=f"{system.prefix}.raw.main")
            await eventually(lambda: "+1" in terminal.text, within=20)
            proxy.refusing = True
            proxy.cut()
            await eventually(lambda: "the broker cannot be asked" in terminal.text, within=20)
            assert terminal.process.returncode is None
            proxy.refusing = False
            seen = len(terminal.text)
            await eventually(lambda: "no intake has said" in terminal.text[seen:], within=30)
            terminal.process.send_signal(signal.SIGINT)
            async with asyncio.timeout(10):
                assert await terminal.process.wait() == 0
            assert "Traceback" not in terminal.text
    system.settings["BROKER__URL"] = broker_url


async def returning(system: System) -> dict[str, Any]:
    """`status --json` after an event has left a retry queue and found no queue to come back to."""
    assert (await system.run("topology", "apply"))[0] == 0
    async with system.connection.channel() as channel:
        retry = await channel.get_exchange(f"{system.prefix}.retry.1s")
        await retry.publish(Message(b"{}", delivery_mode=DeliveryMode.PERSISTENT), routing_key="nowhere")

    async def said() -> dict[str, Any] | None:
        code, out, err = await system.run("status", "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        depth = found["queues"][f"{system.prefix}.retry.1s"]
        return found if depth["ready"] == 0 and depth["messages"] != 0 else None

    return await eventually(said, within=30) or {}


async def test_events_on_their_way_back_are_not_seen(system: System) -> None:
    """Over AMQP alone nobody sees them: `status` says so, and claims no number."""
    found = await returning(system)
    assert found["queues"][f"{system.prefix}.retry.1s"]["messages"] is None
    assert found["unseen"].endswith("cannot be seen without broker.management_url")
    assert "way back" not in " ".join(alarm["text"] for alarm in found["alarms"])


@pytest.mark.skipif("ZENOTI_INGEST_BROKER__MANAGEMENT_URL" not in os.environ, reason="wants RabbitMQ's management API")
async def test_events_on_their_way_back_are_shown(system: System) -> None:
    """With the management API `status` shows what the broker's dead-letter worker has, in an alarm and in the table."""
    system.settings["BROKER__MANAGEMENT_URL"] = os.environ["ZENOTI_INGEST_BROKER__MANAGEMENT_URL"]
    found = await returning(system)
    assert found["queues"][f"{system.prefix}.retry.1s"] == {"ready": 0, "consumers": 0, "messages": 1}
    assert found["unseen"] is None
    assert f"1 event(s) are on their way back from {system.prefix}.retry.1s" in " ".join(
        alarm["text"] for alarm in found["alarms"]
    )
    code, out, _ = await system.run("status")
    assert code == 0
    assert "in transit (dead-letter worker)" in out
