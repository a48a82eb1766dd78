"""Faults put into the real code on purpose: the simulation must find each of them."""

from collections.abc import Callable
from typing import Any

import pytest

from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.failures.errors import PublishRefused, PublishUnconfirmed
from zenoti_ingest.core.invoices.circuit import Circuit
from zenoti_ingest.core.invoices.lane_clock import LaneClock
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.quota import Quota
from zenoti_ingest.stages.fan_out import FanOut, Publication
from zenoti_ingest.stages.intake import Intake
from zenoti_ingest.stages.settling import Settler
from zenoti_ingest.stages.spool_drain import SpoolDrain
from zenoti_ingest.stages.translate import Translate

Mutation = Callable[[pytest.MonkeyPatch], None]


def translate_acks_before_it_publishes(patch: pytest.MonkeyPatch) -> None:
    """The ack does not wait for the confirm."""
    pass_on = Translate._pass_on

    async def acked_first(stage: Any, message: Any, delivery: Any, *rest: Any) -> None:
        delivery.ack()
        await pass_on(stage, message, delivery, *rest)

    patch.setattr(Translate, "_pass_on", acked_first)


def a_call_spends_nothing(patch: pytest.MonkeyPatch) -> None:
    """Calls do not count in the quota."""
    patch.setattr(Quota, "spend", lambda *_: None)


def intake_answers_before_the_confirm(patch: pytest.MonkeyPatch) -> None:
    """202 without waiting for broker or spool."""

    async def see_safe(stage: Any, event: Any) -> str:
        await stage.publish(event, within=0.001)
        return "broker"

    patch.setattr(Intake, "_see_safe", see_safe)


def the_drain_forgets_before_it_publishes(patch: pytest.MonkeyPatch) -> None:
    """What is drained is off the disk before the broker has it."""
    publish = SpoolDrain._publish

    async def published(drain: Any, spooled: Any) -> bool:
        await publish(drain, spooled)
        return True

    patch.setattr(SpoolDrain, "_publish", published)


def a_refused_event_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """A receiver that refuses does not get its event later."""
    alone = Publication._alone

    async def dropped(publication: Any, name: str) -> None:
        try:
            await alone(publication, name)
        except PublishRefused:
            return

    async def waits(*_: Any) -> None:
        return

    patch.setattr(Publication, "_alone", dropped)
    patch.setattr(Publication, "_wait", waits)


def a_refusal_counts_as_taken(patch: pytest.MonkeyPatch) -> None:
    """A nack of the events exchange counts as a confirm."""

    async def together(publication: Any) -> bool:
        try:
            await publication._fan_out.publisher.publish(publication._message, within=15.0)
        except PublishUnconfirmed:
            return True
        return True

    patch.setattr(Publication, "_together", together)


def the_circuit_never_closes(patch: pytest.MonkeyPatch) -> None:
    """An open circuit stays open."""
    answered = Circuit.answered
    patch.setattr(
        Circuit, "answered", lambda circuit, key, *, now: None if circuit.is_open else answered(circuit, key, now=now)
    )


def the_lease_always_holds(patch: pytest.MonkeyPatch) -> None:
    """A process that has lost the lane goes on calling."""
    patch.setattr(Lease, "holds", lambda *_: True)


def fetched_at_is_the_hosts_time(patch: pytest.MonkeyPatch) -> None:
    """The lane's clock is the host's, even if that is behind."""
    patch.setattr(LaneClock, "next", lambda _, now, __: now)


def an_unconfirmed_publish_counts(patch: pytest.MonkeyPatch) -> None:
    """Translate acks what was not confirmed in time."""
    publish = Settler.publish

    async def published(settler: Any, *arguments: Any, **more: Any) -> None:
        try:
            await publish(settler, *arguments, **more)
        except PublishUnconfirmed:
            return

    patch.setattr(Settler, "publish", published)


def an_event_is_remembered_before_it_is_out(patch: pytest.MonkeyPatch) -> None:
    """An event whose publish fails is dropped as a duplicate when it comes again."""
    has = DuplicateFilter.has

    def has_and_remembers(seen: Any, key: str, *, now: float) -> bool:
        found = has(seen, key, now=now)
        seen.remember(key, now=now)
        return found

    patch.setattr(DuplicateFilter, "has", has_and_remembers)


def wait_queues_are_never_left(patch: pytest.MonkeyPatch) -> None:
    """A receiver that refused once is never tried again."""
    patch.setattr(FanOut, "note_taken", lambda *_: None)
    patch.setattr("zenoti_ingest.stages.waiting.WaitQueue._is_taken", _never)


async def _never(*_: Any) -> bool:
    return False


MUTATIONS: list[Mutation] = [
    translate_acks_before_it_publishes,
    a_call_spends_nothing,
    intake_answers_before_the_confirm,
    the_drain_forgets_before_it_publishes,
    a_refused_event_is_dropped,
    a_refusal_counts_as_taken,
    the_circuit_never_closes,
    the_lease_always_holds,
    fetched_at_is_the_hosts_time,
    an_unconfirmed_publish_counts,
    an_event_is_remembered_before_it_is_out,
    wait_queues_are_never_left,
]
