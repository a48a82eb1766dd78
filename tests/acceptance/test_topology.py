"""Changing the topology under load, and refusing a topology that is not as declared: the public face only."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage

from tests.acceptance.conftest import System, event_id, free_ports, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

INVOICES = 40


class Load:
    """Events at the door, one after the other, until it must end; knows which were accepted, in order."""

    def __init__(self, system: System) -> None:
        self.accepted: list[str] = []
        self._door = system.door
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        number = 0
        while True:
            number += 1
            data = {"invoice_id": f"invoice-{number % INVOICES}"} if number % 2 else {"id": f"guest-{number}"}
            name = f"event-{number}"
            body = json.dumps({"event_id": name, "event_type": "Guestpass.redeemed", "data": data}).encode()
            status, _, _ = await http("POST", self._door, body=body, headers=signed(body))
            if status == 202:
                self.accepted.append(name)

    async def more(self, count: int) -> None:
        """Return once so many more have been accepted."""
        wanted = len(self.accepted) + count
        await eventually(lambda: len(self.accepted) >= wanted, within=30)

    async def end(self) -> None:
        """Stop, in the middle of a request at most."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, aiohttp.ClientError):
            await self._task


async def restart(system: System, name: str) -> None:
    """One consumer ends in order, and is back, consuming, with the settings as they now stand."""
    assert await system.terminate(name) == 0
    begun = len(system.log(name)) if (system.folder / f"{name}.log").exists() else 0
    await system.spawn(name, "consume")
    await eventually(lambda: system.log(name)[begun:].count('"subscribed"') >= 4, within=30)


async def two_consumers(system: System) -> None:
    """Intake and two consumers, all of them at work."""
    await system.start()
    await system.spawn("consume-2", "consume")
    await eventually(lambda: system.log("consume-2").count('"subscribed"') >= 4, within=30)


@asynccontextmanager
async def receiving(system: System, *queues: str) -> AsyncIterator[set[str]]:
    """A receiver that reads some queues; the ids that it has got."""
    found: set[str] = set()

    async def keep(message: AbstractIncomingMessage) -> None:
        await message.ack()
        found.add(event_id(message))

    async with system.connection.channel() as channel:
        for queue in queues:
            await (await channel.get_queue(f"{system.prefix}.{queue}")).consume(keep)
        yield found


async def is_empty(system: System, queue: str) -> bool:
    """Nothing waits in a queue."""
    return await system.depth(queue) == 0


async def test_a_downstream_is_added_by_a_rolling_restart(system: System) -> None:
    """A downstream is added while events come, two consumers restarted one by one.

    The old queues have every event, the new queue every event accepted after the second restart; none is a dead letter.
    """
    await two_consumers(system)
    load = Load(system)
    await load.more(50)
    system.settings["DOWNSTREAM__NEW__EVENTS"] = "#"
    for name in ("consume", "consume-2"):
        await restart(system, name)
        await load.more(30)
        restarted = len(load.accepted) - 30
    await load.end()
    accepted = set(load.accepted)
    later = set(load.accepted[restarted:])
    async with receiving(system, "out.all") as old, receiving(system, "out.new") as new:
        await eventually(lambda: old >= accepted and new >= later, within=30)
    assert await system.depth("dead") == 0
    assert (await system.run("topology", "plan"))[0] == 0


async def test_a_downstreams_queue_is_replaced_by_another(system: System) -> None:
    """A downstream's queue that must be other is replaced under a new name, as `plan` says.

    Old and new queue together have every event that was accepted; then the old queue is unbound, empty, and deleted.
    """
    await two_consumers(system)
    load = Load(system)
    await load.more(50)
    system.settings["DOWNSTREAM__ALL__MAX_BYTES"] = "50000000"
    code, out, _ = await system.run("topology", "plan", "--json")
    (difference,) = json.loads(out)["differences"]
    assert (code, difference["name"], difference["state"]) == (1, f"{system.prefix}.out.all", "different")
    assert "new name" in difference["migrate"]
    system.settings["DOWNSTREAM__ALL__QUEUE"] = f"{system.prefix}.out.all2"
    try:
        for name in ("consume", "consume-2"):
            await restart(system, name)
            await load.more(30)
        await load.end()
        async with system.connection.channel() as channel, receiving(system, "out.all", "out.all2") as read:
            await eventually(lambda: read >= set(load.accepted), within=30)
            old = await channel.get_queue(f"{system.prefix}.out.all")
            for word in ("for", "to"):
                await old.unbind(f"{system.prefix}.{word}.all", "")
            await eventually(lambda: is_empty(system, "out.all"), within=10)
        assert (await system.run("topology", "plan"))[0] == 0
    finally:
        async with system.connection.channel() as channel:
            await channel.queue_delete(f"{system.prefix}.out.all")


@pytest.mark.parametrize("declare", ["true", "false"])
@pytest.mark.parametrize("stage", ["all", "translate", "enrich"])
async def test_consumers_refuse_to_start_on_a_mismatch(system: System, declare: str, stage: str) -> None:
    """Consumers end with 1 and one line: which queue, which argument, what it is and should be, what to do.

    So they do with `broker.declare = false`. The queue and what it holds stay as they are.
    """
    lane = f"{system.prefix}.enrich.main.0"
    assert (await system.run("topology", "apply"))[0] == 0
    async with system.connection.channel() as channel:
        await channel.queue_delete(lane)
        await channel.declare_queue(lane, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 20})
        await channel.default_exchange.publish(Message(b"kept"), routing_key=lane)
        system.settings |= {"BROKER__DECLARE": declare, "LOG__LEVEL": "error"}
        code, out, err = await system.run("consume", "--stage", stage)
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert f"queue {lane} is different" in err
        assert "should be" in err
        assert "topology plan" in err
        assert await system.depth("enrich.main.0") == 1


@pytest.mark.skipif("ZENOTI_INGEST_BROKER__MANAGEMENT_URL" not in os.environ, reason="wants RabbitMQ's management API")
async def test_plan_sees_all_with_the_management_api(system: System) -> None:
    """With the management API `plan` shows what AMQP does not.

    All arguments that differ with what is and what should be, bindings missing and surplus, queues left over.
    """
    system.settings["BROKER__MANAGEMENT_URL"] = os.environ["ZENOTI_INGEST_BROKER__MANAGEMENT_URL"]
    system.settings["DOWNSTREAM__OLD__EVENTS"] = "guest.#"
    try:
        assert (await system.run("topology", "apply"))[0] == 0
        assert (await system.run("topology", "plan"))[0] == 0
        del system.settings["DOWNSTREAM__OLD__EVENTS"]
        system.settings["DOWNSTREAM__INVOICES__MAX_BYTES"] = "5000000"
        async with system.connection.channel() as channel:
            queue = await channel.get_queue(f"{system.prefix}.raw.main")
            await queue.unbind(f"{system.prefix}.intake", "main")
        code, out, _ = await system.run("topology", "plan", "--json")
        found = {
            (d["kind"], d["state"], d["name"].removeprefix(system.prefix)): d for d in json.loads(out)["differences"]
        }
        assert code == 1
        assert set(found) == {
            ("queue", "different", ".out.invoices"),
            ("binding", "missing", f".intake -[main]-> {system.prefix}.raw.main"),
            ("binding", "surplus", f".events -[*.guest.#]-> {system.prefix}.out.old"),
            ("queue", "surplus", ".out.old"),
        }
        different = found["queue", "different", ".out.invoices"]
        assert different["should"] == {"x-overflow": "drop-head", "x-max-length-bytes": 5_000_000}
        assert different["is"] == {"x-overflow": None, "x-max-length-bytes": None}
        assert all(d["migrate"] for d in found.values())
    finally:
        async with system.connection.channel() as channel:
            await channel.queue_delete(f"{system.prefix}.out.old")


async def test_one_of_two_doors_at_a_port_stops(system: System) -> None:
    """The other process goes on watching its raw queue, and does not take it for deleted."""
    system.settings["INTAKE__REUSE_PORT"] = "true"
    first, second = free_ports(2)
    for admin in (first, second):
        system.settings["INTAKE__ADMIN_PORT"] = str(admin)
        await system.spawn(f"intake-{admin}", "intake")
        await system.ready(admin)
    assert await system.terminate(f"intake-{first}") == 0
    async with system.connection.channel() as channel:
        await channel.queue_delete(f"{system.prefix}.archive")  # shows that the other process has looked since
    await eventually(lambda: "topology_broken" in system.log(f"intake-{second}"), within=20)
    broken = next(line for line in system.log(f"intake-{second}").splitlines() if "topology_broken" in line)
    assert f"missing: {system.prefix}.archive" in broken
    assert f"{system.prefix}.raw" not in broken
