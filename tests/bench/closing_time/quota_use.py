"""What a quota was used for: calls as they went, events as they waited, and a simulation that knows no delay beside it.

Pure. Times are seconds of one clock.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from zenoti_ingest.core.invoices.quota import Quota

MOMENT = 1e-9  # seconds: what the reckoning of a time can be off by


class Call(NamedTuple):
    """A call of the API, by which process, and how it was answered."""

    at: float
    until: float
    invoice_id: str
    process: int
    status: int


class Waited(NamedTuple):
    """An event: when the door took it, and when the call that served it began."""

    received_at: float
    invoice_id: str
    served_at: float


def reference(received: Iterable[tuple[float, str]], *, calls_per_minute: float) -> list[Waited]:
    """The same receipts where no step takes time, under the worker's rules (core/invoices/quota.py).

    As soon as a call may go it goes for the invoice that has waited longest, and serves all that wait for that.
    """
    rest = sorted(received, reverse=True)
    waiting: dict[str, list[float]] = {}  # in the order of each invoice's first event
    served: list[Waited] = []
    now = rest[-1][0]
    quota = Quota(calls_per_minute=calls_per_minute, now=now)
    while rest or waiting:
        while rest and rest[-1][0] <= now:
            at, invoice_id = rest.pop()
            waiting.setdefault(invoice_id, []).append(at)
        wait = quota.wait(now)
        if waiting and wait <= MOMENT:
            invoice_id = next(iter(waiting))
            served += [Waited(at, invoice_id, now) for at in waiting.pop(invoice_id)]
            quota.spend(now)
            continue
        now = min(([now + wait] if waiting else []) + ([rest[-1][0]] if rest else []))
    return served


def one_call_an_event(received: Iterable[tuple[float, str]], *, calls_per_minute: float) -> list[Waited]:
    """The obvious loop, by the same simulation: each event is fetched for alone."""
    each_alone = [(at, f"{invoice_id}/{n}") for n, (at, invoice_id) in enumerate(received)]
    return reference(each_alone, calls_per_minute=calls_per_minute)


def calls_of(served: Iterable[Waited]) -> int:
    """How many calls a simulation made."""
    return len({(event.invoice_id, event.served_at) for event in served})


def idle(calls: Sequence[Call], events: Sequence[Waited], *, calls_per_minute: float) -> list[tuple[float, float]]:
    """When and for how long a call could have gone but did not: all rules allowed it, and an event waited for it.

    The rules are the worker's (core/invoices/quota.py). An event can be called for from its receipt on, or from the end
    of the call that was in flight for its invoice.
    """
    by_invoice: dict[str, list[Call]] = {}
    for call in calls:
        by_invoice.setdefault(call.invoice_id, []).append(call)
    ready = [(_ready_at(event, by_invoice.get(event.invoice_id, ())), event.served_at) for event in events]
    found = []
    ordered = sorted(calls)
    quota = Quota(calls_per_minute=calls_per_minute, now=ordered[0].at)
    for before, after in pairwise(ordered):
        quota.spend(before.at)
        token_at = before.at + quota.wait(before.at)
        waiting = [at for at, served_at in ready if at < after.at and served_at > token_at]
        if token_at < after.at and waiting:
            since = max(token_at, min(waiting))
            found.append((since, after.at - since))
            quota.save_nothing(after.at)
    return found


def _ready_at(event: Waited, calls: Iterable[Call]) -> float:
    return max([event.received_at, *(call.until for call in calls if call.at < event.served_at)])


def quantile(values: Iterable[float], q: float) -> float:
    """The value that so large a share does not exceed; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0
