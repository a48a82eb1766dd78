"""A plan carried out: each event posted at its time, an invoice's own in order, retries beside the rest.

The world is as far as an event says from just before its first post. What falls behind the plan is caught up.
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

_LANES: Final = 128  # as many posts are under way at a time


async def send(
    plan: Iterable[Planned], world: World, registration: Registration, *, board: Board, on_sent: OnSent
) -> None:
    """Carry the plan out; returns when each of its events is taken, given up, or was not to be sent.

    Args:
        plan: what is to be sent when.
        world: is told of each event.
        registration: the webhook.
        board: counts, and tells the speed.
        on_sent: told once of every event, with the status of its last try; 0 is no answer, or a webhook that is off.
    """
    start = asyncio.get_running_loop().time()
    # A lock lets in by order of arrival, so what shares one keeps its order.
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
        for one in plan:
            await _until(start + one.at / board.speed)
            lane = lanes[zlib.crc32(one.event.invoice_id.lower().encode() or one.event.body) % _LANES]
            await lane.acquire()
            _count(one, board.webhooks)
            if one.disturbed != "duplicate":  # it tells nothing new, so nobody need ask for its invoice again
                world.sent(one.event)
            posts.create_task(deliver(one.event, lane))


async def send_visits(
    sender: WebhookSender, world: World, *, visits: int | None, rate: float, now: Now, on_sent: OnSent
) -> None:
    """Send visits undisturbed, in real time and without a test request first; None goes on until cancelled."""
    board = Board(keys=["-"], switches=Switches(webhooks=WebhookSwitches(rate=rate)))
    board.untested = False
    plan = plans.visits(world, count=visits, now=now, switched=lambda: board.switches.webhooks)
    await send(plan, world, Registration(sender, board), board=board, on_sent=on_sent)


def _count(one: Planned, counters: WebhookCounters) -> None:
    counters.events += 1
    counters.duplicates += one.disturbed == "duplicate"
    counters.reordered += one.disturbed == "reordered"
    counters.bare += bool(one.event.path_type)


async def _until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
