"""A broker.url_file that cannot be used: the intake starts and spools, consumers refuse."""

import json

import pytest

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

HUSH = "hush-4711"
WRONG = {
    "missing": None,
    "empty": b"",
    "no URL": f"http://u:{HUSH}@h/".encode(),
    "a port of 0": f"amqp://u:{HUSH}@h:0/".encode(),
    "not UTF-8": f"amqp://u:{HUSH}\xff@h/".encode("latin-1"),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
async def test_a_wrong_url_file(system: System, content: bytes | None) -> None:
    """The door answers 202 from its spool and says why; once the file is right, BOM or not, the events go on."""
    url = system.settings.pop("BROKER__URL")
    file = system.folder / "url"
    if content is not None:
        file.write_bytes(content)
    system.settings["BROKER__URL_FILE"] = str(file)
    code, _, err = await system.run("consume")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "broker.url" in err
    assert HUSH not in err
    await system.spawn("intake", "intake")
    said = await system.ready(system.intake_admin, whole=False)
    assert "broker.url" in said["checks"]["broker"]["detail"]
    body = json.dumps({"event_id": "e", "event_type": "Guest.Created", "data": {}}).encode()
    assert (await http("POST", system.door, body=body, headers=signed(body)))[0] == 202
    file.write_bytes(b"\xef\xbb\xbf" + url.encode() + b"\r\n")
    await system.ready(system.intake_admin)
    await eventually(lambda: system.depth("raw.main"), within=15)
    assert HUSH not in system.log("intake")
    assert await system.terminate("intake") == 0
    system.settings["BROKER__URL"] = url
    del system.settings["BROKER__URL_FILE"]
