"""What breaks alone, while everything else must keep its pace: each strikes, and heals as its block ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from tests.chaos.daemons import Daemon
from tests.chaos.events import FULL, Event
from tests.chaos.ledger import Answered
from tests.chaos.world import World
from tests.proxy import Proxy

FREEZE_SECONDS = 40.0  # by then the broker has missed heartbeats, and the successor is at work
AHEAD_SECONDS = 3600
STRANGERS, REQUESTS, AT_ONCE = 300, 40, 10  # connections; wrongly signed requests of each; so many in one write
IN_FLIGHT_SECONDS = 5.0
_STRANGE = (
    b"POST /webhooks/main HTTP/1.1\r\nHost: door\r\nzenoti-webhook-signature: sha256 =AB\r\nContent-Length: 2\r\n\r\n{}"
)


@dataclass
class Scene:
    """What the parts work on.

    Attributes:
        world: the rest of it.
        proxies: the way of some daemons to the broker, by name: each its own.
        spooling: from when until when `intake-1` spooled into a file that was damaged then.
    """

    world: World
    proxies: Mapping[str, Proxy]
    spooling: list[tuple[float, float]] = field(default_factory=list)

    def active(self) -> Daemon:
        """The enrich process that called last: the lane's active consumer."""
        latest = self.world.api.latest
        return max(self.world.of("enrich"), key=lambda daemon: latest.get(daemon.name, 0.0))


@dataclass(frozen=True)
class Part:
    """One thing that breaks.

    Attributes:
        name: in the table, and for --only and --without.
        others: which events it must not touch, in words.
        is_other: whether an event is one of them; what belongs among the dead letters never is.
        strike: breaks it, and heals it at the end of the block.
        least: seconds that it lasts at least.
        copies: allowed of each of the others that was in flight when it began.
    """

    name: str
    others: str
    is_other: Callable[[Event, Answered], bool]
    strike: Callable[[Scene], AbstractAsyncContextManager[None]]
    least: float = 15.0
    copies: int = 0


@asynccontextmanager
async def _beside(scene: Scene, make: Callable[[], Event], *, every: float) -> AsyncIterator[None]:
    """The usual load, and events of another kind beside it."""

    async def send() -> None:
        while True:
            scene.world.load.send(make())
            await asyncio.sleep(every)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()


def _sick(scene: Scene) -> AbstractAsyncContextManager[None]:
    """Invoices for which the API answers 500, for ever: their events go down the ladder to the dead letters."""
    return _beside(scene, scene.world.load.maker.sick, every=2)


def _too_large(scene: Scene) -> AbstractAsyncContextManager[None]:
    return _beside(scene, scene.world.load.maker.too_large, every=2)


@asynccontextmanager
async def _gateway(scene: Scene) -> AsyncIterator[None]:
    """To every call a gateway answers 404, in HTML."""
    await scene.world.api.become("gateway")
    try:
        yield
    finally:
        await scene.world.api.become("ok")


@asynccontextmanager
async def _full(scene: Scene) -> AsyncIterator[None]:
    """A queue of three that nobody reads; half of the guests are meant for it, too. Afterwards it is read for good."""
    world = scene.world
    async with _beside(scene, world.load.maker.for_full, every=0.25):
        yield
    world.read([FULL])


@asynccontextmanager
async def _spool(scene: Scene) -> AsyncIterator[None]:
    """One intake has no broker and spools; three bytes in the middle of its file are overwritten.

    It is restarted (SIGTERM) then: the running process has the pages of a small file in memory and would not notice.
    The next process, its successor or the other intake, reads the file from the disk.
    """
    loop, proxy = asyncio.get_running_loop(), scene.proxies["intake-1"]
    [intake] = [daemon for daemon in scene.world.of("intake") if daemon.name == "intake-1"]
    began = loop.time()
    proxy.refusing = True
    proxy.cut()
    try:
        yield
        # That intake alone spools, so the largest file is its.
        files = (scene.world.plan.folder / "spool").rglob("*.db")
        file = max(files, key=lambda path: path.stat().st_size)
        with file.open("r+b") as raw:
            raw.seek(file.stat().st_size // 2)
            raw.write(b"\xff\x00\xff")
        scene.spooling.append((began, loop.time()))
        await _again(scene, intake)
    finally:
        proxy.refusing = False


@asynccontextmanager
async def _frozen(scene: Scene) -> AsyncIterator[None]:
    daemon = scene.active()
    daemon.freeze()
    try:
        yield
    finally:
        daemon.thaw()


@asynccontextmanager
async def _cut_off(scene: Scene) -> AsyncIterator[None]:
    """As a firewall does it: nothing is carried, nothing is closed until the end."""
    proxy = scene.proxies[scene.active().name]
    proxy.freeze()
    try:
        yield
    finally:
        proxy.cut()
        proxy.thaw()


@asynccontextmanager
async def _clock(scene: Scene) -> AsyncIterator[None]:
    """The lane's active consumer has a clock an hour ahead; before and after it, a right clock is active."""
    ahead = scene.active()
    [right] = [daemon for daemon in scene.world.of("enrich") if daemon is not ahead]
    as_usual = ahead.program
    ahead.program = ("-m", "tests.acceptance.wrong_clock", str(AHEAD_SECONDS))
    await _again(scene, ahead, right)  # each hands the lane to the other
    try:
        yield
    finally:
        ahead.program = as_usual
        await _again(scene, ahead)


@asynccontextmanager
async def _strangers(scene: Scene) -> AsyncIterator[None]:
    port = scene.world.of("intake")[0].port
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_stranger(port)) for _ in range(STRANGERS)]
        yield
        for task in tasks:
            task.cancel()


async def _stranger(port: int) -> None:
    """Write requests by and by, read nothing, and stay."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        try:
            for _ in range(REQUESTS // AT_ONCE):
                writer.write(_STRANGE * AT_ONCE)
                await writer.drain()
                await asyncio.sleep(2)
            await asyncio.Event().wait()
        finally:
            writer.transport.abort()


async def _again(scene: Scene, *ones: Daemon) -> None:
    for daemon in ones:
        if complaint := await daemon.again():
            scene.world.ledger.wrong.append(complaint)


def every_event(_: Event, __: Answered) -> bool:
    """Nobody may be touched."""
    return True


def _without_invoice(event: Event, _: Answered) -> bool:
    return event.invoice_id is None


def _by_door(_: Event, answered: Answered, *, door: int) -> bool:
    return answered.door == door


# Who is frozen or cut off is the lane's active consumer, the harder of the two cases. Until another takes over
# (heartbeats of 3 s here, the lease, ten intervals: some 15 s) the lane stands still, as docs/quota.md says. So only
# events without an invoice are the others. That nothing that waited is lost, and the quota kept, is looked at as well.
# A gateway's pages concern each event with an invoice. An intake without a broker concerns what it takes, nothing else.
PARTS = (
    Part("sick invoices", "all others", every_event, _sick),
    Part("gateway pages", "without invoice", _without_invoice, _gateway),
    Part("full receiver", "all, in the other queues", every_event, _full, copies=1),
    Part("oversized events", "all others", every_event, _too_large),
    Part("damaged spool", "by the other door", partial(_by_door, door=1), _spool),
    Part("frozen process", "without invoice", _without_invoice, _frozen, least=FREEZE_SECONDS),
    Part("cut-off process", "without invoice", _without_invoice, _cut_off, least=FREEZE_SECONDS),
    Part("clock an hour off", "all", every_event, _clock),
    Part("strangers", "all", every_event, _strangers),
)
