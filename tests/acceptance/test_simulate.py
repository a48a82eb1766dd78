import json
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from tests.acceptance.conftest import API_KEY, System, http
from tests.eventually import eventually


def status(message: AbstractIncomingMessage) -> str:
    """What enrichment has made of it."""
    found: str = json.loads(message.body)["data"]["enrichment"]["status"]
    return found


async def simulated(system: System, *arguments: str, within: float = 90.0) -> tuple[int, dict[str, Any]]:
    """Run `simulate` to its end at sixty-fold speed; exit status and what it has counted."""
    common = ("simulate", "--port", str(system.simulator_port), "--speed", "60", "--seed", "7", "--json")
    code, out, _ = await system.run(*common, *arguments, within=within)
    printed: dict[str, Any] = json.loads(out)
    return code, printed["counters"]


async def test_visits_to_their_end(system: System) -> None:
    """`simulate --visits` serves until all was asked for, then ends with 0: every event came out, enriched."""
    system.settings["SOURCES__MAIN__BASE_URL"] = f"http://127.0.0.1:{system.simulator_port}"
    await system.start()
    code, counted = await simulated(system, "--visits", "6", "--rate", "1")
    assert code == 0
    out = await system.take("out.all", 30)
    assert {status(message) for message in out} == {"enriched"}
    webhooks, api = counted["webhooks"], counted["api"]
    assert (webhooks["events"], webhooks["taken"], webhooks["tests"], webhooks["refused"]) == (30, 30, 1, {})
    assert 6 <= api["calls"] <= 30
    assert api["by_key"] == {"1": api["calls"]}
    assert webhooks["answer_milliseconds"]["max"] > 0


async def test_a_bad_day(system: System) -> None:
    """Duplicates, disorder, bare bodies, an API that errs, cuts answers and finds invoices late: each event arrives."""
    system.settings["SOURCES__MAIN__BASE_URL"] = f"http://127.0.0.1:{system.simulator_port}"
    await system.start()
    disturbed = ("--duplicates", "0.3", "--reordered", "0.3", "--bare", "0.2")
    faults = ("--faults", "500=0.1,half-answer=0.1,502/200/Error=0.1", "--late", "0.6", "--latency", "0-6")
    code, counted = await simulated(system, "--visits", "10", "--rate", "0.5", *disturbed, *faults)
    assert code == 0
    webhooks, api = counted["webhooks"], counted["api"]
    assert webhooks["taken"] == webhooks["events"] == 50 + webhooks["duplicates"]
    assert webhooks["duplicates"] * webhooks["reordered"] * webhooks["bare"] > 0
    assert sum(api["by_fault"].values()) > 0
    assert api["not_found"] > 0
    await eventually(lambda: at_least(system, 50), within=20)
    out = await system.take("out.all", await system.depth("out.all"))
    assert {status(message) for message in out} == {"enriched"}
    assert len({message.message_id for message in out}) == 50
    assert await system.depth("dead") == 0


async def at_least(system: System, count: int) -> bool:
    """So many have come out."""
    return await system.depth("out.all") >= count


async def test_nobody_at_the_door(system: System) -> None:
    """Where the door does not answer, the webhook is switched off after twenty failures, and the status is 1."""
    code, counted = await simulated(system, "--visits", "10", "--rate", "10", "--linger", "0")
    assert code == 1
    webhooks = counted["webhooks"]
    assert webhooks["switched_off"] == 1
    assert 20 <= webhooks["tried"] < 50
    assert webhooks["refused"] == {"none": webhooks["tried"]}
    assert webhooks["unsent"] + webhooks["given_up"] == webhooks["events"] == 50


async def test_the_control(system: System) -> None:
    """While it runs, GET /simulator shows and PATCH changes; SIGTERM ends it with 0."""
    url = f"http://127.0.0.1:{system.simulator_port}"
    await system.spawn("simulate", "simulate", "--port", str(system.simulator_port), "--visits", "0")

    async def shown() -> dict[str, Any] | None:
        try:
            _, _, body = await http("GET", f"{url}/simulator")
        except OSError:
            return None
        found: dict[str, Any] = json.loads(body)
        return found

    assert (await eventually(shown, within=20) or {})["switches"]["api"]["faults"] == {}
    answer, _, _ = await http("PATCH", f"{url}/simulator", body=b'{"api": {"faults": {"503": 1}}}')
    assert answer == 200
    answer, _, _ = await http("GET", f"{url}/v1/invoices/x", headers={"Authorization": f"apikey {API_KEY}"})
    assert answer == 503
    assert await system.terminate("simulate") == 0
