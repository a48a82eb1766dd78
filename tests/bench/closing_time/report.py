"""The figures of a run, beside the reference and the obvious loop; all times scaled back to the vendor's."""

import math
from typing import NamedTuple

from tests.bench.closing_time.quota_use import Waited, calls_of, idle, one_call_an_event, quantile, reference
from tests.bench.closing_time.run import Observed, Trace

MOST_RATIO = 1.1


class Served(NamedTuple):
    """How events were served: calls, minutes from the first receipt to the last call, seconds an event waited."""

    calls: int
    minutes: float
    p50: float
    p95: float
    longest: float


class Figures(NamedTuple):
    """What a run has shown. Idle and failover are scaled seconds, guests and calls are real seconds."""

    worker: Served
    reference: Served
    obvious: Served
    throttled: int
    idle_longest: float
    idle_p99: float
    idle_share: float
    failover: float
    killed_was_active: bool
    guests: int
    guest_longest: float
    call_p50: float
    call_p95: float
    way_p50: float
    way_p95: float
    twice: int
    stale: int

    @property
    def holds(self) -> bool:
        """Whether all is as docs/quota.md promises."""
        kept = self.throttled == 0 and self.stale == 0 and self.killed_was_active
        return kept and self.ratio <= MOST_RATIO and max(self.idle_longest, self.guest_longest) <= 1

    @property
    def ratio(self) -> float:
        """Calls of the worker to those of the reference."""
        return self.worker.calls / self.reference.calls


def figures(seen: Observed, trace: Trace) -> Figures:
    """Reckon a run."""
    received = [(event.received_at, event.invoice_id) for event in seen.events]
    calls = sorted(seen.calls)
    # By whose they are: a call of the killed process can still arrive after the kill.
    first_after = min((call.at for call in calls if call.process != 0), default=math.inf)
    last_before = max(call.at for call in calls if call.at < first_after)
    calls_per_minute = trace.speed * trace.calls_per_minute
    pieces = idle(calls, seen.events, calls_per_minute=calls_per_minute)
    lasted = [seconds * trace.speed for at, seconds in pieces if not last_before <= at <= first_after]
    whole = (calls[-1].at - calls[0].at) * trace.speed
    return Figures(
        worker=_served(seen.events, calls=len(calls), speed=trace.speed),
        reference=_simulated(reference(received, calls_per_minute=calls_per_minute), speed=trace.speed),
        obvious=_simulated(one_call_an_event(received, calls_per_minute=calls_per_minute), speed=trace.speed),
        throttled=seen.counted["api"]["throttled"],
        idle_longest=max(lasted, default=0.0),
        idle_p99=quantile(lasted + [0.0] * (len(calls) - len(lasted)), 0.99),
        idle_share=sum(lasted) / whole,
        failover=(first_after - last_before) * trace.speed,
        killed_was_active=seen.killed_at <= first_after < math.inf,
        guests=len(seen.guests),
        guest_longest=max(seen.guests, default=0.0),
        call_p50=quantile((call.until - call.at for call in calls), 0.5),
        call_p95=quantile((call.until - call.at for call in calls), 0.95),
        way_p50=quantile(seen.ways, 0.5),
        way_p95=quantile(seen.ways, 0.95),
        twice=seen.copies - len(seen.events),
        stale=sum(event.served_at < event.received_at for event in seen.events),
    )


def _simulated(served: list[Waited], *, speed: float) -> Served:
    return _served(served, calls=calls_of(served), speed=speed)


def _served(events: list[Waited], *, calls: int, speed: float) -> Served:
    waits = [(event.served_at - event.received_at) * speed for event in events]
    lasted = max(event.served_at for event in events) - min(event.received_at for event in events)
    return Served(calls, lasted * speed / 60, quantile(waits, 0.5), quantile(waits, 0.95), max(waits))


def table(found: Figures) -> str:
    """As Markdown, for docs/quota.md."""
    rows = [
        f"| {name} | {run.calls} | {run.minutes:.1f} min | {run.p50:.0f} s | {run.p95:.0f} s | {run.longest:.0f} s |"
        for name, run in (("worker", found.worker), ("reference", found.reference), ("obvious loop", found.obvious))
    ]
    lines = (
        f"calls to the reference's: {found.ratio:.3f}",
        f"answers with 429: {found.throttled}",
        f"a token idle while an event waits: longest {found.idle_longest:.2f} s, p99 {found.idle_p99:.2f} s",
        f"share of the time with an idle token: {found.idle_share:.2%}",
        f"failover: {found.failover:.1f} s (the active process was killed: {found.killed_was_active})",
        f"guests: {found.guests}, the slowest {found.guest_longest:.2f} real s",
        f"the machine: a call of the simulator took {found.call_p50:.3f} real s (p50), {found.call_p95:.3f} (p95)",
        f"from a call's beginning to its event downstream: {found.way_p50:.3f} real s (p50), {found.way_p95:.3f} (p95)",
        f"delivered twice: {found.twice}",
        f"an invoice older than its event: {found.stale}",
    )
    head = ("| | calls | until the last call | waited p50 | p95 | longest |", "|---|---|---|---|---|---|")
    return "\n".join((*head, *rows, "", *lines))
