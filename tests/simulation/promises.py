"""The promises, each stated once: what was sent, what came out, and what must be true of both.

A ledger is told of everything as it happens; some promises are held at that moment, the others at the end of the world.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from tests.simulation.broker import SimulatedBroker, Stored
from tests.simulation.processes import RECEIVERS
from tests.simulation.zenoti import SimulatedZenoti

WINDOW_SECONDS = 60.0  # of the quota
P95_FACTOR, P95_SECONDS = 2.0, 30.0
_MARK = re.compile(rb"mark-\d+")


class Sent(msgspec.Struct):
    """An event that Zenoti has sent.

    Attributes:
        mark: in its body, its own.
        invoice: whether it goes to the receiver of invoices, with one.
        first_at: when it was sent for the first time.
        tries: how often it was sent.
        accepted_at: when a try was first answered 202; None: not yet.
        receipts: of the answers, and of what came out.
    """

    mark: str
    invoice: str
    first_at: float
    tries: int = 0
    accepted_at: float | None = None
    receipts: set[str] = msgspec.field(default_factory=set)

    @property
    def wanted_by(self) -> Iterable[str]:
        """The receivers that must get it."""
        return RECEIVERS if self.invoice else ("all",)


class Got(msgspec.Struct, frozen=True):
    """An event that has come out."""

    at: float
    event_id: str
    receipt_id: str
    fetched_at: str
    read_at: float | None


class Ledger:
    """What was sent and what came out.

    Attributes:
        violations: the broken promises, in words.
    """

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self.sent: dict[str, Sent] = {}
        self.got: dict[str, defaultdict[str, list[Got]]] = {name: defaultdict(list) for name in RECEIVERS}
        self.letters: dict[str, list[Mapping[str, object]]] = defaultdict(list)
        self.violations: list[str] = []

    @property
    def accepted(self) -> list[Sent]:
        """The events that were answered 202."""
        return [sent for sent in self.sent.values() if sent.accepted_at is not None]

    def sends(self, mark: str, invoice: str, *, at: float) -> Sent:
        """Zenoti sends an event."""
        return self.sent.setdefault(mark, Sent(mark, invoice, at))

    def came_out(self, name: str, stored: Stored, *, at: float) -> str:
        """A receiver has got a message; returns its mark."""
        document = json.loads(stored.message.body)
        data, receipt_id = document["data"], document["receiptid"]
        sent = self._sent_in(stored.message.body)
        if sent is None:
            self.violations.append(f"{name} got an event that nobody sent: {document['id']}")
            return "?"
        sent.receipts.add(receipt_id)
        invoice, fetched_at = data["invoice"], data["enrichment"].get("fetched_at") or ""
        read_at = None if invoice is None else float(invoice["read_at"])
        self.got[name][sent.mark].append(Got(at, document["id"], receipt_id, fetched_at, read_at))
        if read_at is not None and fetched_at < document["receivedat"]:
            self.violations.append(f"{sent.mark}: fetched_at {fetched_at} before its receipt {document['receivedat']}")
        if read_at is not None and read_at < sent.first_at:
            self.violations.append(f"{sent.mark}: an invoice that was read before the event was sent")
        if invoice is not None and invoice["id"].lower() != sent.invoice.lower():
            self.violations.append(f"{sent.mark}: the invoice {invoice['id']} instead of {sent.invoice}")
        return sent.mark

    def missing(self) -> list[str]:
        """Events that were accepted, and are neither out nor dead letters."""
        return [
            sent.mark
            for sent in self.accepted
            if sent.mark not in self.letters and not all(self.got[name][sent.mark] for name in sent.wanted_by)
        ]

    def read_letters(self, dead: Iterable[Stored]) -> None:
        """Take note of the dead letters there are."""
        self.letters.clear()
        for stored in dead:
            if (sent := self._sent_in(stored.message.body)) is not None:
                self.letters[sent.mark].append(stored.message.headers)

    def seconds_of(self, *, name: str, healthy: Iterable[str] | None = None) -> list[float]:
        """How long each event took from its acceptance to a receiver."""
        chosen = self.got[name].keys() if healthy is None else [mark for mark in healthy if self.got[name][mark]]
        found = []
        for mark in chosen:
            accepted_at = self.sent[mark].accepted_at
            if accepted_at is not None and self.got[name][mark]:
                found.append(max(0.0, self.got[name][mark][0].at - accepted_at))
        return sorted(found)

    def judge(self, zenoti: SimulatedZenoti, *, most_calls: int) -> None:
        """Hold the promises that concern the whole world."""
        self._no_call_too_many(zenoti, most_calls)
        for name in RECEIVERS:
            self._no_copy_without_cause(name)
            self._no_time_goes_back(name)

    def _no_call_too_many(self, zenoti: SimulatedZenoti, most: int) -> None:
        times = [call.at for call in zenoti.calls]
        for first, last in zip(times, times[most:], strict=False):
            if last - first < WINDOW_SECONDS:
                self.violations.append(f"more than {most} calls in {WINDOW_SECONDS:g} s, at {last:.3f}")
                return

    def _no_copy_without_cause(self, name: str) -> None:
        """Each copy has its cause: a try more of Zenoti's, a delivery that came back, a publish that was in doubt."""
        returns, doubts = self._broker.returns, self._broker.doubts
        for mark, gots in self.got[name].items():
            sent = self.sent[mark]
            ids = sent.receipts | {got.event_id for got in gots}
            causes = max(0, sent.tries - 1) + sum(returns[each] + doubts[each] for each in ids)
            if len(gots) - 1 > causes:
                self.violations.append(f"{mark}: {len(gots)} times in {name}, and {causes} causes for a copy")

    def _no_time_goes_back(self, name: str) -> None:
        """Of two states of an invoice the newer has the later `fetched_at`, so that receivers can keep the newer."""
        by_invoice: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for mark, gots in self.got[name].items():
            by_invoice[self.sent[mark].invoice] += [(got.fetched_at, got.read_at) for got in gots if got.read_at]
        for invoice, states in by_invoice.items():
            in_order = [read_at for _, read_at in sorted(states)]
            if in_order != sorted(in_order):
                self.violations.append(f"{invoice}: a later fetched_at for an older state, in {name}")

    def _sent_in(self, body: bytes) -> Sent | None:
        found = _MARK.search(body)
        return None if found is None else self.sent.get(found.group().decode())


def p95(ordered: list[float]) -> float:
    """Of numbers in order; 0: there are none."""
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else 0.0
