"""`dead`, `archive` and `trace` as an operator uses them."""

import json

import pytest

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

CLOSED = b'{"event_id":"e-1","event_type":"Guestpass.Redeemed","data":{"invoice_id":"i-1"}}'
BAD = (
    b"not json",
    b"also not",
    b'{"event_id":"e-2","event_type":"Invoice.Closed","data":{"invoice":{"id":"../../x"}}}',
)


async def received(system: System, *bodies: bytes) -> list[str]:
    """Webhooks that the door takes; their receipt ids."""
    receipts = []
    for body in bodies:
        status, _, answer = await http("POST", system.door, body=body, headers=signed(body))
        assert status == 202
        receipts.append(json.loads(answer)["receipt_id"])
    return receipts


async def test_letters_are_grouped_by_fault(system: System) -> None:
    """`dead list` shows groups by reason and fingerprint, and a fingerprint selects them again."""
    await system.start()
    await received(system, *BAD)

    async def all_dead() -> bool:
        return await system.depth("dead") == len(BAD)

    await eventually(all_dead, within=15)
    code, out, _ = await system.run("dead", "list", "--json")
    printed = json.loads(out)
    assert (code, printed["count"], printed["by_reason"], len(printed["letters"])) == (0, 3, {"malformed": 3}, 3)
    assert [group["count"] for group in printed["groups"]] == [2, 1]
    mark = printed["groups"][0]["fingerprint"]
    code, out, _ = await system.run("dead", "list")
    assert (code, mark in out, "3 dead letter(s), 2 group(s)" in out) == (0, True, True)
    code, out, _ = await system.run("dead", "discard", "--fingerprint", mark, "--json")
    assert (code, json.loads(out)["discarded"]) == (0, 2)
    code, out, _ = await system.run("dead", "list", "--type", "invoice.*", "--json")
    assert (code, json.loads(out)["count"]) == (0, 1)
    code, out, _ = await system.run("dead", "list", "--id", "nobody", "--json")
    assert (code, json.loads(out)) == (0, {"letters": [], "count": 0, "by_reason": {}, "groups": []})


async def test_what_was_received_can_be_found_and_fed_in_again(system: System) -> None:
    """`archive list` has it, `trace` shows its way, and a replay brings it out again, marked, not as a duplicate."""
    await system.start()
    receipts = await received(system, CLOSED, BAD[0])
    (first,) = await system.take("out.all", 1)
    await eventually(lambda: system.depth("dead"), within=10)

    code, out, _ = await system.run("archive", "list", "--since", "1h", "--json")
    printed = json.loads(out)
    assert (code, printed["count"], [event["receipt_id"] for event in printed["events"]]) == (0, 2, receipts)
    assert (printed["events"][0]["event_id"], printed["events"][0]["invoice_id"]) == ("e-1", "i-1")
    code, out, _ = await system.run("archive", "list", "--since", "1h", "--type", "guestpass.*")
    assert (code, "1 event(s)" in out, "e-1" in out) == (0, True, True)

    code, out, _ = await system.run("trace", receipts[1], "--json")
    assert (code, [step["where"] for step in json.loads(out)["steps"]]) == (0, ["archive", "dead letters"])
    for known in ("e-1", "i-1", receipts[0], first.message_id or ""):
        code, out, _ = await system.run("trace", known)
        assert (code, receipts[0] in out) == (0, True)
    assert (await system.run("trace", "nobody"))[0] == 1

    replay = ("archive", "replay", "--since", "1h", "--invoice", "i-1", "--json")
    code, out, _ = await system.run(*replay, "--dry-run")
    assert (code, json.loads(out)["matched"], json.loads(out)["replayed"]) == (0, 1, 0)
    code, out, _ = await system.run(*replay)
    assert (code, json.loads(out)["replayed"]) == (0, 1)
    (again,) = await system.take("out.all", 1)
    assert (again.message_id, json.loads(again.body)["replay"]) == (first.message_id, json.loads(out)["mark"])
    assert "replay" not in json.loads(first.body)
    code, out, _ = await system.run("archive", "list", "--since", "1h", "--json")
    assert json.loads(out)["count"] == 2


async def test_every_letter_with_an_id_is_shown(system: System) -> None:
    """`dead show`, `--id` and `trace` take each of an event's ids, and show all that have it."""
    await system.start()
    two = [BAD[2], BAD[2].replace(b'"data":{', b'"data":{"more":1,')]
    await received(system, *two)

    async def both_dead() -> bool:
        return await system.depth("dead") == 2

    await eventually(both_dead, within=15)
    code, out, _ = await system.run("dead", "show", "e-2", "--json")
    shown = json.loads(out)
    assert (code, {each["body"].encode() for each in shown["letters"]}) == (0, set(two))
    assert (shown["letter"], shown["body"]) == (shown["letters"][0]["letter"], shown["letters"][0]["body"])
    ids = [each["letter"]["cloudevent_id"] for each in shown["letters"]]
    assert len(set(ids)) == 2
    assert all(event_id.startswith("e-2.") for event_id in ids)
    code, out, _ = await system.run("dead", "show", "e-2")
    assert (code, all(body.decode() in out for body in two)) == (0, True)
    code, out, _ = await system.run("dead", "list", "--id", ids[0], "--json")
    assert [letter["cloudevent_id"] for letter in json.loads(out)["letters"]] == [ids[0]]
    code, out, _ = await system.run("trace", "e-2", "--json")
    steps = json.loads(out)["steps"]
    assert (
        [step["where"] for step in steps].count("dead letters")
        == [step["where"] for step in steps].count("archive")
        == 2
    )
    assert {(step["receipt_id"], step["cloudevent_id"]) for step in steps} == {
        (each["letter"]["receipt_id"], each["letter"]["cloudevent_id"]) for each in shown["letters"]
    }
    code, out, _ = await system.run("dead", "show", "nobody", "--json")
    assert (code, json.loads(out)) == (1, {"letters": [], "letter": None, "body": None})


async def test_nothing_received(system: System) -> None:
    """An empty archive is reported; without an archive, and with an invalid time, the command says what to do."""
    code, _, err = await system.run("archive", "list", "--since", "1h")
    assert (code, "topology plan" in err) == (1, True)
    assert (await system.run("topology", "apply"))[0] == 0
    code, out, _ = await system.run("archive", "replay", "--since", "1h")
    assert (code, "The archive is empty." in out) == (0, True)
    code, _, err = await system.run("archive", "list", "--since", "yesterday")
    assert (code, "2h, 3d" in err) == (2, True)


@pytest.mark.parametrize("options", [("--rate", "0"), ("--rate", "x"), ("--after", "x"), ()], ids=" ".join)
async def test_wrong_usage(system: System, options: tuple[str, ...]) -> None:
    """Wrong usage is 2 before anything is touched."""
    since = ("--since", "1h") if options else ()
    assert (await system.run("archive", "replay", *since, *options))[0] == 2
