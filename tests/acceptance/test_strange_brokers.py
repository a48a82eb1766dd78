"""Whatever answers on the broker's port, or stands where its URL should: daemons stay up, and events are kept."""

import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from yarl import URL

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually
from tests.proxy import Proxy
from tests.strange_brokers import STRANGE, StrangeBroker

PASSWORD = "pass-word-of-the-url"
AGAIN = 2  # attempts to connect: the first was outlived
ANSWER_SECONDS = 10.0  # then Zenoti gives up


class Url:
    """The file of broker.url."""

    def __init__(self, system: System, folder: Path) -> None:
        self.file = folder / "broker-url"
        self.right = system.settings.pop("BROKER__URL")
        system.settings["BROKER__URL_FILE"] = str(self.file)

    def write(self, text: str | bytes) -> None:
        """As an operator does: the whole file at once."""
        new = self.file.with_suffix(".new")
        new.write_bytes(text.encode() if isinstance(text, str) else text)
        new.replace(self.file)


class Posts:
    """Events posted, each of which must come out."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.receipts: set[str] = set()

    async def __call__(self) -> float:
        """Post an event; return the seconds that its answer took."""
        body = json.dumps({"event_id": f"e{len(self.receipts)}", "event_type": "Guest.Created"}).encode()
        began = time.monotonic()
        status, _, said = await http("POST", self._system.door, body=body, headers=signed(body))
        assert status == 202, said
        self.receipts.add(json.loads(said)["receipt_id"])
        return time.monotonic() - began

    async def have_come(self) -> None:
        """Every event is in the raw queue, once or more often."""

        async def enough() -> bool:
            return await self._system.depth("raw.main") >= len(self.receipts)

        await eventually(enough, within=60)
        found = await self._system.take("raw.main", await self._system.depth("raw.main"))
        assert {str(message.message_id) for message in found} == self.receipts


def quiet(system: System, name: str) -> None:
    """Nothing of the URL's secret is logged, and no traceback."""
    logged = system.log(name)
    assert PASSWORD not in logged
    assert "Traceback" not in logged
    assert '"event":"defect"' not in logged


WORST = (
    "no capabilities",
    "high bytes",
    "closes at once",
    "another version",
    "no mechanisms",
    "tunes to nothing",
    "garbage once it is open",
    "refuses the virtual host",
)


async def test_strange_brokers(system: System, tmp_path: Path) -> None:
    """Handshakes that go wrong are outlived from the start; posts are answered 202, and come out at a true broker."""
    url, post = Url(system, tmp_path), Posts(system)
    async with AsyncExitStack() as listening:
        brokers = [await listening.enter_async_context(StrangeBroker(STRANGE[name])) for name in WORST]
        url.write(",".join(f"amqp://guest:{PASSWORD}@127.0.0.1:{broker.port}/?heartbeat=1" for broker in brokers))
        process = await system.spawn("intake", "intake")
        await system.ready(system.intake_admin, whole=False)
        for broker in brokers:
            await eventually(broker.has_been_met, within=60)
            assert await post() < ANSWER_SECONDS
        assert process.returncode is None
        url.write(url.right)
    await system.ready(system.intake_admin)
    await post()
    await post.have_come()
    quiet(system, "intake")


def long_label(right: str) -> str:
    """A host that no DNS can be asked for."""
    return str(URL(right).with_password(PASSWORD).with_host(f"{'a' * 70}.example"))


WRONG: dict[str, Callable[[str], str | bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: "",
    "blank lines": lambda _: "\n \n",
    "half a URL": lambda right: right[:9],
    "no URL": lambda _: f"guest:{PASSWORD}",
    "another scheme": lambda right: right.replace("amqp://", "http://"),
    "no number for a port": lambda _: f"amqp://guest:{PASSWORD}@127.0.0.1:port/",
    "a port that is none": lambda _: f"amqp://guest:{PASSWORD}@127.0.0.1:99999/",
    "no UTF-8": lambda _: b"amqp://guest:\xff\xfe@127.0.0.1\xff/",
    "a host that cannot be encoded": long_label,
    "a virtual host that is not there": lambda right: str(URL(right).with_path("/no-such-one")),
    "a CA that is not there": lambda _: f"amqps://guest:{PASSWORD}@127.0.0.1:1/?cafile=/no/such/file",
}


@pytest.mark.parametrize("what", [*WRONG, "a directory"])
async def test_a_wrong_url_file(system: System, tmp_path: Path, what: str) -> None:
    """The door starts and stays up with a wrong broker.url_file, keeps events, and connects once it is right."""
    url, post = Url(system, tmp_path), Posts(system)
    if what == "a directory":
        url.file.mkdir()
    elif (text := WRONG[what](url.right)) is not None:
        url.write(text)
    process = await system.spawn("intake", "intake")
    await system.ready(system.intake_admin, whole=False)
    assert await post() < ANSWER_SECONDS
    await eventually(lambda: system.log("intake").count('"broker_away"') >= AGAIN, within=30)
    assert process.returncode is None
    if what == "a directory":
        url.file.rmdir()
    url.write(url.right)
    await system.ready(system.intake_admin, within=40)
    await post.have_come()
    quiet(system, "intake")


@pytest.mark.parametrize("half", ["", "amqp://guest:gu", "amqp://"])
async def test_a_url_file_that_is_being_written(system: System, tmp_path: Path, half: str) -> None:
    """Neither door nor consumers end where they must connect again while the file is half-written."""
    async with Proxy(system.settings["BROKER__URL"]) as proxy:
        url, post = Url(system, tmp_path), Posts(system)
        url.write(proxy.url)
        await system.start()
        url.write(half)
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: system.log("intake").count('"broker_away"') >= AGAIN, within=30)
        await eventually(lambda: system.log("consume").count('"broker_away"') >= AGAIN, within=30)
        assert await post() < ANSWER_SECONDS
        assert [process.returncode for process in system.processes.values()] == [None, None]
        url.write(url.right)
        await system.ready(system.intake_admin, within=40)
        await system.ready(system.consume_admin, within=40)
        assert len(await system.take("out.all", 1)) == 1
        quiet(system, "intake")


async def test_consumers_and_strange_brokers(system: System, tmp_path: Path) -> None:
    """Consumers outlive what goes wrong on their way back to the broker."""
    async with Proxy(system.settings["BROKER__URL"]) as proxy, StrangeBroker(STRANGE["no capabilities"]) as broker:
        url, post = Url(system, tmp_path), Posts(system)
        url.write(proxy.url)
        await system.start()
        url.write(f"amqp://guest:{PASSWORD}@127.0.0.1:{broker.port}/")
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: broker.connections > 2 * AGAIN, within=40)
        assert system.processes["consume"].returncode is None
        await post()
        url.write(url.right)
        await system.ready(system.consume_admin, within=40)
        assert len(await system.take("out.all", 1, within=40)) == 1
        quiet(system, "consume")
