import asyncio
import gzip
import json
import secrets
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

# What every value of ours bears that nobody may see: one mark for guests' fields, one for each secret.
MARK = f"canary{secrets.token_hex(6)}"
SECRET, TOKEN, KEY = f"hook-{MARK}", f"token-{MARK}", f"key-{MARK}"
INVOICE = "11111111-2222-3333-4444-5555555555%02d"
GUEST = {"first_name": MARK, "email": f"{MARK}@example.org", "phone": MARK, "nested": [{"address": {MARK: MARK}}]}


def event(number: int, **data: object) -> bytes:
    """A closed invoice of a marked guest."""
    invoice = {"id": INVOICE % number, "invoice_number": "1", "guest": GUEST, **data}
    envelope = {"event_id": f"event-{number}", "event_type": "Invoice.Closed", "data": {"invoice": invoice}}
    return json.dumps(envelope).encode()


BROKEN_EVENTS = [
    MARK.encode(),
    b'{"event_type": "Invoice.Closed", "data": {"invoice": {"id": "' + MARK.encode(),
    b"\xff" + MARK.encode(),
    b'{"data": "' + MARK.encode() + b'"}',
    event(90, id=f"../{MARK}"),
    event(91, total=MARK, is_closed=MARK, invoice_items=MARK, guest=MARK),
    event(92, total_price={"sum_total": MARK}, created_date={MARK: 1}),
    json.dumps(
        {"event_id": "event-93", "event_type": "Appointment.Completed", "data": {"appointments": MARK}}
    ).encode(),
    json.dumps({"event_id": "event-94", "event_type": "Guest.Created", "data": {"id": {MARK: MARK}}}).encode(),
    b"[" * 5000 + MARK.encode(),
]


def api_answers() -> dict[str, Callable[[], web.Response]]:
    """By invoice: the ways of an API to answer, each with a marked value in it."""
    text = json.dumps({"error": {"message": MARK, "guest": GUEST}})
    good = {"guest": GUEST, "invoice_items": [], "transactions": [], "appointments": []}

    def invoice(number: int, **more: object) -> Callable[[], web.Response]:
        body = json.dumps({"invoice": {"id": INVOICE % number, **good, **more}, "error": None})
        return lambda: web.Response(text=body, content_type="application/json")

    def error(status: int, **headers: str) -> Callable[[], web.Response]:
        return lambda: web.Response(status=status, text=text, reason=MARK, headers=headers)

    ways = [
        invoice(0),
        invoice(1, total_price=MARK, invoice_items=MARK),
        invoice(99),
        error(404),
        error(400),
        error(403),
        error(429, **{"Retry-After": "1", "X-Mark": MARK}),
        error(500),
        error(302, Location=f"http://127.0.0.1:1/{MARK}"),
        lambda: web.Response(text=MARK, content_type="application/json"),
        lambda: web.Response(text=text, content_type=f"text/{MARK}"),
        lambda: web.Response(text=json.dumps({"invoice": MARK})),
        error(401),
    ]
    return {INVOICE % number: way for number, way in enumerate(ways)}


async def raw(system: System, request: bytes) -> bytes:
    """What the door says to bytes of ours, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def strangers(system: System) -> list[bytes]:
    """Requests that are turned away or are no HTTP, marked in every place; the answers."""
    good = f"{system.door}?token={TOKEN}"
    mark = MARK.encode()
    headers = {"X-Mark": MARK, "Cookie": f"a={MARK}", "User-Agent": MARK, "Content-Type": f"text/{MARK}"}
    calls = [
        http("POST", f"{system.door}?token={MARK}", body=mark),
        http("POST", system.door, body=mark, headers={"Authorization": f"Bearer {MARK}"}),
        http("POST", good, body=mark, headers={"zenoti-webhook-signature": MARK}),
        http("POST", system.door.replace("main", MARK), body=mark, headers=headers),
        http("POST", f"{system.door}/{MARK}?{MARK}={MARK}", body=mark, headers=headers),
        http("DELETE", good, body=mark, headers=headers),
        http("POST", good, body=mark * 20_000, headers=headers),
    ]
    said = [body for _, _, body in await asyncio.gather(*calls)]
    line = b"POST /webhooks/main?token=%s HTTP/1.1\r\n" % TOKEN.encode()
    broken = (
        mark + b"\r\n\r\n",
        line + b"Host: door\r\n%s : x\r\n\r\n" % mark,
        line + b"Host: door\r\nContent-Length: %s\r\n\r\n" % mark,
        line + b"Host: door\r\nX: %s\r\n\r\n" % (mark * 1000),
        line + b"Host: door\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % mark,
        line + b"Host: door\r\nContent-Length: 1000\r\n\r\n%s" % mark,
        line.replace(b"main", mark * 500) + b"\r\n",
    )
    return said + [await raw(system, request) for request in broken]


async def everything_shown(system: System) -> dict[str, str]:
    """All that an operator or a machine that collects sees."""
    outputs = {name: system.log(name) for name in ("intake", "consume")}
    for name, port in (("intake", system.intake_admin), ("consume", system.consume_admin)):
        for page in ("metrics", "readyz", "healthz"):
            outputs[f"{name} {page}"] = (await http("GET", f"http://127.0.0.1:{port}/{page}"))[2].decode()
    for words in (["status"], ["status", "--json"], ["check"], ["dead", "list"], ["dead", "list", "--json"]):
        _, out, err = await system.run(*words)
        outputs[" ".join(words)] = out + err
    return outputs


async def test_no_marked_value_is_shown(system: System) -> None:
    """Guests' fields, bodies, secrets, tokens and keys are in no debug log, metric, state, error or listing."""
    system.settings |= {
        "SOURCES__MAIN__WEBHOOK_SECRET": SECRET,
        "SOURCES__MAIN__WEBHOOK_TOKEN": TOKEN,
        "SOURCES__MAIN__API_KEY": KEY,
        "INTAKE__MAX_BODY_BYTES": "100000",
        "INTAKE__BODY_SECONDS": "1",
        "INTAKE__KEEPALIVE_SECONDS": "1",
        "RETRY__MAX_ATTEMPTS": "2",
    }
    answers = api_answers()

    async def answer(invoice_id: str) -> web.Response:
        return answers[invoice_id]() if invoice_id in answers else await system.api.invoice(invoice_id)

    system.api.answer = answer
    await system.start()
    said = await strangers(system)
    packed = gzip.compress(event(95))
    bodies = [*BROKEN_EVENTS, *(event(number) for number in range(len(answers)))]
    posts: list[tuple[bytes, dict[str, str]]] = [(body, {}) for body in bodies]
    posts += [(packed, {"Content-Encoding": "gzip"}), (packed[:-9] + MARK.encode(), {"Content-Encoding": "gzip"})]
    posts += [(MARK.encode(), {"Content-Encoding": MARK})]
    for body, more in posts:
        headers: dict[str, str] = {**signed(body, secret=SECRET), **more}
        status, _, _ = await http("POST", f"{system.door}/Invoice.Closed?token={TOKEN}", body=body, headers=headers)
        assert status == 202
    refused = INVOICE % (len(answers) - 1)
    await eventually(lambda: refused in {asked[0] for asked in system.api.asked}, within=30)
    answers.clear()  # from here on all is well
    await eventually(settled(system), within=60)
    outputs = await everything_shown(system)
    outputs |= {f"answer {number}": text.decode("latin-1") for number, text in enumerate(said)}
    assert "dead_lettered" in outputs["consume"]
    assert "malformed" in outputs["dead list"]
    for where, text in outputs.items():
        assert MARK not in text, f"{where}: {[line for line in text.splitlines() if MARK in line][:3]}"
        assert "Traceback" not in text, where
    for line in (outputs["intake"] + outputs["consume"]).splitlines():
        assert json.loads(line)["event"] not in {"defect", ""}, line


def settled(system: System) -> Callable[[], Awaitable[bool]]:
    """Whether every event has come to its end: out, or a dead letter."""

    async def nothing_waits() -> bool:
        _, out, _ = await system.run("status", "--json")
        queues = json.loads(out)["queues"]
        ends = ("zenoti.archive", ".archive", ".state", ".dead", ".unrouted", ".out.all", ".out.invoices")
        waiting = sum(depth["ready"] or 0 for name, depth in queues.items() if not name.endswith(ends))
        held = sum(s.get("events_held", 0) for d in json.loads(out)["daemons"] for s in d["sources"].values())
        return bool(waiting + held == 0)

    return nothing_waits


@pytest.mark.parametrize("form", ["json", "console"])
async def test_no_line_of_the_log_can_be_forged(system: System, form: str) -> None:
    """Line breaks and control characters in what a stranger names make no line of their own in either format."""
    system.settings["LOG__FORMAT"] = form
    await system.start()
    forged = "2026-01-01T00:00:00Z [error] FORGED"
    for _ in range(2):  # the second is logged as a duplicate, by its id
        body = json.dumps({"event_id": f"x\n{forged}\r\x1b[2K\u2028{forged}", "event_type": f"A\n{forged}"}).encode()
        path = f"/a%0a{forged.replace(' ', '%20')}%1b%5b2K?x=%0a"
        status, _, _ = await http("POST", system.door + path, body=body, headers=signed(body))
        assert status == 202
    await http("POST", system.door.replace("main", "no%0aFORGED"), body=b"x")
    await raw(system, b"POST /\nFORGED HTTP/1.1\r\nFORGED: \n\r\n\r\n")
    await eventually(lambda: "duplicate_dropped" in system.log("consume"), within=15)
    for text in (system.log("intake"), system.log("consume")):
        assert "\x1b[2K" not in text
        assert not [line for line in text.splitlines() if line.startswith(("FORGED", forged))]
