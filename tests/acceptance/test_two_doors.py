"""Two doors that look the same from outside: the same host name, the same ports, the same broker."""

import json
from contextlib import suppress
from typing import Any

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from tests.acceptance.conftest import System, http
from tests.eventually import eventually


async def witnesses(system: System, names: list[str]) -> list[str]:
    """Which of these exchanges the broker has."""
    found = []
    for name in names:
        channel = await system.connection.channel()
        with suppress(ChannelNotFoundEntity):  # which closes the channel
            await channel.get_exchange(name, ensure=True)
            found.append(name)
        await channel.close()
    return found


async def twins(system: System) -> None:
    """Two intakes on addresses of their own, as in two containers or network namespaces with one host name."""
    for number in (1, 2):
        host = f"127.0.0.{number}"
        system.settings |= {"INTAKE__HOST": host, "INTAKE__ADMIN_HOST": host}
        system.settings["INTAKE__SPOOL_DIR"] = str(system.folder / f"spool-{number}")
        await system.spawn(f"intake-{number}", "intake")
        await eventually(lambda: ready(system, host), within=30)  # noqa: B023  # at once, so that they look in turn


async def ready(system: System, host: str) -> bool:
    """Whether the intake there is, with everything."""
    try:
        _, _, body = await http("GET", f"http://{host}:{system.intake_admin}/readyz")
    except OSError:
        return False
    content: dict[str, Any] = json.loads(body)
    return all(check["ok"] for check in content["checks"].values())


async def made_anew(system: System, channel: AbstractChannel) -> None:
    """The raw queue is deleted, and declared and bound again at once."""
    name = f"{system.prefix}.raw.main"
    code, out, _ = await system.run("topology", "export")
    assert code == 0
    arguments = next(queue["arguments"] for queue in json.loads(out)["queues"] if queue["name"] == name)
    await channel.queue_delete(name)
    queue = await channel.declare_queue(name, durable=True, arguments=arguments)
    await queue.bind(f"{system.prefix}.intake", "main")
    await queue.bind(f"{system.prefix}.work", name)


async def test_each_notices_that_a_raw_queue_was_made_anew(system: System) -> None:
    """So that each publishes again what it had confirmed: the witness that a door makes again is not the other's."""
    await twins(system)
    async with system.connection.channel() as channel:
        await made_anew(system, channel)
    for number in (1, 2):
        await eventually(lambda: "topology_broken" in system.log(f"intake-{number}"), within=20)  # noqa: B023  # at once
        assert await system.terminate(f"intake-{number}") == 0


async def test_what_a_killed_door_leaves_goes_with_the_next(system: System) -> None:
    """One after the other is killed: their witnesses do not pile up on the broker, and none is left after the last."""
    left: list[str] = []
    for _ in range(3):
        process = await system.spawn("intake", "intake")
        await system.ready(system.intake_admin)
        owners = [file.name for file in (system.folder / "spool" / "owners").iterdir()]
        assert len(owners) == 1
        left.append(f"{system.prefix}.raw.main.witness.{owners[0]}")
        assert await witnesses(system, left) == left[-1:]
        process.kill()
        await process.wait()
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    assert await system.terminate("intake") == 0
    assert await witnesses(system, left) == []
    assert list((system.folder / "spool" / "owners").iterdir()) == []
