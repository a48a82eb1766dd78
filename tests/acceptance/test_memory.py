"""What consumers keep in memory is bounded in bytes, whatever the events are: few and large, many, compressed."""

import asyncio
import gzip
import hashlib
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web

from tests.acceptance.conftest import System, http
from tests.acceptance.signing import signed
from tests.eventually import eventually

MIB = 1024 * 1024
BOUND = 4 * MIB  # of each stage, in these runs
TOGETHER = 4  # posts
MOST_MIB = 128  # of a consumer; some 50 are its own, then come the bound, an event in several shapes, a margin


def body(number: int, size: int, *, invoice: str = "", wide: bool = False) -> bytes:
    """A webhook of so many bytes; `wide`: with a character that makes four bytes of each in a text of Python's."""
    about = f'"invoice":{{"id":"{invoice}"}},' if invoice else ""
    head = (
        f'{{"event_id":"e-{number}","event_type":"Some.Thing","data":{{{about}"text":"{"😀" if wide else ""}'.encode()
    )
    return head + b"x" * (size - len(head) - 3) + b'"}}'


async def post(system: System, bodies: Sequence[bytes], *, packed: bool = False) -> None:
    """Let the door take them all, compressed where they are `packed`."""
    encoding = {"Content-Encoding": "gzip"} if packed else {}

    async def post_one(plain: bytes) -> None:
        sent = gzip.compress(plain) if packed else plain
        status, _, _ = await http("POST", system.door, data=io.BytesIO(sent), headers=signed(sent) | encoding)
        assert status == 202

    for at in range(0, len(bodies), TOGETHER):
        await asyncio.gather(*map(post_one, bodies[at : at + TOGETHER]))


class Out:
    """What comes out downstream, looked at and thrown away: digests of the webhooks' bodies, by event id."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.count = 0

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Look at an event."""
        body = message.body
        at, end = body.index(b'"event":') + 8, body.rindex(b',"invoice":')
        self.digests[str(message.headers["ce-eventid"])] = hashlib.sha256(body[at:end]).hexdigest()
        self.count += 1
        await message.ack()


@asynccontextmanager
async def taking(system: System) -> AsyncIterator[Out]:
    """Take what comes out for `all`, a few at a time."""
    out = Out()
    async with system.connection.channel() as channel:
        await channel.set_qos(prefetch_count=4)
        await (await channel.get_queue(f"{system.prefix}.out.all")).consume(out.take)
        yield out


def peak_mib(system: System, name: str) -> float:
    """The most that a process has had in memory."""
    status = Path(f"/proc/{system.processes[name].pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


async def backlog(system: System, bodies: Sequence[bytes], *, packed: bool = False, stage: str = "translate") -> None:
    """Let events pile up before a stage; nothing consumes afterwards."""
    assert (await system.run("topology", "apply"))[0] == 0
    await system.spawn("intake", "intake")
    await system.ready(system.intake_admin)
    await post(system, bodies, packed=packed)
    if stage == "enrich":
        await system.spawn("before", "consume", "--stage", "translate")
        await system.ready(system.consume_admin)
        await eventually(lambda: _depth_is(system, "enrich.main.0", len(bodies)), within=60)
        await system.terminate("before")


async def drained(system: System, bodies: Sequence[bytes], *, stage: str, within: float = 90.0) -> float:
    """Run a stage until all of these events are out, exactly as they came in; returns the MiB that it had at most."""
    await system.spawn("consume", "consume", "--stage", stage)
    await system.ready(system.consume_admin)
    async with taking(system) as out:
        await eventually(lambda: len(out.digests) >= len(bodies), within=within)
    assert system.processes["consume"].returncode is None
    assert out.digests == {f"e-{n}": hashlib.sha256(body).hexdigest() for n, body in enumerate(bodies)}
    assert out.count == len(bodies)
    assert await system.depth("dead") == 0
    peak = peak_mib(system, "consume")
    print(f"{peak:.0f} MiB at most")  # noqa: T201  # for who runs it by hand
    return peak


async def _depth_is(system: System, queue: str, count: int) -> bool:
    return await system.depth(queue) == count


@pytest.fixture
def bounded(system: System) -> System:
    """An installation with small bounds, and one receiver."""
    system.settings |= {
        "CONSUMER__TRANSLATE_MAX_BYTES": str(BOUND),
        "CONSUMER__ENRICH_MAX_BYTES": str(BOUND),
        "LOG__LEVEL": "info",
    }
    del system.settings["DOWNSTREAM__INVOICES__EVENTS"]
    return system


async def test_compressed_events_into_translate(bounded: System) -> None:
    """Some kilobytes each on the wire, a MiB inflated: translate keeps one of them inflated at a time."""
    bodies = [body(number, MIB, wide=number % 2 == 0) for number in range(100)]
    await backlog(bounded, bodies, packed=True)
    assert await drained(bounded, bodies, stage="translate") < MOST_MIB


async def test_compressed_events_into_enrich(bounded: System) -> None:
    """The same on a lane, of few invoices: they wait compressed, and go out one at a time."""
    bodies = [body(number, MIB, invoice=f"i-{number % 5}", wide=number % 2 == 0) for number in range(60)]
    await backlog(bounded, bodies, packed=True, stage="enrich")
    assert await drained(bounded, bodies, stage="enrich") < MOST_MIB


@pytest.mark.parametrize("stage", ["translate", "enrich"])
async def test_large_events(bounded: System, stage: str) -> None:
    """Many times the bound waits: so few are taken at a time as fit, and all of them come out."""
    invoice = "i-{}" if stage == "enrich" else ""
    bodies = [body(number, 300_000, invoice=invoice.format(number % 50)) for number in range(200)]
    await backlog(bounded, bodies, stage=stage)
    assert await drained(bounded, bodies, stage=stage) < MOST_MIB
    log = bounded.log("consume")
    found = [json.loads(line) for line in log.splitlines() if '"subscribed"' in line]
    counts = [line["prefetch"] for line in found if line["stage"] == stage]
    assert counts[0] > 100
    assert counts[-1] <= 10  # so many are in 3 MiB
    assert 2 <= len(counts) < 6


@pytest.mark.parametrize("stage", ["translate", "enrich"])
async def test_events_that_are_each_larger_than_the_bound(bounded: System, stage: str) -> None:
    """A single event always makes progress."""
    bounded.settings |= {"INTAKE__MAX_BODY_BYTES": str(8 * MIB), "BROKER__MAX_MESSAGE_BYTES": str(16 * MIB)}
    invoice = "i-{}" if stage == "enrich" else ""
    bodies = [body(number, 5 * MIB, invoice=invoice.format(number)) for number in range(4)]
    await backlog(bounded, bodies, stage=stage)
    assert await drained(bounded, bodies, stage=stage) < MOST_MIB + 64


async def test_small_events_and_then_large_ones(bounded: System) -> None:
    """A lane that has learnt to take hundreds at a time keeps to its bound when large events arrive, losing nothing."""
    small = [body(number, 1000, invoice=f"i-{number % 7}") for number in range(200)]
    large = [body(number, 300_000, invoice=f"i-{number % 7}") for number in range(200, 270)]
    await backlog(bounded, small + large, stage="enrich")
    assert await drained(bounded, small + large, stage="enrich") < MOST_MIB


async def test_many_events_of_one_invoice_whose_answer_is_large(bounded: System) -> None:
    """The answer goes out with each of them: one at a time."""
    document = b'{"id":"i-1","text":"%s"}' % (b"y" * (4 * MIB))

    async def answer(invoice_id: str) -> web.Response:
        assert invoice_id == "i-1"
        return web.Response(body=b'{"invoice":%s,"error":null}' % document, content_type="application/json")

    bounded.api.answer = answer
    bodies = [body(number, 1000, invoice="i-1") for number in range(30)]
    await backlog(bounded, bodies, stage="enrich")
    assert await drained(bounded, bodies, stage="enrich") < MOST_MIB + 64


async def test_many_large_answers(bounded: System) -> None:
    """No call begins while what was brought is not out: a slow way out keeps few answers in memory."""

    async def answer(invoice_id: str) -> web.Response:
        await asyncio.sleep(0.05)
        text = b'{"invoice":{"id":"%s","text":"%s"},"error":null}' % (invoice_id.encode(), b"y" * MIB)
        return web.Response(body=text, content_type="application/json")

    bounded.api.answer = answer
    bodies = [body(number, 1000, invoice=f"i-{number}") for number in range(100)]
    await backlog(bounded, bodies, stage="enrich")
    assert await drained(bounded, bodies, stage="enrich") < MOST_MIB + 64
