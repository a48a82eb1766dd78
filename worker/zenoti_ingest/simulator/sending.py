"""Carries out a plan: posts each event at its time, the events of an invoice in order, retries beside the rest.

The world takes over an event's state just before its first post. Events behind the plan are sent as fast as possible.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterable
from typing import Final

from zenoti_ingest.simulator import plans
from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.counters import WebhookCounters
from zenoti_ingest.simulator.plans import Now, Planned
from zenoti_ingest.simulator.registration import Registration
from zenoti_ingest.simulator.switches import Switches, WebhookSwitches
from zenoti_ingest.simulator.webhooks import NO_ANSWER, WebhookSender, taken
from zenoti_ingest.simulator.world import WebhookEvent, World

OnSent = Callable[[WebhookEvent, int], None]

_LANES: Final = 128  # posts under way at the same time


async def send(
    plan: Iterable[Planned], world: World, registration: Registration, *, board: Board, on_sent: OnSent
) -> None:
    """Carry out the plan; return when each of its events is taken, given up, or skipped.

    Args:
        plan: the events and their times.
        world: takes over the state of each event.
        registration: the webhook.
        board: holds the counters and the speed.
        on_sent: called once per event, with the status of its last try; 0: no answer, or the webhook is off.
    """
    start = asyncio.get_running_loop().time()
    # A lock is granted in order of arrival, so events that share a lock keep their order.
    lanes = [asyncio.Lock() for _ in range(_LANES)]

    async def deliver(event: WebhookEvent, lane: asyncio.Lock) -> None:
        try:
            status = await registration.first_try(event)
        finally:
            lane.release()
        if status is not None and not taken(status):
            status = await registration.later_tries(event)
        on_sent(event, status or NO_ANSWER)

    async with asyncio.TaskGroup() as posts:
        for planned in plan:
            await _until(start + planned.at / board.speed)
            lane = lanes[zlib.crc32(planned.event.invoice_id.lower().encode() or planned.event.body) % _LANES]
            await lane.acquire()
            _count(planned, board.webhooks)
            if planned.disturbed != "duplicate":  # it has nothing new, so nobody needs to fetch its invoice again
                world.sent(planned.event)
            posts.create_task(deliver(planned.event, lane))


async def send_visits(
    sender: WebhookSender, world: World, *, visits: int | None, rate: float, now: Now, on_sent: OnSent
) -> None:
    """Send visits without disturbances, in real time and without a test request; `visits` None: until cancelled."""
    board = Board(keys=["-"], switches=Switches(webhooks=WebhookSwitches(rate=rate)))
    board.untested = False
    plan = plans.visits(world, count=visits, now=now, switched=lambda: board.switches.webhooks)
    await send(plan, world, Registration(sender, board), board=board, on_sent=on_sent)


def _count(planned: Planned, counters: WebhookCounters) -> None:
    counters.events += 1
    counters.duplicates += planned.disturbed == "duplicate"
    counters.reordered += planned.disturbed == "reordered"
    counters.bare += bool(planned.event.path_type)


async def _until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
