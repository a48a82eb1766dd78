"""The door while the broker cannot take events: everything is answered 202 and arrives once the broker is back."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from tests.acceptance.conftest import System, event_id, free_ports, http
from tests.acceptance.signing import signed
from tests.eventually import eventually
from tests.proxy import Proxy

ANSWER_SECONDS = 10.0  # then Zenoti gives up; what it takes on a quiet machine is measured by hand
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
CONFIRM_SECONDS = 1.5  # the default of intake.confirm_seconds


class Load:
    """Events sent at the door, and their answers."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._sent = 0
        self.accepted: dict[str, str] = {}
        self.refused: list[int] = []
        self.seconds: list[float] = []

    async def send(self, count: int, *, at_once: int = 10) -> None:
        """So many, so many at the same time."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
            for _ in range(count // at_once):
                await asyncio.gather(*(self._one(session) for _ in range(at_once)))

    async def _one(self, session: aiohttp.ClientSession) -> None:
        self._sent += 1
        name = f"e-{self._sent}"
        body = json.dumps({"event_id": name, "event_type": "Guest.Created", "data": {"id": "g"}}).encode()
        began = time.monotonic()
        headers = {**signed(body), "traceparent": TRACEPARENT}
        async with session.post(self._system.door, data=body, headers=headers) as answer:
            status, said = answer.status, await answer.read()
        self.seconds.append(time.monotonic() - began)
        if status == 202:
            self.accepted[json.loads(said)["receipt_id"]] = name
        else:
            self.refused.append(status)


async def spool_of(system: System) -> dict[str, Any]:
    """What /readyz says."""
    _, _, said = await http("GET", f"http://127.0.0.1:{system.intake_admin}/readyz")
    printed: dict[str, Any] = json.loads(said)
    return printed


async def drained(system: System) -> None:
    """Nothing is left on disk."""

    async def is_empty() -> bool:
        return "0 events" in (await spool_of(system))["checks"]["spool"]["detail"]

    await eventually(is_empty, within=30)


async def receipts(system: System, count: int) -> set[str]:
    """The receipts of what lies in the raw queue, once it is so much; each is still of its sender's trace."""

    async def enough() -> bool:
        return await system.depth("raw.main") >= count

    await eventually(enough, within=30)
    found = await system.take("raw.main", await system.depth("raw.main"))
    assert {message.headers["traceparent"] for message in found} == {TRACEPARENT}
    return {str(message.message_id) for message in found}


async def test_with_no_broker_it_starts_and_takes(system: System, broker_url: str) -> None:
    """Started without a broker it is ready, answers 202, and says what waits; the next process delivers it all."""
    (closed,) = free_ports(1)
    system.settings["BROKER__URL"] = f"amqp://guest:guest@127.0.0.1:{closed}/"
    await system.spawn("intake", "intake")
    said = await system.ready(system.intake_admin, whole=False)
    assert not said["checks"]["broker"]["ok"]
    load = Load(system)
    await load.send(50)
    assert (len(load.accepted), load.refused) == (50, [])
    assert max(load.seconds) < ANSWER_SECONDS
    assert (await spool_of(system))["checks"]["spool"]["detail"].startswith("50 events")
    _, _, metrics = await http("GET", f"http://127.0.0.1:{system.intake_admin}/metrics")
    assert b"zenoti_spool_events 50.0" in metrics
    assert await system.terminate("intake") == 0

    system.settings["BROKER__URL"] = broker_url
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    assert await receipts(system, 50) == set(load.accepted)
    await drained(system)
    left = Path(system.settings["INTAKE__SPOOL_DIR"]).glob("*/*")  # noqa: ASYNC240  # a look, no more
    assert [file for file in left if file.parent.name != "owners"] == []


async def test_events_of_a_source_taken_out_of_the_configuration(system: System, broker_url: str) -> None:
    """They wait in the spool and /readyz names it; configured once more, it has them all."""
    (closed,) = free_ports(1)
    system.settings["BROKER__URL"] = f"amqp://guest:guest@127.0.0.1:{closed}/"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin, whole=False)
    load = Load(system)
    await load.send(10)
    assert await system.terminate("intake") == 0

    system.settings["BROKER__URL"] = broker_url
    ours = {key: system.settings.pop(key) for key in list(system.settings) if key.startswith("SOURCES__MAIN__")}
    system.settings["SOURCES__OTHER__INSECURE"] = "true"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)

    async def is_named() -> bool:
        return "no such source is configured: main;" in (await spool_of(system))["checks"]["spool"]["detail"]

    await eventually(is_named)
    assert await system.terminate("intake") == 0

    system.settings |= ours
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    assert await receipts(system, 10) == set(load.accepted)


async def test_with_neither_broker_nor_spool_it_refuses(system: System, broker_url: str) -> None:
    """Where the spool directory cannot be used and the broker is away: 503 with Retry-After, unready, still up."""
    (closed,) = free_ports(1)
    in_the_way = Path(system.settings["INTAKE__SPOOL_DIR"])
    in_the_way.write_text("no directory")  # noqa: ASYNC240  # two words
    system.settings["BROKER__URL"] = f"amqp://guest:guest@127.0.0.1:{closed}/"
    await system.spawn("intake", "intake")
    said = await system.ready(system.intake_admin, status=503)
    assert said["checks"]["spool"]["detail"]
    body = b'{"event_id":"e"}'
    status, headers, _ = await http("POST", system.door, body=body, headers=signed(body))
    assert status == 503
    assert int(headers["Retry-After"]) > 0
    in_the_way.unlink()  # noqa: ASYNC240  # the same
    await system.ready(system.intake_admin, whole=False)
    assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202
    assert await system.terminate("intake") == 0
    system.settings["BROKER__URL"] = broker_url


async def test_killed_with_a_full_hand(system: System, broker_url: str) -> None:
    """The broker goes away under load, and the intake is killed -9: all that was answered 202 arrives."""
    async with Proxy(broker_url) as proxy:
        system.settings["BROKER__URL"] = proxy.url
        await system.spawn("intake", "intake")
        await system.ready(system.intake_admin)
        load = Load(system)
        await load.send(50)
        proxy.refusing = True
        proxy.cut()
        await load.send(200)
        system.processes["intake"].kill()
        await system.processes.pop("intake").wait()
        proxy.refusing = False
        await system.spawn("intake", "intake")
        assert await receipts(system, 250) >= set(load.accepted)
        assert (len(load.accepted), load.refused) == (250, [])
        assert max(load.seconds) < ANSWER_SECONDS
        await drained(system)
        system.settings["BROKER__URL"] = broker_url


async def test_a_broker_that_does_not_answer(system: System, broker_url: str) -> None:
    """The broker hangs under load: the first answers take confirm_seconds, the others none of it; nothing is lost.

    /readyz reports it long before the connection counts as lost.
    """
    async with Proxy(broker_url) as proxy:
        system.settings["BROKER__URL"] = proxy.url
        await system.spawn("intake", "intake")
        await system.ready(system.intake_admin)
        load = Load(system)
        await load.send(20)
        proxy.freeze()
        await load.send(10)
        assert CONFIRM_SECONDS <= max(load.seconds) < ANSWER_SECONDS
        load.seconds.clear()
        await load.send(200)
        assert median(load.seconds) < CONFIRM_SECONDS
        said = await spool_of(system)
        assert (said["status"], said["checks"]["broker"]["state"]) == ("ready", "not confirming")
        proxy.thaw()
        await load.send(20)
        assert await receipts(system, 250) == set(load.accepted)
        assert (len(load.accepted), load.refused) == (250, [])
        await drained(system)
        system.settings["BROKER__URL"] = broker_url


async def test_a_raw_queue_deleted_under_load(system: System) -> None:
    """The raw queue is deleted while the archive still confirms: any process makes it again, and all events arrive."""
    await system.start()
    load = Load(system)
    sending = asyncio.create_task(load.send(600, at_once=2))
    await eventually(lambda: len(load.accepted) > 100, within=30)
    async with system.connection.channel() as channel:
        await channel.queue_delete(f"{system.prefix}.raw.main")
    async with asyncio.timeout(90):
        await sending
    assert load.refused == []
    expected, found = set(load.accepted.values()), set[str]()

    async def all_of_them() -> bool:
        ready = await system.depth("out.all")
        found.update(map(event_id, await system.take("out.all", ready) if ready else ()))
        return found == expected

    await eventually(all_of_them, within=40)
    assert "raw_queue_lost" in system.log("intake")
    await drained(system)


async def test_a_spool_directory_removed_while_idle(system: System, broker_url: str) -> None:
    """It is made anew, and a post is answered 202 with the broker away; /readyz names a folder that is in trouble."""
    (closed,) = free_ports(1)
    system.settings["BROKER__URL"] = f"amqp://guest:guest@127.0.0.1:{closed}/"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin, whole=False)
    directory = Path(system.settings["INTAKE__SPOOL_DIR"])
    shutil.rmtree(directory)
    load = Load(system)
    await load.send(10)
    assert (len(load.accepted), load.refused) == (10, [])
    orphan = directory / "01a22000-0000-7000-8000-000000000000"
    (orphan / "events.db").mkdir(parents=True)

    async def is_named() -> bool:
        said = await spool_of(system)
        return orphan.name in said["checks"]["spool"]["detail"] and said["checks"]["spool"]["ok"] is True

    await eventually(is_named, within=10)
    assert (await spool_of(system))["status"] == "ready"
    shutil.rmtree(orphan)
    assert await system.terminate("intake") == 0

    system.settings["BROKER__URL"] = broker_url
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    assert await receipts(system, 10) == set(load.accepted)
