"""The life of a consuming stage: subscribe, work, hand back, again. Retries what the broker broke; never gives up.

Whatever ends a subscription (a lost channel, an open circuit, a stop, an event held too long) leads to the same end:
nothing new is begun, what is in hand is finished, the channel is closed, and the broker has the rest, in order.
"""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec

from zenoti_ingest.adapters.broker import Delivery, Link, Subscription
from zenoti_ingest.core.delivery.prefetch import Prefetch
from zenoti_ingest.core.failures.backoff import Backoff
from zenoti_ingest.core.failures.defects import Defects
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import stage_stopped, subscriptions

FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 5.0  # a subscription that lived so long was a good one
KEEP_SECONDS = 5.0  # between two looks at a subscription
SILENT_SECONDS = 60.0  # messages are ready and none comes: then the broker does not know our consumer
LEAST_WINDOW = 100
WIDEN_AFTER = 10  # times hold_seconds without an event held too long
MAX_LOSSES = 5  # so many subscriptions lost soon after they began, in a row, and deliveries come one by one


class Stage(Protocol):
    """What a consuming stage brings.

    Attributes:
        name: `translate` or `enrich`.
        source: whose events it takes.
        queue: where from.
        max_bytes: of the bodies of its deliveries, as they came; one alone may be larger.
        defects: in a row.
        doing: `waiting` for the broker, `consuming` (an enrich may be the standby), `stopped`.
    """

    name: str
    source: str
    queue: str
    max_bytes: int
    defects: Defects
    doing: str

    @property
    def prefetch(self) -> int:
        """How many deliveries it can hold now."""

    def open(self, subscription: Subscription) -> None:
        """Be ready for deliveries: the first can come before `serve` has begun."""

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take one delivery; each runs in a task of its own."""

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Work until the subscription has ended or stop is set, then finish what is in hand."""

    def wake(self) -> None:
        """The subscription has ended, or stop is set."""


class _Fortune(msgspec.Struct):
    """How the last subscriptions went.

    Attributes:
        backoff: how long to wait before the next.
        losses: how many were lost one after the other, soon after they began. A message that breaks the client as it
            is read makes that happen for ever; with a prefetch of one it takes no neighbour along.
        silent: seconds without a delivery after which a subscription is taken for dead.
        counts: how many deliveries at most, by their sizes.
        window: how many deliveries at most: what could be settled while one may be held, where that was too few.
    """

    silent: float
    counts: Prefetch
    backoff: Backoff = msgspec.field(default_factory=lambda: Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
    losses: int = 0
    window: int = sys.maxsize

    @property
    def is_careful(self) -> bool:
        """Whether deliveries are to come one by one."""
        return self.losses >= MAX_LOSSES

    def prefetch(self, wanted: int) -> int:
        """How many deliveries to take of those that the stage can hold."""
        return 1 if self.is_careful else min(wanted, self.window, self.counts.count)

    def note(self, *, lasted: float, lost: bool) -> None:
        """A subscription has ended."""
        if lasted > STEADY_SECONDS or not lost:
            self.losses = 0
        if lasted > STEADY_SECONDS:
            self.backoff.succeeded()
        elif lost:
            self.losses += 1


async def consume(
    stage: Stage, *, link: Link, publisher: Link, stop: asyncio.Event, hold_seconds: float = 900.0
) -> None:
    """Run a stage until stop is set and its work is handed back.

    Args:
        stage: what to run.
        link: the connection to consume by.
        publisher: the connection to publish by; nothing is taken while it is away.
        stop: ends it.
        hold_seconds: how long a delivery may be in our hands; half the broker's consumer time-out.
    """
    fortune = _Fortune(silent=SILENT_SECONDS, counts=Prefetch(stage.prefetch, max_bytes=stage.max_bytes))
    stage_stopped.labels(stage.name, stage.source).set(0)
    while not stop.is_set():
        stage.doing = "waiting"
        if stage.defects.are_too_many:
            stage.doing = "stopped"
            stage_stopped.labels(stage.name, stage.source).set(1)
            log.error("stage_stopped", stage=stage.name, queue=stage.queue, defects=stage.defects.in_a_row)
            await stop.wait()
        await _unless(stop, publisher.wait_ready())
        await _unless(stop, link.wait_ready())
        if stop.is_set():
            return
        detail = await _session(stage, link, stop, fortune=fortune, hold_seconds=hold_seconds)
        if detail and not stop.is_set():  # else it ended as it should
            pause = fortune.backoff.failed()
            log.warning(
                "subscription_ended", stage=stage.name, queue=stage.queue, detail=detail, retry_seconds=round(pause, 1)
            )
            await _unless(stop, asyncio.sleep(pause))


async def _session(stage: Stage, link: Link, stop: asyncio.Event, *, fortune: _Fortune, hold_seconds: float) -> str:
    """One subscription from open to close; returns why it ended."""
    prefetch = fortune.prefetch(stage.prefetch)
    subscription = link.subscribe(
        stage.queue, prefetch=prefetch, on_delivery=stage.on_delivery, max_bytes=stage.max_bytes
    )
    stage.open(subscription)
    begun = asyncio.get_running_loop().time()
    try:
        async with subscription:
            stage.doing = "consuming"
            subscriptions.labels(stage.name, stage.source).inc()
            log.info("subscribed", stage=stage.name, queue=stage.queue, prefetch=prefetch)
            beside = [
                asyncio.create_task(_wake(stage, subscription, stop)),
                asyncio.create_task(_keep(stage, link, subscription, fortune=fortune, hold_seconds=hold_seconds)),
            ]
            if fortune.counts.can_grow and prefetch == fortune.counts.count:
                beside.append(asyncio.create_task(_widen(subscription, fortune.counts)))
            try:
                await stage.serve(subscription, stop)
            except BrokerUnavailable:
                raise
            except Exception:  # noqa: BLE001  # a defect of one stage is that stage's: what it held comes again
                log.exception("defect", stage=stage.name, queue=stage.queue)
                subscription.fail("a defect", defect=True)
            finally:
                for task in beside:
                    task.cancel()
    except BrokerUnavailable as error:
        return str(error)
    finally:
        ended = asyncio.get_running_loop().time()
        fortune.note(lasted=ended - begun, lost=subscription.lost)
        if subscription.passed_at:
            fortune.counts.passed(subscription.passed_at, now=ended)
        if subscription.by_defect:
            stage.defects.noted()
    if subscription.orderly:
        log.info("handed_back", stage=stage.name, queue=stage.queue, detail=subscription.detail)
        return ""
    return subscription.detail


async def _wake(stage: Stage, subscription: Subscription, stop: asyncio.Event) -> None:
    await _unless(stop, subscription.ended.wait())
    subscription.leaving.set()
    stage.wake()


async def _widen(subscription: Subscription, counts: Prefetch) -> None:
    """End a subscription that could take far more deliveries, once it has as many as it takes."""
    loop = asyncio.get_running_loop()
    while not subscription.ended.is_set():
        await subscription.filled.wait()
        subscription.filled.clear()
        held, held_bytes = len(subscription.in_hand), subscription.bytes_in_hand
        if counts.grow(held, held_bytes, returned=subscription.most_returned, now=loop.time()):
            subscription.fail(f"{held} events take {held_bytes} bytes: {counts.count} may be in hand", orderly=True)


async def _keep(
    stage: Stage, link: Link, subscription: Subscription, *, fortune: _Fortune, hold_seconds: float
) -> None:
    """End a subscription that has outlived its use: an event held too long, or silence where there should be none."""
    loop = asyncio.get_running_loop()
    begun = heard = loop.time()
    seen = 0
    while not subscription.ended.is_set():
        await asyncio.sleep(min(KEEP_SECONDS, hold_seconds / 4))
        if subscription.delivered != seen or subscription.unsettled:
            seen, heard = subscription.delivered, loop.time()
        if subscription.held_seconds() > hold_seconds:
            if stage.prefetch > 1:  # one alone says nothing of how many are too many
                fortune.window = max(LEAST_WINDOW, subscription.delivered - len(subscription.unsettled))
            subscription.fail(f"an event was held for over {hold_seconds:g} s", orderly=True)
        elif fortune.is_careful and loop.time() - begun > STEADY_SECONDS:
            subscription.fail("steady: deliveries need not come one by one any more", orderly=True)
        elif fortune.window < fortune.counts.count and loop.time() - begun > WIDEN_AFTER * hold_seconds:
            fortune.window *= 2
            subscription.fail("nothing was held for long: the window may be wider", orderly=True)
        elif loop.time() - heard > fortune.silent:
            heard = loop.time()
            if await _ready(link, stage.queue):
                fortune.silent = 2 * fortune.silent  # a standby of a busy lane hears nothing either
                subscription.fail("messages are ready and none is delivered")


async def _ready(link: Link, queue: str) -> int:
    try:
        return await link.ready(queue)
    except BrokerUnavailable as error:
        log.debug("queue_unseen", queue=queue, detail=str(error))
        return 0


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
