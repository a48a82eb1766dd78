"""The life of a consuming stage: subscribe, work, hand back, again. Retries what the broker broke; never gives up.

Whatever ends a subscription (a lost channel, a publish without a confirm, an open circuit, a stop) leads to the same
end: nothing new is begun, what is in hand is finished, the channel is closed, and the broker has the rest, in order.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from worker.adapters.broker import Delivery, Link, Subscription
from worker.core.errors import BrokerUnavailable
from worker.telemetry import log

FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0  # a subscription that lived so long was a good one


class Stage(Protocol):
    """What a consuming stage brings."""

    name: str
    queue: str
    prefetch: int

    async def admit(self) -> None:
        """Return when work may be taken; cancelled on stop."""

    def open(self, subscription: Subscription) -> None:
        """Be ready for deliveries: the first can come before `serve` has begun."""

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take one delivery; each runs in a task of its own."""

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Work until the subscription has ended or stop is set, then finish what is in hand."""

    def wake(self) -> None:
        """The subscription has ended, or stop is set."""


async def consume(stage: Stage, *, link: Link, publisher: Link, stop: asyncio.Event) -> None:
    """Run a stage until stop is set and its work is handed back."""
    pause = FIRST_PAUSE_SECONDS
    while not stop.is_set():
        await _unless(stop, stage.admit())
        await _unless(stop, publisher.wait_ready())
        await _unless(stop, link.wait_ready())
        if stop.is_set():
            return
        begun = asyncio.get_running_loop().time()
        detail = await _session(stage, link, stop)
        if asyncio.get_running_loop().time() - begun > STEADY_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        if not detail:  # it ended by itself, and is admitted again when it may
            continue
        if not stop.is_set():
            log.warning(
                "subscription_ended", stage=stage.name, queue=stage.queue, detail=detail, retry_seconds=round(pause, 1)
            )
            await _unless(stop, asyncio.sleep(pause))
            pause = min(2 * pause, MAX_PAUSE_SECONDS)


async def _session(stage: Stage, link: Link, stop: asyncio.Event) -> str:
    """One subscription from open to close; returns why it ended."""
    subscription = link.subscribe(stage.queue, prefetch=stage.prefetch, on_delivery=stage.on_delivery)
    stage.open(subscription)
    try:
        async with subscription:
            log.info("subscribed", stage=stage.name, queue=stage.queue)
            waker = asyncio.create_task(_wake(stage, subscription, stop))
            try:
                await stage.serve(subscription, stop)
            finally:
                waker.cancel()
            return subscription.detail
    except BrokerUnavailable as error:
        return str(error)


async def _wake(stage: Stage, subscription: Subscription, stop: asyncio.Event) -> None:
    await _unless(stop, subscription.ended.wait())
    stage.wake()


async def _unless(stop: asyncio.Event, awaited: Coroutine[Any, Any, Any]) -> None:
    """Wait for it, or for stop, whichever is first."""
    tasks = [asyncio.ensure_future(awaited), asyncio.ensure_future(stop.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()
