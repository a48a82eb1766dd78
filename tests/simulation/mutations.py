"""Faults put into the real code on purpose, some of them mended faults of the past: the simulation finds each of them.

`python -m tests.simulation.mutations [NAME ...] [--seeds 200]`: for each the first seed that finds it, and how.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import inf
from typing import Any, Final

import msgspec
import pytest

from tests.simulation.bodies import strange_bodies
from tests.simulation.plot import plot
from tests.simulation.run import attempted, say, silence
from zenoti_ingest.adapters.broker.subscription import BrokerSubscription
from zenoti_ingest.adapters.spool.spool import Item, Spool
from zenoti_ingest.core.events import reading
from zenoti_ingest.core.events.duplicates import DuplicateFilter
from zenoti_ingest.core.events.messages import PUBLISH_SECONDS
from zenoti_ingest.core.failures.errors import (
    GatewayAnswered,
    Malformed,
    PublishRefused,
    PublishUnconfirmed,
    Refused,
    TooLarge,
    WorkerError,
)
from zenoti_ingest.core.invoices import circuit as circuits
from zenoti_ingest.core.invoices.circuit import Circuit
from zenoti_ingest.core.invoices.lane_clock import LaneClock
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.quota import Quota
from zenoti_ingest.stages.fan_out import FanOut, Publication
from zenoti_ingest.stages.intake import Intake
from zenoti_ingest.stages.settling import Settler
from zenoti_ingest.stages.spool_drain import SpoolDrain
from zenoti_ingest.stages.translate import Translate

SEEDS: Final = 200  # each is found within so many

Mutation = Callable[[pytest.MonkeyPatch], None]


class Found(msgspec.Struct, frozen=True):
    """What a search has found.

    Attributes:
        name: of the mutation.
        seed: the first that breaks a promise; None: none does.
        violation: the first broken promise.
        cpu_seconds: that the search took.
    """

    name: str
    seed: int | None
    violation: str
    cpu_seconds: float


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
            await publication._fan_out.publisher.publish(publication._message, within=PUBLISH_SECONDS)
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


def rows_are_removed_by_number_alone(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 1: a drained batch is forgotten in whichever file is there by now, which may be a new one."""
    forget = Spool.forget

    def present(spool: Any, item: Item) -> Item:
        own = spool._shelf.own
        if own is None or own is item.file or not item.file.is_replaced:
            return item
        own._handed_out.add(item.key.number)
        return msgspec.structs.replace(item, file=own)

    async def forgotten(spool: Any, source: str, items: Sequence[Item]) -> None:
        await forget(spool, source, [present(spool, item) for item in items])

    patch.setattr(Spool, "forget", forgotten)


def an_id_and_a_type_name_an_event(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 4: another event with the same `event_id` and type counts as a duplicate, whatever its data."""

    def key(event: reading.Event) -> str | None:
        is_new = event.event_id is None or event.received.replay or event.received.redriven
        return None if is_new else f"{event.event_id} {event.type}"

    patch.setattr(reading.Event, "duplicate_key", property(key))


def fetched_at_is_the_hosts_time(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 5: the lane's clock is the host's, even if that is behind."""
    patch.setattr(LaneClock, "next", lambda _, now, __: now)


def sick_invoices_open_the_circuit(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 6: failures of few invoices open the circuit, and its probes ask for these alone."""

    def probe_key(circuit: Any, *, random_id: str) -> str:
        failed: list[str] = list(circuit._failed) or [random_id]
        return failed[int(circuit._probes) % len(failed)]

    patch.setattr(circuits, "KEYS", 1)
    patch.setattr(Circuit, "probe_key", probe_key)
    patch.setattr(Circuit, "_answered_another", lambda *_, **__: False)


def a_gateways_page_is_believed(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 7: a page with 4xx that is not the API's is taken for its word about the invoice."""

    def failure(text: str) -> WorkerError:
        return Refused(text) if "status 4" in text else GatewayAnswered(text)

    patch.setattr("zenoti_ingest.core.invoices.protocol.GatewayAnswered", failure)


def a_refused_event_goes_to_all_again(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 9: while a receiver's queue refuses, an event is published to all receivers until it takes it."""

    async def attempt(publication: Any) -> None:
        await publication._fan_out.publisher.publish(publication._message, within=PUBLISH_SECONDS)

    patch.setattr(Publication, "attempt", attempt)


def an_oversized_event_is_published_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 10: what is too large for the broker counts as unconfirmed, and stays at the head of the spool."""
    publish = Intake.publish

    async def published(stage: Any, event: Any, **more: Any) -> bool:
        try:
            return await publish(stage, event, **more)
        except TooLarge:
            stage.detours[event.source].unconfirmed()
            return False

    patch.setattr(Intake, "publish", published)


def an_unimportant_type_is_checked(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 12: an event whose time is no text cannot be read."""
    json = reading._json

    def checked(body: bytes) -> Any:
        found = json(body)
        if bytes(found.envelope.event_timestamp)[:1] not in (b'"', b"n"):
            raise Malformed("no text at $.event_timestamp")
        return found

    patch.setattr(reading, "_json", checked)


def only_deliveries_are_counted(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 2 of the next issue: bodies in hand are bounded by the number of deliveries, whatever their size."""
    begin = BrokerSubscription.__init__

    def begun(subscription: Any, *arguments: Any, **more: Any) -> None:
        begin(subscription, *arguments, **more)
        subscription._max_bytes = inf

    patch.setattr(BrokerSubscription, "__init__", begun)


def saved_calls_come_on_top(patch: pytest.MonkeyPatch) -> None:
    """Undoes mend 4 of the next issue: calls that were saved up come on top of a minute's calls."""

    def paces(quota: Any) -> Iterator[tuple[float, float, float]]:
        yield quota._counted_at, inf, quota._interval

    patch.setattr(Quota, "_paces", paces)
    patch.setattr(Quota, "_place_at", lambda _: -inf)


CHOSEN: Final[Sequence[Mutation]] = (
    translate_acks_before_it_publishes,
    a_call_spends_nothing,
    intake_answers_before_the_confirm,
    the_drain_forgets_before_it_publishes,
    a_refused_event_is_dropped,
    a_refusal_counts_as_taken,
    the_circuit_never_closes,
    the_lease_always_holds,
    an_unconfirmed_publish_counts,
    an_event_is_remembered_before_it_is_out,
    wait_queues_are_never_left,
)
MENDS: Final[Sequence[Mutation]] = (
    rows_are_removed_by_number_alone,
    an_id_and_a_type_name_an_event,
    fetched_at_is_the_hosts_time,
    sick_invoices_open_the_circuit,
    a_gateways_page_is_believed,
    a_refused_event_goes_to_all_again,
    an_oversized_event_is_published_for_ever,
    an_unimportant_type_is_checked,
    only_deliveries_are_counted,
    saved_calls_come_on_top,
)
MUTATIONS: Final[Mapping[str, Mutation]] = {mutation.__name__: mutation for mutation in (*CHOSEN, *MENDS)}

# Where each was found first. A short cut: another plot of the same seed makes the search longer, and fails nothing.
FOUND_AT: Final[Mapping[str, tuple[int, ...]]] = {
    "translate_acks_before_it_publishes": (115,),
    "a_call_spends_nothing": (2,),
    "intake_answers_before_the_confirm": (2,),
    "the_drain_forgets_before_it_publishes": (2,),
    "a_refused_event_is_dropped": (26,),
    "a_refusal_counts_as_taken": (26,),
    "the_circuit_never_closes": (0,),
    "an_unconfirmed_publish_counts": (161,),
    "an_event_is_remembered_before_it_is_out": (21,),
    "wait_queues_are_never_left": (3,),
    "rows_are_removed_by_number_alone": (64,),
    "an_id_and_a_type_name_an_event": (1,),
    "fetched_at_is_the_hosts_time": (0,),
    "sick_invoices_open_the_circuit": (19,),
    "a_gateways_page_is_believed": (10,),
    "a_refused_event_goes_to_all_again": (26,),
    "an_oversized_event_is_published_for_ever": (2,),
    "an_unimportant_type_is_checked": (12,),
    "only_deliveries_are_counted": (1,),
    "saved_calls_come_on_top": (2,),
    "the_lease_always_holds": (110,),
}


def search(name: str, *, seeds: Iterable[int]) -> Found:
    """Look for the first seed in whose world a mutation breaks a promise that is kept without it."""
    began = time.process_time()
    for seed in seeds:
        if violations := _violations(MUTATIONS[name], seed):
            return Found(name, seed, violations[0], time.process_time() - began)
    return Found(name, None, "", time.process_time() - began)


def _violations(mutation: Mutation, seed: int) -> list[str]:
    """What a mutation breaks in the world of a seed; nothing, if that world breaks a promise without it, too."""
    strange_bodies()  # read once and for all, by the code without the mutation
    drawn = plot(seed)
    with pytest.MonkeyPatch.context() as patch:
        mutation(patch)
        violations = attempted(drawn)
    return violations if violations and not attempted(drawn) else []


def short_cut(name: str, *, seeds: int = SEEDS) -> Iterator[int]:
    """The seeds of a search: first where the mutation was found before."""
    yield from dict.fromkeys((*FOUND_AT.get(name, ()), *range(seeds)))


def main() -> int:
    """Exit status 0: each is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many worlds each ({SEEDS})")
    given = parser.parse_args()
    if unknown := set(given.names) - MUTATIONS.keys():
        parser.error(f"no such mutation: {', '.join(sorted(unknown))}")
    names: list[str] = given.names or list(MUTATIONS)
    left = 0
    with ProcessPoolExecutor(os.cpu_count(), initializer=silence) as pool:
        for found in pool.map(partial(search, seeds=range(given.seeds)), names):
            at = "not found" if found.seed is None else f"seed {found.seed}: {found.violation}"
            say(f"{found.name} ({found.cpu_seconds:.0f} s): {at}")
            left += found.seed is None
    say(f"{len(names) - left} of {len(names)} found")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
