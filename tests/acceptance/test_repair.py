from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

BODY = b'{"event_id":"%d","event_type":"Guestpass.redeemed","data":{"invoice_id":"i-1"}}'


async def test_a_queue_that_somebody_deletes_is_logged_and_made_anew(system: System) -> None:
    """Raw queue and lane deleted under the running daemons are logged and made again; events flow again."""
    await system.start()
    async with system.connection.channel() as channel:
        for queue in ("raw.main", "enrich.main.0"):
            await channel.queue_delete(f"{system.prefix}.{queue}")

    def logged(queue: str) -> bool:  # by whichever daemon looks first: it mends what it finds
        lines = [line for name in ("intake", "consume") for line in system.log(name).splitlines()]
        return any("topology_broken" in line and f"{system.prefix}.{queue}" in line for line in lines)

    await eventually(lambda: logged("raw.main") and logged("enrich.main.0"), within=15)
    await system.ready(system.intake_admin)
    await system.ready(system.consume_admin)
    numbers = iter(range(1000))

    async def flows() -> bool:
        body = BODY % next(numbers)
        status, _, _ = await http("POST", system.door, body=body, headers=signed(body))
        return status == 202 and await system.depth("out.all") > 0

    await eventually(flows, within=20)


async def test_an_unbound_raw_queue_is_bound_again_though_nothing_is_declared(system: System) -> None:
    """With broker.declare = false too the door binds its raw queue again: the archive alone would go on confirming."""
    assert (await system.run("topology", "apply"))[0] == 0
    system.settings["BROKER__DECLARE"] = "false"
    async with system.connection.channel() as channel:
        queue = await channel.get_queue(f"{system.prefix}.raw.main")
        await queue.unbind(f"{system.prefix}.intake", "main")
        await system.spawn("intake", "intake")
        await system.ready(system.intake_admin)
        body = BODY % 1
        assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202
        assert await system.depth("raw.main") == 1
