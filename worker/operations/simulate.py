"""`simulate`: a Zenoti of our own. Serves the invoice API, and sends salon visits to the door of one source."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from worker.adapters.invoice_api import new_session
from worker.app import require_sources, secret_of
from worker.core.errors import WrongSettings
from worker.settings import SecretSpec, Settings, Source
from worker.simulator.api import build_api
from worker.simulator.webhooks import WebhookSender, send_visits
from worker.simulator.world import WebhookEvent, World
from worker.telemetry import log

DEFAULT_API_KEY = "simulator"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate: where the API listens, whose webhooks are sent where, how many visits at which rate.

    `others` is the share of events of other kinds between those of the visits, from 0 to below 1.
    """

    host: str
    port: int
    source: str | None
    door: str | None
    visits: int | None
    rate: float
    others: float = 0.0
    seed: int | None


async def simulate(settings: Settings, stop: asyncio.Event, wish: Wish) -> int:
    """Serve the API and send visits until stop is set, or as many are sent as were wished for."""
    require_sources(settings)
    if not 0 <= wish.others < 1:
        raise WrongSettings(f"--others {wish.others:g}: a share of all events, from 0 to below 1")
    name = wish.source or next(iter(settings.sources))
    source = settings.sources.get(name)
    if source is None:
        raise WrongSettings(f"--source {name}: there is no such source; known are {', '.join(settings.sources)}")
    world = World(random.SystemRandom().randrange(2**32) if wish.seed is None else wish.seed)
    key = _first(f"sources.{name}.api_key", source.api_key) or DEFAULT_API_KEY
    async with serving(world, host=wish.host, port=wish.port, api_key=key) as port:
        log.info("simulator_listening", host=wish.host, port=port)
        if wish.visits == 0:
            await stop.wait()
            return 0
        door = wish.door or f"http://{settings.intake.host}:{settings.intake.port}/webhooks/{name}"
        refused = await _send(world, source, name=name, door=door, stop=stop, wish=wish)
    return 1 if refused else 0


@asynccontextmanager
async def serving(world: World, *, host: str, port: int, api_key: str) -> AsyncIterator[int]:
    """The invoice API while the body runs; yields its port."""
    runner = web.AppRunner(build_api(world, api_key=api_key), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _send(world: World, source: Source, *, name: str, door: str, stop: asyncio.Event, wish: Wish) -> int:
    """Send until done or stopped; returns how many events the door did not take."""
    secret = _first(f"sources.{name}.webhook_secret", source.webhook_secret)
    token = _first(f"sources.{name}.webhook_token", source.webhook_token)
    refused = 0

    def on_sent(event: WebhookEvent, status: int) -> None:
        nonlocal refused
        refused += not web.HTTPOk.status_code <= status < web.HTTPMultipleChoices.status_code
        log.info("simulator_sent", event_type=event.event_type, event_id=event.event_id, status=status)

    async with new_session() as session:
        sender = WebhookSender(door, secret=secret.encode() if secret else None, token=token, session=session)
        sending = asyncio.ensure_future(
            send_visits(
                sender,
                world,
                visits=wish.visits,
                rate=wish.rate,
                now=lambda: datetime.now(UTC),
                on_sent=on_sent,
                others=wish.others,
            )
        )
        stopping = asyncio.ensure_future(stop.wait())
        done, _ = await asyncio.wait([sending, stopping], return_when=asyncio.FIRST_COMPLETED)
        if sending in done:
            sending.result()
        for task in (sending, stopping):
            task.cancel()
        await asyncio.wait([sending, stopping])
    return refused


def _first(key: str, spec: SecretSpec) -> str | None:
    values = secret_of(key, spec).texts()
    return values[0] if values else None
