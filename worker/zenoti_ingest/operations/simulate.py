"""`simulate`: a Zenoti of our own. It serves the invoice API and its control, and sends webhooks to a source's door."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from zenoti_ingest.adapters.invoice_api import new_session
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.app.sources import Source
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.simulator import plans
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.listener import Listener, listening
from zenoti_ingest.simulator.plans import Now, Planned
from zenoti_ingest.simulator.registration import Registration, patience_seconds
from zenoti_ingest.simulator.sending import send
from zenoti_ingest.simulator.switches import Switches
from zenoti_ingest.simulator.webhooks import WebhookSender
from zenoti_ingest.simulator.world import WebhookEvent, World
from zenoti_ingest.telemetry import log

DEFAULT_API_KEY: Final = "simulator"
TRACES: Final[dict[str, Callable[[World, Now, int], Iterator[Planned]]]] = {
    "closing-time": lambda world, now, invoices: plans.closing_time(world, now=now, invoices=invoices)
}
_QUIET_SECONDS: Final = 3.0  # without a call: the call for the very last event may still come
_STOP_POLL_SECONDS: Final = 0.1


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate: where the API listens, whose webhooks are sent where, which and how.

    Attributes:
        trace: a name of TRACES, sent instead of visits.
        invoices: how many invoices the trace has.
        visits: how many visits; 0: only the API; None: without end.
        linger: seconds without a call after which the run ends, once all is sent.
        speed: how many simulated seconds pass in a second.
        json: print the counts on stdout at the end.
    """

    host: str = "127.0.0.1"
    port: int = 0
    source: str | None = None
    door: str | None = None
    visits: int | None = None
    trace: str | None = None
    invoices: int = plans.CLOSING_TIME_INVOICES
    linger: float = 30.0
    speed: float = 1.0
    seed: int | None = None
    json: bool = False
    switches: Switches = Switches()


async def simulate(installation: Installation, stop: asyncio.Event, wish: Wish) -> int:
    """Serve and send until stop is set, or until all is sent and asked for; returns 1 if the door refused an event.

    Raises:
        WrongSettings: there is no source, or not the source that is wished for; or a secret's file cannot be used.
    """
    sources = installation.require_sources()
    name = wish.source or next(iter(sources))
    source = sources.get(name)
    if source is None:
        raise WrongSettings(f"--source {name}: there is no such source; known are {', '.join(sources)}")
    seed = random.SystemRandom().randrange(2**32) if wish.seed is None else wish.seed
    world, key = World(seed), _first(source.api_keys()) or DEFAULT_API_KEY
    board = Board(keys=[key], seed=seed, speed=wish.speed, switches=wish.switches)
    async with listening(world, board, host=wish.host, port=wish.port) as listener:
        log.info("simulator_listening", host=wish.host, port=listener.port, seed=seed)
        door = wish.door or installation.door_url(name)
        async with _sender(source, door=door, speed=wish.speed) as sender:
            await wait_or_stop(stop, _run(world, board, listener, sender, wish))
    shown = board.shown()
    log.info("simulator_ended", **shown["counters"])
    if wish.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n")
    return 1 if board.webhooks.given_up + board.webhooks.unsent else 0


@asynccontextmanager
async def serving(world: World, *, host: str, port: int, api_key: str) -> AsyncIterator[int]:
    """Serve the invoice API with its default switches while the body runs; yields its port."""
    async with listening(world, Board(keys=[api_key]), host=host, port=port) as listener:
        yield listener.port


async def _run(world: World, board: Board, listener: Listener, sender: WebhookSender, wish: Wish) -> None:
    """Send all events, and wait until all their invoices were asked for."""
    if wish.visits == 0 and wish.trace is None:
        await asyncio.Event().wait()

    def on_sent(event: WebhookEvent, status: int) -> None:
        log.info("simulator_sent", event_type=event.event_type, event_id=event.event_id, status=status)

    plan = plans.disturbed(_plan(world, board, wish), world, switched=lambda: board.switches.webhooks)
    await send(plan, world, Registration(sender, board), board=board, on_sent=on_sent)
    await _asked_for(world, listener, linger=wish.linger)


async def _asked_for(world: World, listener: Listener, *, linger: float) -> None:
    """Wait until each invoice was asked for after its last event, or until there was no call for `linger` seconds."""
    sent_at = time.monotonic()
    while True:
        quiet = time.monotonic() - max(sent_at, listener.api.called_at)
        left = (linger if world.unasked else min(_QUIET_SECONDS, linger)) - quiet
        if left <= 0:
            return
        await asyncio.sleep(min(left, _STOP_POLL_SECONDS))


@asynccontextmanager
async def _sender(source: Source, *, door: str, speed: float) -> AsyncIterator[WebhookSender]:
    """Yield a sender that posts to the door of this source, with the source's first secret and first token."""
    secret, token = _first(source.webhook_secrets()), _first(source.webhook_tokens())
    async with new_session(door) as session:
        yield WebhookSender(
            door,
            secret=secret.encode() if secret else None,
            token=token,
            session=session,
            patience_seconds=patience_seconds(speed),
        )


def _plan(world: World, board: Board, wish: Wish) -> Iterator[Planned]:
    def now() -> datetime:
        return datetime.now(UTC)

    if wish.trace is not None:
        return TRACES[wish.trace](world, now, wish.invoices)
    return plans.visits(world, count=wish.visits, now=now, switched=lambda: board.switches.webhooks)


async def wait_or_stop(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it ends, or until stop is set."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopping):
        task.cancel()
    await asyncio.wait([working, stopping])
    if working in done:
        working.result()


def _first(values: Sequence[str]) -> str | None:
    return values[0] if values else None
