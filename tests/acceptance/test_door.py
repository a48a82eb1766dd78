import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

BODY = b'{"event_id":"e1","event_type":"Guest.Created","data":{"id":"g1"}}'


async def chunks(total: int) -> AsyncIterator[bytes]:
    """A body of unknown length."""
    for _ in range(total // 1024):
        yield b"x" * 1024


async def test_answers_as_promised(system: System) -> None:
    """Each case of the door's table gets its answer, errors as problem details, and only what is accepted is queued."""
    system.settings["INTAKE__MAX_BODY_BYTES"] = "100000"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    door, good = system.door, signed(BODY)

    async def answers(
        expected: int, method: str = "POST", url: str = door, body: bytes = BODY, **more: object
    ) -> dict[str, Any]:
        status, headers, said = await http(method, url, body=body, **more)  # type: ignore[arg-type]
        assert status == expected, said
        kind = "application/json" if expected < 400 else "application/problem+json"
        assert headers["Content-Type"].startswith(kind)
        content: dict[str, Any] = json.loads(said)
        if expected >= 400:
            assert content["status"] == expected
            assert content["title"]
        return content

    assert await answers(200, body=b"") == {"status": "ping"}
    receipts = set()
    for method in ("POST", "PUT", "PATCH"):
        statuses = await answers(202, method, headers=good)
        assert statuses["status"] == "accepted"
        assert uuid.UUID(statuses["receipt_id"]).version == 7
        receipts.add(statuses["receipt_id"])
    assert len(receipts) == 3
    assert (await answers(202, url=f"{door}/Guest.Created", headers=good))["receipt_id"]
    assert (await answers(202, url=f"{door}/an%0aodd%ff/type", headers=good))["receipt_id"]
    assert (await answers(202, body=b"\xff not json", headers=signed(b"\xff not json")))["receipt_id"]
    await answers(401)
    await answers(401, headers=signed(BODY, secret="another"))
    await answers(401, headers={"zenoti-webhook-signature": "ü\x80"})
    await answers(404, url=door.replace("/main", "/nobody"), headers=good)
    await answers(404, url=door.replace("/webhooks/main", "/elsewhere"), headers=good)
    await answers(405, "GET", body=b"")
    await answers(405, "DELETE", headers=good)
    await answers(413, body=b"x" * 100_001)
    await answers(413, data=chunks(200 * 1024))
    assert await system.depth("raw.main") == 6


@pytest.mark.parametrize("form", ["plain", "base64", "prefixed"])
async def test_takes_every_spelling_of_a_signature(system: System, form: str) -> None:
    """Plain hex, base64, and either behind `sha256=`, pass as the dashed form does."""
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    plain = signed(BODY)["zenoti-webhook-signature"].removeprefix("sha256 =").replace("-", "").lower()
    spelled = {
        "plain": plain,
        "base64": base64.b64encode(bytes.fromhex(plain)).decode(),
        "prefixed": f"sha256={plain}",
    }[form]
    status, _, _ = await http("POST", system.door, body=BODY, headers={"zenoti-webhook-signature": spelled})
    assert status == 202


async def test_token_by_query_or_bearer(system: System) -> None:
    """A source with a token takes it as ?token= or as bearer, and refuses everything else."""
    del system.settings["SOURCES__MAIN__WEBHOOK_SECRET"]
    system.settings["SOURCES__MAIN__WEBHOOK_TOKEN"] = "s3cret-token"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    statuses = [
        (await http("POST", f"{system.door}?token=s3cret-token", body=BODY))[0],
        (await http("POST", system.door, body=BODY, headers={"Authorization": "Bearer s3cret-token"}))[0],
        (await http("POST", f"{system.door}?token=wrong", body=BODY))[0],
        (await http("POST", system.door, body=BODY))[0],
    ]
    assert statuses == [202, 202, 401, 401]
    assert "s3cret-token" not in system.log("intake")


async def test_admin_listener(system: System) -> None:
    """/healthz, /readyz and /metrics answer on the admin port; a taken port leads to the next free port."""
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    base = f"http://127.0.0.1:{system.intake_admin}"
    assert (await http("GET", f"{base}/healthz"))[0] == 200
    await http("POST", system.door, body=BODY, headers=signed(BODY))
    status, _, metrics = await http("GET", f"{base}/metrics")
    assert status == 200
    assert b'zenoti_door_requests_total{source="main",status="202"} 1.0' in metrics
    system.settings["INTAKE__PORT"] = "0"
    await system.spawn("second", "intake")
    await eventually(lambda: "admin_listening" in system.log("second"), within=30)
    (listening,) = (json.loads(line) for line in system.log("second").splitlines() if "admin_listening" in line)
    assert system.intake_admin < listening["port"] < system.intake_admin + 20
    assert (await system.ready(listening["port"]))["status"] == "ready"


async def test_a_sender_that_closes_its_side_gets_its_answer(system: System) -> None:
    """A whole signed request with the FIN right behind it gets its 202, three times of three, and is queued."""
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    head = [f"POST /webhooks/main HTTP/1.1\r\nHost: door\r\nContent-Length: {len(BODY)}\r\n"]
    head += [f"{name}: {value}\r\n" for name, value in signed(BODY).items()]
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
        writer.write("".join(head).encode() + b"\r\n" + BODY)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 202 ")
        writer.close()
        await writer.wait_closed()
    assert len(await system.take("raw.main", 3)) == 3
