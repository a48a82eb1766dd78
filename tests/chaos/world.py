"""Everything of one run together: broker, daemons, API, load, readers, ledger; put up in order, taken down in order."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import broker as local
from tests.chaos import daemons, hands, rabbit
from tests.chaos.api import Api
from tests.chaos.daemons import Daemon
from tests.chaos.events import PREFIX, QUEUES
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.rabbit import Broker

EACH = 2  # daemons of a kind
SETTLE_SECONDS = 5.0  # a node that is killed within a second of declaring can lose what it declared: rabbitmq/ra
DEAD = f"{PREFIX}.dead"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is made of.

    Attributes:
        seed: of all that is left to chance.
        nodes: of the broker.
        rate: events a second.
        programs: the folder with rabbitmq-server and rabbitmqctl.
        folder: for logs, spool and report.
        config: lines for rabbitmq.conf.
        advanced: the text of advanced.config.
        settings: of the product, over the suite's own.
    """

    seed: int
    nodes: int
    rate: float
    programs: Path
    folder: Path
    config: str = ""
    advanced: str = ""
    settings: Mapping[str, str]


@dataclass(kw_only=True)
class World:
    """What faults work on; `read` takes everything out of more queues from now on, into the ledger."""

    plan: Plan
    broker: Broker
    daemons: list[Daemon]
    api: Api
    load: Load
    ledger: Ledger
    queues: list[str]
    release: str
    read: Callable[[Sequence[str]], None]

    def of(self, kind: str) -> list[Daemon]:
        """The daemons of a kind."""
        return [daemon for daemon in self.daemons if daemon.kind == kind]

    async def depths(self) -> dict[str, int]:
        """What is ready in each of our queues; those that are empty, or cannot be asked for, are left out."""
        found = await hands.depths(self.broker.urls, self.queues)
        return {name: count for name, count in found.items() if count}


@asynccontextmanager
async def standing(plan: Plan) -> AsyncIterator[World]:
    """Put everything up, ready and under load."""
    hands.hush()
    hands.read_any_timestamp()
    async with AsyncExitStack() as undo:
        # A guard of the daemons' own, which kills them if this process dies: theirs are sessions apart.
        _, guard = undo.enter_context(local.guarded_home())
        broker = await undo.enter_async_context(
            rabbit.running(
                plan.nodes, programs=plan.programs, folder=plan.folder, config=plan.config, advanced=plan.advanced
            )
        )
        api = Api()
        await api.start()
        undo.push_async_callback(api.stop)

        def settings(turn: int) -> dict[str, str]:
            own = daemons.settings_of(broker_url=broker.urls_by_proxy(turn), api_url=api.url, folder=plan.folder)
            return {**own, **plan.settings}

        queues = await daemons.declare(settings(0))
        await asyncio.sleep(SETTLE_SECONDS)
        running = [
            Daemon(f"{kind}-{turn + 1}", arguments, settings(turn), folder=plan.folder, guard=guard)
            for kind, arguments in daemons.COMMANDS.items()
            for turn in range(EACH)
        ]
        undo.push_async_callback(_kill_all, running)
        await asyncio.gather(*(daemon.start() for daemon in running))
        await asyncio.gather(*(daemon.ready() for daemon in running))

        ledger = Ledger()
        doors = [daemon.door for daemon in running if daemon.kind == "intake"]
        load = Load(doors, ledger, rate=plan.rate, rng=random.Random(f"{plan.seed} load"))
        undo.push_async_callback(load.close)

        def keep(queue: str, body: bytes, headers: Mapping[str, Any], redelivered: bool) -> None:  # noqa: FBT001  # Keep
            if queue == DEAD:
                ledger.bury(body, headers)
            else:
                ledger.arrive(queue, body, again=redelivered, at=time.monotonic())

        group = await undo.enter_async_context(asyncio.TaskGroup())  # a reader that fails ends the run

        def read(queues: Sequence[str]) -> None:
            undo.callback(group.create_task(hands.Reader(broker.urls, queues, keep).run()).cancel)

        read([*QUEUES, DEAD])
        yield World(
            plan=plan,
            broker=broker,
            daemons=running,
            api=api,
            load=load,
            ledger=ledger,
            queues=queues,
            release=await hands.release(broker.urls[0]),
            read=read,
        )


async def _kill_all(running: list[Daemon]) -> None:
    for daemon in running:
        if daemon.process is not None and not daemon.died():
            await daemon.kill()
