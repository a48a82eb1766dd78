"""Hosts whose clocks differ: `fetched_at` goes on above what it was, and somebody says so."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aio_pika import DeliveryMode, Message

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

HOUR = 3600
ON_THE_LANE = '"event":"subscribed","stage":"enrich"'


def at(clock_seconds: float) -> tuple[str, ...]:
    """How to start a program on a host whose clock is ahead by so much."""
    return ("-m", "tests.acceptance.wrong_clock", str(clock_seconds))


async def put(system: System, event_id: str, *, received_at: str, attempts: int = 1) -> None:
    """An event of invoice `x`, on its way to the lane as translate or a delay queue would send it."""
    body = json.dumps({"event_id": event_id, "event_type": "Invoice.Closed", "data": {"invoice": {"id": "x"}}})
    headers: dict[str, Any] = {"source": "main", "receipt_id": event_id, "received_at": received_at}
    message = Message(body.encode(), headers=headers | {"attempts": attempts}, delivery_mode=DeliveryMode.PERSISTENT)
    async with system.connection.channel() as channel:
        await channel.default_exchange.publish(message, routing_key=f"{system.prefix}.enrich.main.0")


async def fetched(system: System) -> str:
    """`fetched_at` of what comes out next."""
    [out] = await system.take("out.all", 1)
    return str(json.loads(out.body)["data"]["enrichment"]["fetched_at"])


def now(**ago: float) -> str:
    """This host's clock."""
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize(("first", "second"), [(0, -HOUR), (HOUR, 0)], ids=["behind", "ahead"])
@pytest.mark.parametrize("waits", [True, False], ids=["standby", "successor"])
async def test_a_take_over_by_another_clock(system: System, *, waits: bool, first: float, second: float) -> None:
    """After kill -9 a consumer whose clock is an hour behind its predecessor's goes on above the last `fetched_at`.

    So it does for an older event that comes back as well as for a new event, standing by or started only then.
    """
    system.settings |= {"CONSUMER__ADMIN_PORT": "0"}
    predecessor = await system.spawn("first", "consume", program=at(first))
    await eventually(lambda: ON_THE_LANE in system.log("first"), within=30)
    if waits:
        await system.spawn("second", "consume", program=at(second))
        await eventually(lambda: ON_THE_LANE in system.log("second"), within=30)
    await put(system, "e-1", received_at=now())
    times = [await fetched(system)]
    predecessor.kill()
    await predecessor.wait()
    if not waits:
        await system.spawn("second", "consume", program=at(second))
    await put(system, "e-0", received_at=now(hours=2), attempts=2)
    times.append(await fetched(system))
    received_at = now()
    await put(system, "e-2", received_at=received_at)
    times.append(await fetched(system))
    assert times == sorted(set(times))
    assert times[2] > received_at
    assert times[2] < now(seconds=-max(first, 0) - 10)


async def test_clocks_that_differ_are_reported(system: System) -> None:
    """A consumer an hour behind: each process logs it once, the metric has it, and `status` names it and sees all."""
    system.settings |= {"CONSUMER__ADMIN_PORT": "0", "BROKER__MANAGEMENT_URL": "http://127.0.0.1:1/"}
    await system.spawn("right", "consume")
    wrong = await system.spawn("wrong", "consume", program=at(-HOUR))
    await system.spawn("intake", "intake")
    await eventually(lambda: "clocks_differ" in system.log("right"), within=40)
    await eventually(lambda: system.log("wrong").count('"clocks_differ"') == 2, within=40)

    async def shown() -> dict[str, Any] | None:
        code, out, err = await system.run("status", "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        has = any(f"-{wrong.pid} is 3,600 s behind" in alarm["text"] for alarm in found["alarms"])
        return found if has and len(found["daemons"]) == 3 else None

    found = await eventually(shown, within=30)
    assert found is not None
    [text] = [alarm["text"] for alarm in found["alarms"] if alarm["text"].startswith("clock of ")]
    assert text.startswith("clock of consume")
    assert "the management API at 127.0.0.1:1 cannot be reached" in found["unseen"]
    assert system.log("right").count('"clocks_differ"') == 1


@pytest.mark.parametrize("ahead", [-HOUR, -300, 300, HOUR])
async def test_the_archive_of_a_door_with_a_wrong_clock(system: System, ahead: int) -> None:
    """What a door received is found from its own time of receipt on, though the broker's clock is another."""
    await system.spawn("intake", "intake", program=at(ahead))
    await system.ready(system.intake_admin)
    body = b'{"event_id":"e1","event_type":"Guest.Created","data":{"id":"g1"}}'
    status, _, said = await http("POST", system.door, body=body, headers=signed(body))
    assert status == 202
    receipt = json.loads(said)["receipt_id"]
    received = now(seconds=-ahead + 30)
    for since, until in (("2h", None), (received, None), (received, now(seconds=-ahead - 30))):
        code, out, _ = await system.run("archive", "list", "--json", "--since", since, *until_(until))
        assert code == 0
        found = json.loads(out)["events"]
        assert [event["receipt_id"] for event in found] == [receipt], since
    code, out, _ = await system.run("archive", "list", "--json", "--since", found[0]["received_at"])
    assert [event["receipt_id"] for event in json.loads(out)["events"]] == [receipt]


def until_(at: str | None) -> list[str]:
    """The words of an end, if there is an end."""
    return [] if at is None else ["--until", at]
