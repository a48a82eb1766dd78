"""What a running system shows of its work: metrics as a scraper sees them, logs as a collector does."""

import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

INVOICE = "11111111-2222-3333-4444-555555555555"
ENRICHED = json.dumps({"event_id": "e1", "event_type": "Invoice.Closed", "data": {"invoice": {"id": INVOICE}}}).encode()
PLAIN = b'{"event_id":"e2","event_type":"Guest.Created","data":{"id":"g1"}}'
NAMES = "zenoti_", "process_", "python_info"

Samples = dict[str, list[tuple[dict[str, str], float]]]


async def scraped(port: int) -> Samples:
    """Every sample by its name."""
    found: Samples = {}
    _, _, text = await http("GET", f"http://127.0.0.1:{port}/metrics")
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """The sample with these labels, of those that have others too the sum; None where there is none."""
    fitting = [number for found, number in samples.get(name, []) if found.items() >= labels.items()]
    return sum(fitting) if fitting else None


def lines(system: System, daemon: str, name: str) -> list[dict[str, Any]]:
    """The lines of one event in a daemon's log."""
    logged = [json.loads(line) for line in system.log(daemon).splitlines()]
    return [line for line in logged if line["event"] == name]


async def post(system: System, body: bytes) -> str:
    """One webhook; its receipt."""
    status, _, said = await http("POST", system.door, body=body, headers=signed(body))
    assert status == 202
    return str(json.loads(said)["receipt_id"])


async def test_metrics_show_the_way_of_an_event(system: System) -> None:
    """From 0 at the start to the times, calls and depths that two events make; no label holds anything of theirs."""
    await system.start()
    before = await scraped(system.consume_admin)
    assert value(before, "zenoti_dead_letters_total", source="main", reason="malformed") == 0
    assert value(before, "zenoti_door_to_downstream_seconds_count", source="main", status="enriched") == 0
    door = await scraped(system.intake_admin)
    assert value(door, "zenoti_door_requests_total", source="main", status="503") == 0
    assert "zenoti_api_calls_total" not in door
    await post(system, ENRICHED)
    await post(system, ENRICHED)
    await post(system, PLAIN)
    await system.take("out.all", 2)

    async def counted() -> Samples | None:
        now = await scraped(system.consume_admin)
        both = value(now, "zenoti_duplicates_total") == 1 and value(now, "zenoti_stage_seconds_count") == 4
        # The first look can come while the queues are being declared; the next look sees them all.
        return now if both and value(now, "zenoti_queue_messages", role="lane") is not None else None

    now = await eventually(counted, within=40) or {}
    door = await scraped(system.intake_admin)
    assert value(now, "zenoti_door_to_downstream_seconds_count", status="enriched") == 1
    assert value(now, "zenoti_door_to_downstream_seconds_count", status="not_applicable") == 1
    assert value(now, "zenoti_stage_seconds_count", stage="translate", source="main") == 3
    assert value(now, "zenoti_api_call_seconds_count", source="main") == 1
    assert (value(now, "zenoti_fetches_total"), value(now, "zenoti_fetched_events_total")) == (1, 1)
    assert value(now, "zenoti_subscriptions_total", stage="enrich") == 1
    assert value(now, "zenoti_connection_ready") == 2
    assert value(now, "zenoti_dependency_ok", dependency="circuit main") == 1
    assert value(door, "zenoti_stage_seconds_count", stage="intake", source="main") == 3
    assert value(door, "zenoti_ready") == 1
    roles = {labels["role"]: labels["queue"] for labels, _ in now["zenoti_queue_messages"]}
    assert roles.keys() == {"raw", "lane", "retry", "dead", "unrouted", "out", "wait"}
    assert roles["raw"] == f"{system.prefix}.raw.main"
    for samples in (now, door):
        assert all(name.startswith(NAMES) for name in samples)
        text = json.dumps(samples)
        assert not [word for word in ("e1", "e2", INVOICE, "guest.created") if f'"{word}"' in text]


async def test_one_line_for_each_request_and_delivery(system: System) -> None:
    """The same ids from the door to the last stage, each with its outcome and how long it took."""
    system.settings["LOG__LEVEL"] = "info"
    await system.start()
    receipt = await post(system, ENRICHED)
    await system.take("out.all", 1)
    await eventually(lambda: len(lines(system, "consume", "delivery")) == 2)
    (request,) = lines(system, "intake", "door_request")
    translated, enriched = lines(system, "consume", "delivery")
    assert request.items() >= {"source": "main", "status": 202, "receipt_id": receipt, "kept": "broker"}.items()
    assert request["bytes"] == len(ENRICHED)
    ids = {"receipt_id": receipt, "event_id": "e1", "event_type": "invoice.closed", "invoice_id": INVOICE}
    for line, stage, to in ((translated, "translate", "lane"), (enriched, "enrich", "enriched")):
        assert line.items() >= {**ids, "stage": stage, "outcome": "passed_on", "to": to, "attempt": 1}.items()
    assert 0 < request["seconds"] < enriched["age_seconds"] + 0.001
    assert 0 < translated["seconds"] < 10
    assert list(request)[:3] == ["timestamp", "level", "event"]


async def test_a_stranger_cannot_fill_the_log(system: System) -> None:
    """Of requests refused for the same reason the first few are logged, the rest as a number, at the end too."""
    system.settings["LOG__LEVEL"] = "info"
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    for _ in range(15):
        assert (await http("POST", system.door, body=PLAIN))[0] == 401
        assert (await http("POST", system.door, body=b""))[0] == 200
        assert (await http("GET", f"http://127.0.0.1:{system.port}/nowhere"))[0] == 404
    await post(system, PLAIN)
    suppressed = value(await scraped(system.intake_admin), "zenoti_log_lines_suppressed_total", line="door_request")
    assert await system.terminate("intake") == 0
    logged = lines(system, "intake", "door_request")
    assert [sum(line["status"] == status for line in logged) for status in (401, 200, 404, 202)] == [10, 10, 10, 1]
    assert suppressed == 15
    repeated = {(line["status"], line["source"]): line["times"] for line in lines(system, "intake", "repeated")}
    assert repeated == {(401, "main"): 5, (200, "main"): 5, (404, "-"): 5}
