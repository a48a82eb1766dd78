"""The promises, each stated once: what was sent, what came out, and what must be true of both.

A ledger is told of everything as it happens; some promises are held at that moment, the others at the end of the world.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tests.simulation.bodies import Fate, Posted
from tests.simulation.broker import SimulatedBroker, Stored
from tests.simulation.papers import Version
from tests.simulation.processes import LEASE_SECONDS, MOST_ATTEMPTS, NAMES, RECEIVERS, SOURCE
from tests.simulation.zenoti import WAY_SECONDS, SimulatedZenoti

WINDOW_SECONDS = 60.0  # of the quota
P95_FACTOR, P95_SECONDS = 2.0, 30.0
INVOICE_BYTES = 10_000  # more than an invoice and the envelope of an event take
MANY_DIGITS = 1_000
BY_ITS_BODY = ("malformed", "too-large")


class Sent(msgspec.Struct):
    """An event that Zenoti has sent.

    Attributes:
        first_at: when it was sent for the first time.
        version: the state of its invoice that it tells of; None: of none.
        tries: how often it was sent, duplicates among them.
        accepted_at: when a try was first answered with a 2xx; None: not yet.
        receipts: of the answers, and of what came out.
        plains: its bodies as they may come out: a copy has another delivery id.
    """

    posted: Posted
    first_at: float
    version: Version | None = None
    tries: int = 0
    accepted_at: float | None = None
    receipts: set[str] = msgspec.field(default_factory=set)
    plains: set[bytes] = msgspec.field(default_factory=set)

    @property
    def wanted_by(self) -> list[str]:
        """The receivers that must get it."""
        return [name for name in RECEIVERS if name == "all" or self.posted.type.startswith("invoice.")]


class Got(msgspec.Struct, frozen=True):
    """An event that has come out."""

    at: float
    receipt_id: str
    received_at: str
    fetched_at: str
    version: int | None


Letter = Mapping[str, Any]


class Ledger:
    """What was sent and what came out.

    Attributes:
        sent: by the id that comes out.
        got: by receiver and that id.
        letters: by that id, the headers of the dead letters that there are.
        least_limit: the smallest limit of the broker for a body that there was, in bytes.
        violations: the broken promises, in words.
        excused: ids of what an operator discarded, or somebody deleted with its queue.
    """

    def __init__(self, broker: SimulatedBroker, zenoti: SimulatedZenoti) -> None:
        self._broker, self._zenoti = broker, zenoti
        self.sent: dict[str, Sent] = {}
        self._by_receipt: dict[str, Sent] = {}
        self._by_body: dict[bytes, Sent] = {}
        self.got: dict[str, dict[str, list[Got]]] = {name: {} for name in RECEIVERS}
        self.letters: dict[str, list[Letter]] = {}
        self.least_limit = broker.max_message_bytes
        self.violations: list[str] = []
        self.excused: set[str] = set()
        self._excused_receipts: set[str] = set()
        self._again = 0  # how often everything may have come again

    @property
    def accepted(self) -> list[Sent]:
        """The events that were answered with a 2xx."""
        return [sent for sent in self.sent.values() if sent.accepted_at is not None]

    def happened(self, posted: Posted, version: Version | None, *, at: float) -> None:
        """An event happens at Zenoti, and is about to be sent; a copy of an earlier one happens again."""
        sent = self.sent.setdefault(_id_of(posted), Sent(posted, at, version))
        sent.plains.add(posted.plain)
        self._by_body.setdefault(posted.body, sent)

    def posts(self, posted: Posted) -> None:
        """It is sent."""
        self.sent[_id_of(posted)].tries += 1

    def answered(self, posted: Posted, receipt_id: str, *, at: float) -> None:
        """It was accepted."""
        sent = self.sent[_id_of(posted)]
        sent.receipts.add(receipt_id)
        self._by_receipt[receipt_id] = sent
        sent.accepted_at = at if sent.accepted_at is None else sent.accepted_at

    def came_out(self, name: str, stored: Stored, *, at: float) -> str:
        """A receiver has got a message; returns its id."""
        document = json.loads(stored.message.body, parse_int=_small)
        event_id, data = document["id"], document["data"]
        sent = self.sent.get(event_id)
        if sent is None or sent.posted.fate is not Fate.DELIVERED:
            self.violations.append(f"{name} got {event_id}, which nobody sent so")
            return str(event_id)
        sent.receipts.add(document["receiptid"])
        if not any(plain in stored.message.body for plain in sent.plains):
            self.violations.append(f"{event_id}: its body is not as it was sent")
        if name not in sent.wanted_by:
            self.violations.append(f"{event_id}: {name} does not want it")
        fetched_at = data["enrichment"].get("fetched_at") or ""
        version = self._enriched(sent, data, received_at=document["receivedat"])
        got = Got(at, document["receiptid"], document["receivedat"], fetched_at, version)
        self.got[name].setdefault(event_id, []).append(got)
        return str(event_id)

    def excuse(self, receipt_id: str) -> None:
        """The event of a receipt need not come out any more; its answer may not have come yet."""
        self._excused_receipts.add(receipt_id)

    def came_again(self, receipt_ids: Iterable[str] | None = None) -> None:
        """An operator has put these events back, or any event at all (None): each may come out once more."""
        if receipt_ids is None:
            self._again += 1
        for receipt_id in receipt_ids or ():
            if (sent := self._by_receipt.get(receipt_id)) is not None:
                sent.tries += 1

    def called(self, process: str, *, at: float) -> None:
        """A process calls the API: it holds the lane, or its lease may still last."""
        lane = self._broker.queues.get(NAMES.lane(SOURCE))
        if lane is not None and lane.holder not in ("", process) and at - lane.held_since > LEASE_SECONDS + WAY_SECONDS:
            self.violations.append(f"{process} calls at {at:.3f}, and {lane.holder} has had the lane for long")

    def missing(self) -> list[str]:
        """Events that were accepted, and are neither out nor dead letters."""
        return [_id_of(sent.posted) for sent in self.accepted if not self._is_settled(sent)]

    def read_letters(self, dead: Iterable[Stored]) -> None:
        """Take note of the dead letters there are."""
        self.letters = {}
        for stored in dead:
            headers = stored.message.headers
            sent = self._by_receipt.get(str(headers.get("receipt_id")))
            if sent is None and stored.message.body:  # accepted, but the answer was lost
                sent = self._by_body.get(stored.message.body)
            if sent is not None:
                self.letters.setdefault(_id_of(sent.posted), []).append(headers)

    def seconds_of(self, name: str, *, but: Iterable[str]) -> list[float]:
        """How long each event took from its acceptance to a receiver, in order, except those about some invoices."""
        found, left_out = [], set(but)
        for event_id, gots in self.got[name].items():
            sent = self.sent[event_id]
            if sent.accepted_at is not None and (sent.posted.invoice_id or "").lower() not in left_out:
                found.append(max(0.0, gots[0].at - sent.accepted_at))
        return sorted(found)

    def judge(self, *, most_calls: int) -> None:
        """Hold the promises that concern the whole world."""
        self._no_call_too_many(most_calls)
        self._every_letter_is_true()
        for queue, size in self._broker.too_much_in_hand.items():
            self.violations.append(f"{size} bytes of {queue} in hand, more than its bound")
        for name in RECEIVERS:
            self._no_copy_without_cause(name)
            self._no_time_goes_back(name)

    def in_order(self, name: str) -> None:
        """Where no fault broke it: the events that one call has served come out in the order of their receipt."""
        latest: dict[tuple[str, str], str] = {}
        for event_id, gots in self.got[name].items():  # in the order of their coming
            call = (str(self.sent[event_id].posted.invoice_id).lower(), gots[0].fetched_at)
            if gots[0].fetched_at and gots[0].received_at < latest.get(call, ""):
                self.violations.append(f"{event_id}: behind a later event that the same call served, in {name}")
            latest[call] = gots[0].received_at

    def _is_settled(self, sent: Sent) -> bool:
        event_id = _id_of(sent.posted)
        out = all(event_id in self.got[name] for name in sent.wanted_by)
        is_excused = event_id in self.excused or not self._excused_receipts.isdisjoint(sent.receipts)
        return is_excused or event_id in self.letters or (out and sent.posted.fate is Fate.DELIVERED)

    def _enriched(self, sent: Sent, data: Mapping[str, Any], *, received_at: str) -> int | None:
        """Hold what is promised of the invoice that comes out with an event; returns the invoice's version."""
        posted, enrichment, invoice = sent.posted, data["enrichment"], data["invoice"]
        status, event_id = enrichment["status"], _id_of(posted)
        if status == "failed" and posted.wants_invoice:
            attempts = len(self._zenoti.failures.get(str(posted.invoice_id).lower(), ()))  # it does not say how many
            self._reason_is_true(sent, str(enrichment["reason"]), attempts=attempts)
            return None
        if status != posted.status:
            self.violations.append(f"{event_id}: {status} instead of {posted.status}")
        if invoice is None:
            return None
        if enrichment["fetched_at"] < received_at:
            self.violations.append(f"{event_id}: fetched_at {enrichment['fetched_at']} before its receipt")
        if invoice["read_at"] < sent.first_at or (sent.version and invoice["version"] < sent.version.number):
            self.violations.append(f"{event_id}: an invoice that was read before the event")
        if invoice.get("id", posted.invoice_id).lower() != str(posted.invoice_id).lower():
            self.violations.append(f"{event_id}: the invoice {invoice['id']} instead of {posted.invoice_id}")
        return int(invoice["version"])

    def _no_call_too_many(self, most: int) -> None:
        times = [call.at for call in self._zenoti.calls]
        for first, last in zip(times, times[most:], strict=False):
            if last - first < WINDOW_SECONDS:
                self.violations.append(f"more than {most} calls in {WINDOW_SECONDS:g} s, at {last:.3f}")
                return

    def _every_letter_is_true(self) -> None:
        for event_id, letters in self.letters.items():
            for letter in letters:
                self._reason_is_true(self.sent[event_id], str(letter["reason"]), attempts=int(letter["attempts"]))

    def _reason_is_true(self, sent: Sent, reason: str, *, attempts: int) -> None:
        posted = sent.posted
        if reason in BY_ITS_BODY:
            could_be_large = len(posted.plain or posted.body) + INVOICE_BYTES > self.least_limit
            is_true = posted.fate.value == f"dead:{reason}" or (reason == "too-large" and could_be_large)
        else:
            is_true = posted.wants_invoice and self._zenoti.letter_is_true(
                reason, str(posted.invoice_id), attempts=attempts, most_attempts=MOST_ATTEMPTS
            )
        if not is_true:
            self.violations.append(f"{_id_of(posted)} ({posted.kind}): the reason {reason} is not true")

    def _no_copy_without_cause(self, name: str) -> None:
        """Each copy has its cause: a try more of Zenoti's, a delivery that came back, a publish that was in doubt.

        A refused publish is a cause once a delivery: from then on each receiver gets the event alone.
        """
        returns, doubts, refusals = self._broker.returns, self._broker.doubts, self._broker.refusals
        archive = self._broker.queues.get(NAMES.archive)
        in_archive = Counter(stored.message.message_id for stored in archive.stored) if archive else Counter[str]()
        for event_id, gots in self.got[name].items():
            sent = self.sent[event_id]
            ids = {event_id, *sent.receipts}
            causes = sent.tries - 1 + sum(returns[each] + doubts[each] for each in ids)
            causes += min(1 + causes, sum(refusals[each] for each in ids))
            archived = sum(
                in_archive[each] for each in sent.receipts
            )  # a refused publish is in the archive all the same
            causes += self._again * max(1 + causes, archived)
            if len(gots) - 1 > causes:
                self.violations.append(f"{event_id}: {len(gots)} times in {name}, and {causes} causes for a copy")

    def _no_time_goes_back(self, name: str) -> None:
        """Of two states of an invoice the newer has the later `fetched_at`, so that receivers can keep the newer."""
        by_invoice: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for event_id, gots in self.got[name].items():
            states = [(got.fetched_at, got.version) for got in gots if got.version is not None]
            by_invoice[str(self.sent[event_id].posted.invoice_id).lower()] += states
        for invoice, states in by_invoice.items():
            versions = [version for _, version in sorted(states)]
            if versions != sorted(versions):
                self.violations.append(f"{invoice}: a later fetched_at for an older state, in {name}")


def _small(digits: str) -> int:
    """A whole number; Python refuses thousands of digits, and nobody asks for them here."""
    return int(digits) if len(digits) < MANY_DIGITS else 0


def _id_of(posted: Posted) -> str:
    """What it is known by: the id with which it comes out; of what does not come out, its body."""
    return posted.cloud_id or f"{posted.kind} {hash_of(posted.body)}"


def hash_of(body: bytes) -> str:
    """A short name for a body."""
    return f"{len(body)}-{sum(body) % 9973}"


def p95(ordered: list[float]) -> float:
    """Of numbers in order; 0: there are none."""
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else 0.0
