import asyncio
import json
import os
from typing import Any

import pytest
from aio_pika import DeliveryMode, Message
from aiohttp import web

from tests.acceptance.conftest import ROOT, System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("INTAKE__PORT", "eighty", "intake.port = 'eighty'"),
        ("BROKER__ULR", "amqp://x", "broker.ulr"),
        ("RETRY__MAX_ATTEMPTS", "0", "retry.max_attempts = '0'"),
        ("SOURCES__MAIN__API_KEY_FILE", "/nowhere", "api_key"),
        ("SOURCES__MAIN__VERIFY", "observe", "webhook_token"),
    ],
)
@pytest.mark.parametrize("command", ["intake", "consume"])
async def test_a_wrong_setting_stops_the_start(system: System, command: str, key: str, value: str, named: str) -> None:
    """A wrong setting ends the start with 2 and one line that names the key, and never shows a secret."""
    system.settings[key] = value
    code, out, err = await system.run(command)
    del system.settings[key]
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert named in err
    assert "test-secret" not in err
    assert "key-of-the-tests" not in err


async def test_nothing_to_do_is_refused(system: System) -> None:
    """Without any source, and for an intake with a source that lets anybody in unasked, the start is refused with 2."""
    kept = {key: system.settings.pop(key) for key in list(system.settings) if key.startswith("SOURCES__")}
    code, _, err = await system.run("consume")
    assert (code, "no source" in err) == (2, True)
    system.settings["SOURCES__MAIN__API_KEY"] = "k"
    code, _, err = await system.run("intake")
    assert (code, "insecure" in err) == (2, True)
    system.settings |= kept
    assert (await system.run("nonsense"))[0] == 2


async def test_topology(system: System) -> None:
    """`plan` says 1 while something is missing, `apply` mends it, `plan` says 0; a mismatch stops consumers."""
    code, out, _ = await system.run("topology", "plan", "--json")
    assert code == 1
    missing = {each["name"] for each in json.loads(out)["differences"] if each["state"] == "missing"}
    names = ("raw.main", "enrich.main.0", "dead", "unrouted", "archive", "state", "events", "out.all", "retry.1s")
    assert {f"{system.prefix}.{name}" for name in names} <= missing
    assert (await system.run("topology", "apply"))[0] == 0
    assert (await system.run("topology", "plan"))[0] == 0
    system.settings["DOWNSTREAM__ALL__MAX_BYTES"] = "1000000"
    code, _, err = await system.run("consume")
    del system.settings["DOWNSTREAM__ALL__MAX_BYTES"]
    assert code == 1
    assert f"{system.prefix}.out.all" in err


async def test_check(system: System) -> None:
    """`check` prints the URL to paste and a line each; a key that the API refuses makes it 1."""
    system.settings["BROKER__DECLARE"] = "true"
    code, out, _ = await system.run("check", "--json")
    findings = {each["what"]: each for each in json.loads(out)["findings"]}
    assert code == 0
    assert "/webhooks/main" in findings["webhook of main"]["detail"]

    async def unauthorised(invoice_id: str) -> web.Response:
        answer = await system.api.invoice(invoice_id)
        answer.set_status(401)
        answer.body = b'{"Message":"Authorization has been denied for this request."}'
        return answer

    system.api.answer = unauthorised
    code, out, _ = await system.run("check")
    assert code == 1
    assert "FAIL  API key of main" in out
    assert "key-of-the-tests" not in out


async def test_status(system: System) -> None:
    """`status --json` is one document: depths, what each daemon says of itself, backlog, dead letters by reason."""
    await system.start()
    body = b"not json"
    assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202
    await eventually(lambda: system.depth("dead"), within=10)

    async def shown() -> dict[str, Any] | None:
        code, out, _ = await system.run("status", "--json")
        assert code == 0
        said: dict[str, Any] = json.loads(out)
        seen = said["sources"]["main"]["seconds_since_last_event"] is not None
        return said if seen and {d["daemon"] for d in said["daemons"]} == {"intake", "consume"} else None

    said = await eventually(shown, within=20) or {}
    assert said["dead_letters"] == {"malformed": 1}
    assert said["queues"][f"{system.prefix}.dead"]["ready"] == 1
    assert said["sources"]["main"]["circuit"] == "closed"
    assert said["sources"]["main"]["backlog"]["events"] == 0
    assert all(daemon["ready"] for daemon in said["daemons"])


async def test_dead_letters_are_chosen(system: System) -> None:
    """Redrive and discard want a filter or --all; a dry run changes nothing; what is not chosen stays."""
    await system.start()
    for body in (b"not json", b'{"event_type":"Invoice.Closed","data":{"invoice":{"id":"../../x"}}}'):
        await http("POST", system.door, body=body, headers=signed(body))
    await eventually(lambda: system.depth("dead"), within=10)
    await eventually(lambda: is_two(system), within=10)
    assert (await system.run("dead", "redrive"))[0] == 2
    code, out, _ = await system.run("dead", "discard", "--all", "--dry-run", "--json")
    assert (code, json.loads(out)["matched"], json.loads(out)["discarded"]) == (0, 2, 0)
    code, out, _ = await system.run("dead", "discard", "--id", "nobody", "--json")
    assert (code, json.loads(out)["discarded"]) == (0, 0)
    assert await system.depth("dead") == 2
    code, out, _ = await system.run("dead", "discard", "--source", "main", "--json")
    assert (code, json.loads(out)["discarded"]) == (0, 2)
    assert await system.depth("dead") == 0
    assert (await system.run("dead", "show", "nobody"))[0] == 1


async def is_two(system: System) -> bool:
    """Both letters have come."""
    return await system.depth("dead") == 2


async def test_the_demonstration(broker_url: str) -> None:
    """The demonstration ends with 0 and prints each event that it sent, enriched."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ZENOTI_INGEST_")}
    process = await asyncio.create_subprocess_exec(
        ".venv/bin/python",
        "-m",
        "deploy.local.journey",
        "demo",
        cwd=ROOT,
        env=environ | {"ZENOTI_INGEST_BROKER__URL": broker_url},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert out.decode().count("enriched") >= 8
    assert "OK" in out.decode()


async def test_a_letter_that_cannot_go_back_stops_no_other(system: System) -> None:
    """A letter of a source that is gone stays and is reported, the status is 1, and the others go back all the same."""
    assert (await system.run("topology", "apply"))[0] == 0
    async with system.connection.channel() as channel:
        for number, source in enumerate(("main", "gone", "main")):
            headers = {"reason": "refused", "stage": "translate", "source": source, "receipt_id": f"r-{number}"}
            letter = Message(b"{}", headers=headers, delivery_mode=DeliveryMode.PERSISTENT)  # type: ignore[arg-type]
            await channel.default_exchange.publish(letter, routing_key=f"{system.prefix}.dead")
    code, out, _ = await system.run("dead", "redrive", "--all", "--json")
    printed = json.loads(out)
    assert (code, printed["redriven"], printed["matched"]) == (1, 2, 3)
    assert [line.partition(":")[0] for line in printed["stayed"]] == ["r-1"]
    assert (await system.depth("dead"), await system.depth("raw.main")) == (1, 2)
