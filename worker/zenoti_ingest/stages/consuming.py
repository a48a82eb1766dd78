"""The life of a consuming stage: subscribe, work, hand back, subscribe again, until it is to stop.

Every subscription ends in the same way, whether by a lost channel, an open circuit, a stop, or an event held too long:
the stage begins nothing new and finishes what is in hand; closing the channel hands the rest back, in order.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.delivery.prefetch import Prefetch
from zenoti_ingest.core.delivery.subscription_history import SubscriptionHistory
from zenoti_ingest.core.failures.defects import Defects
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.stages.ports import Clock, Connects, Subscribes, Subscription
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import stage_stopped, subscriptions

CHECK_INTERVAL_SECONDS = 5.0
SILENT_SECONDS = 60.0  # without a delivery while messages are ready: the broker has forgotten our consumer


class Stage(Protocol):
    """A stage that `consume` can run.

    Attributes:
        name: `translate` or `enrich`.
        source: whose events it takes.
        queue: where it takes them from.
        max_bytes: bound on the bodies in hand, as they came; a single body may be larger.
        defects: counts defects in a row.
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
        """Take a delivery; each call runs in a task of its own."""

    async def serve(self, subscription: Subscription, stop: asyncio.Event) -> None:
        """Work until the subscription has ended or stop is set, then finish what is in hand."""

    def wake(self) -> None:
        """Wake `serve`: the subscription has ended, or stop is set."""


async def consume(
    stage: Stage,
    *,
    link: Subscribes,
    publisher: Connects,
    stop: asyncio.Event,
    clock: Clock,
    hold_seconds: float = 900.0,
) -> None:
    """Run a stage until stop is set and its work is handed back.

    Args:
        stage: what to run.
        link: the connection to consume by.
        publisher: the connection to publish by; nothing is taken while it is away.
        stop: ends it.
        clock: the port.
        hold_seconds: how long a delivery may be in hand; half the broker's consumer time-out.
    """
    history = SubscriptionHistory(Prefetch(stage.prefetch, max_bytes=stage.max_bytes), silent_seconds=SILENT_SECONDS)
    stage_stopped.labels(stage.name, stage.source).set(0)
    while not stop.is_set():
        stage.doing = "waiting"
        if stage.defects.are_too_many:
            stage.doing = "stopped"
            stage_stopped.labels(stage.name, stage.source).set(1)
            log.error("stage_stopped", stage=stage.name, queue=stage.queue, defects=stage.defects.in_a_row)
            await stop.wait()
        await wait_or_stop(stop, publisher.wait_ready())
        await wait_or_stop(stop, link.wait_ready())
        if stop.is_set():
            return
        detail = await _session(stage, link, stop, history=history, hold_seconds=hold_seconds, clock=clock)
        if detail and not stop.is_set():  # without a detail it ended as it should
            pause = history.backoff.failed()
            log.warning(
                "subscription_ended", stage=stage.name, queue=stage.queue, detail=detail, retry_seconds=round(pause, 1)
            )
            await wait_or_stop(stop, asyncio.sleep(pause))


async def _session(
    stage: Stage,
    link: Subscribes,
    stop: asyncio.Event,
    *,
    history: SubscriptionHistory,
    hold_seconds: float,
    clock: Clock,
) -> str:
    """Run a subscription from open to close; returns why it ended, or nothing if we ended it."""
    prefetch = history.prefetch(stage.prefetch)
    subscription = link.subscribe(
        stage.queue, prefetch=prefetch, on_delivery=stage.on_delivery, max_bytes=stage.max_bytes
    )
    stage.open(subscription)
    begun = clock.monotonic()
    try:
        async with subscription:
            stage.doing = "consuming"
            subscriptions.labels(stage.name, stage.source).inc()
            log.info("subscribed", stage=stage.name, queue=stage.queue, prefetch=prefetch)
            beside = [
                asyncio.create_task(_wake(stage, subscription, stop)),
                asyncio.create_task(_keep(stage, link, subscription, history, hold_seconds=hold_seconds, clock=clock)),
            ]
            if history.counts.can_grow and prefetch == history.counts.count:
                beside.append(asyncio.create_task(_widen(subscription, history.counts, clock)))
            try:
                await stage.serve(subscription, stop)
            except BrokerUnavailable:
                raise
            except Exception:  # noqa: BLE001  # a defect ends this subscription alone: what it held comes again
                log.exception("defect", stage=stage.name, queue=stage.queue)
                subscription.fail("a defect", defect=True)
            finally:
                for task in beside:
                    task.cancel()
    except BrokerUnavailable as error:
        return str(error)
    finally:
        ended = clock.monotonic()
        history.ended(lasted_seconds=ended - begun, is_lost=subscription.lost)
        if subscription.passed_at:
            history.counts.passed(subscription.passed_at, now=ended)
        if subscription.by_defect:
            stage.defects.noted()
    if subscription.orderly:
        log.info("handed_back", stage=stage.name, queue=stage.queue, detail=subscription.detail)
        return ""
    return subscription.detail


async def _wake(stage: Stage, subscription: Subscription, stop: asyncio.Event) -> None:
    await wait_or_stop(stop, subscription.ended.wait())
    subscription.leaving.set()
    stage.wake()


async def _widen(subscription: Subscription, counts: Prefetch, clock: Clock) -> None:
    """End a subscription that could take many more deliveries, once it holds as many as it may."""
    while not subscription.ended.is_set():
        await subscription.filled.wait()
        subscription.filled.clear()
        held, held_bytes = len(subscription.in_hand), subscription.bytes_in_hand
        if counts.grow(held, held_bytes, returned=subscription.most_returned, now=clock.monotonic()):
            subscription.fail(f"{held} events take {held_bytes} bytes: {counts.count} may be in hand", orderly=True)


async def _keep(
    stage: Stage,
    link: Subscribes,
    subscription: Subscription,
    history: SubscriptionHistory,
    *,
    hold_seconds: float,
    clock: Clock,
) -> None:
    """End a subscription that is of no more use, or that is silent while messages are ready."""
    begun = heard = clock.monotonic()
    seen = 0
    while not subscription.ended.is_set():
        await asyncio.sleep(min(CHECK_INTERVAL_SECONDS, hold_seconds / 4))
        if subscription.delivered != seen or subscription.unsettled:
            seen, heard = subscription.delivered, clock.monotonic()
        reason = history.reason_to_end(
            lasted_seconds=clock.monotonic() - begun,
            held_seconds=subscription.held_seconds(),
            max_hold_seconds=hold_seconds,
            settled=subscription.delivered - len(subscription.unsettled),
            is_one_by_one=stage.prefetch <= 1,
        )
        if reason:
            subscription.fail(reason, orderly=True)
        elif clock.monotonic() - heard > history.silent_seconds:
            heard = clock.monotonic()
            if await _ready(link, stage.queue):
                history.silent_seconds *= 2  # a standby consumer of a busy lane gets no delivery either
                subscription.fail("messages are ready and none is delivered")


async def _ready(link: Subscribes, queue: str) -> int:
    try:
        return await link.ready(queue)
    except BrokerUnavailable as error:
        log.debug("queue_unseen", queue=queue, detail=str(error))
        return 0


async def wait_or_stop(stop: asyncio.Event, awaited: Coroutine[Any, Any, Any]) -> None:
    """Return when it is done or when stop is set, whichever comes first."""
    tasks = [asyncio.ensure_future(awaited), asyncio.ensure_future(stop.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()
