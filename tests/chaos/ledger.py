"""The ledger: what the door accepted, what came out where, what lies among the dead letters; and the settlement.

Pure bookkeeping, without a wait: the suite is as honest as this file, so it has tests of its own.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.conftest import invoice_document
from tests.chaos.events import Event

# What the broker or a stage may say of a message that cannot even be read.
POISON_REASONS = frozenset({"malformed", "delivery-limit", "defect"})


@dataclass
class Settlement:
    """What became of all that the door accepted.

    Attributes:
        accepted: events with a 202.
        lost: neither delivered everywhere nor dead-lettered: what is missing, by event.
        wrong: dead letters, deliveries and exits that should not be, in words.
        poisoned: poison found among the dead letters, where it belongs.
        deliveries: by downstream queue, each event once.
        duplicates: deliveries beyond the first, by downstream queue.
    """

    accepted: int
    lost: dict[str, str]
    wrong: list[str]
    poisoned: int
    deliveries: dict[str, int]
    duplicates: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether the promise was kept."""
        return not self.lost and not self.wrong


@dataclass(frozen=True)
class Answered:
    """A 202.

    Attributes:
        at: seconds of any clock.
        door: which of the doors.
    """

    at: float
    door: int


@dataclass(frozen=True)
class Pace:
    """How some events fared.

    Attributes:
        events: how many.
        delays: seconds from the 202 to the arrival in the last of their queues, sorted; of those that arrived.
        missing: those that are not there yet.
        copies: deliveries to one queue beyond the first, the most of all queues, by event. Of what was posted once.
    """

    events: int
    delays: list[float]
    missing: list[str]
    copies: dict[str, int]

    def percentile(self, share: float) -> float:
        """The delay that such a share of the events did not exceed; 0 where none arrived."""
        return self.delays[min(int(len(self.delays) * share), len(self.delays) - 1)] if self.delays else 0.0


@dataclass
class Ledger:
    """Counts. `offered` knows every event that was ever posted, `answered` the first 202 of each event that got it."""

    offered: dict[str, Event] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    answered: dict[str, Answered] = field(default_factory=dict)
    posts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    _first: dict[tuple[str, str], float] = field(default_factory=dict)
    _receipts: dict[str, Event] = field(default_factory=dict)
    _bare: dict[str, str] = field(default_factory=dict)
    _arrived: Counter[tuple[str, str]] = field(default_factory=Counter)
    _dead: dict[str, str] = field(default_factory=dict)
    _unsettled: set[str] = field(default_factory=set)
    _frames: int = 0

    def offer(self, event: Event) -> None:
        """It is about to be posted."""
        self.offered[event.id] = event
        self.posts[event.id] += 1

    def accept(self, event: Event, *, at: float = 0.0, door: int = 0, receipt: str = "") -> None:
        """The door has answered 202."""
        self.answered.setdefault(event.id, Answered(at, door))
        if receipt:
            self._receipts[receipt] = event
        if receipt in self._bare:
            self._bury(event, self._bare.pop(receipt))
        if event.id not in self.accepted:
            self.accepted.add(event.id)
            if self._missing(event):
                self._unsettled.add(event.id)

    def refuse(self, why: str) -> None:
        """The door answered otherwise, or not at all; the event will be posted again."""
        self.refusals[why] += 1

    def frame_poison(self) -> None:
        """A message that the client library cannot read was put on the raw queue."""
        self._frames += 1

    def excuse(self, event_id: str) -> None:
        """It may be missing: what was done to it allows that."""
        self._unsettled.discard(event_id)

    def arrive(self, queue: str, body: bytes, *, again: bool = False, at: float = 0.0) -> None:
        """A downstream queue has delivered. `again`: the broker says that it may have delivered this copy before."""
        try:
            found: dict[str, Any] = json.loads(body)
        except ValueError:
            self.wrong.append(f"{queue} holds something that is no JSON")
            return
        event = self.offered.get(found.get("eventid", ""))
        if event is None or queue not in event.queues:
            self.wrong.append(f"{queue} holds {found['id']}, which was not meant for it")
            return
        if again and self._arrived[event.id, queue]:
            return  # this reader's own doing: its ack was lost
        self._arrived[event.id, queue] += 1
        self._first.setdefault((event.id, queue), at)
        if complaint := _complaint(event, body, found):
            self.wrong.append(f"{queue}: {event.id}: {complaint}")
        self._settle(event)

    def bury(self, body: bytes, headers: Mapping[str, Any]) -> None:
        """The dead letters have delivered."""
        reason = str(headers.get("reason") or "delivery-limit")
        if body == FRAME_POISON:
            self._dead[f"frame {len(self._dead)}"] = reason
            if reason not in POISON_REASONS:
                self.wrong.append(f"dead letter of the unreadable message: {reason}")
            return
        name = body.partition(b'"event_id":')[2].split(b'"')[1:2]
        known = name[0].decode() if name else str(headers.get("event_id", ""))
        receipt = str(headers.get("receipt_id", ""))
        event = self.offered.get(known) or self._receipts.get(receipt)
        if event is not None:
            self._bury(event, reason, detail=str(headers.get("detail")))
        elif receipt and not body:
            self._bare[receipt] = reason  # the 202 with this receipt is still to come
        else:
            self.wrong.append(f"dead letter of nobody: {reason}")

    def has_arrived(self, event: Event) -> bool:
        """Whether it is in every downstream queue bound for it, or among the dead letters where it belongs."""
        return not self._missing(event)

    @property
    def unsettled(self) -> int:
        """How many accepted events, and frames of poison, are still on their way."""
        frames = sum(1 for name in self._dead if name.startswith("frame "))
        return len(self._unsettled) + max(0, self._frames - frames)

    def unsettled_before(self, at: float) -> int:
        """How many of the events accepted before then are still on their way."""
        return sum(1 for name in self._unsettled if self.answered[name].at < at)

    @property
    def arrivals(self) -> int:
        """Deliveries so far; grows as long as something moves."""
        return self._arrived.total() + len(self._dead)

    def pace(self, event_ids: Iterable[str], *, apart: frozenset[str] = frozenset()) -> Pace:
        """How these fared, in all their queues but those that are left apart."""
        found, delays, missing, copies = list(event_ids), [], [], {}
        for name in found:
            queues = [(name, queue) for queue in self.offered[name].queues - apart]
            if any(place not in self._first for place in queues):
                missing.append(name)
                continue
            delays.append(max(self._first[place] for place in queues) - self.answered[name].at)
            more = max(self._arrived[place] for place in queues) - 1
            if more and self.posts[name] == 1:
                copies[name] = more
        return Pace(len(found), sorted(delays), missing, copies)

    def settlement(self) -> Settlement:
        """The verdict as things stand."""
        lost = {name: self._missing(self.offered[name]) for name in sorted(self._unsettled)}
        frames = sum(1 for name in self._dead if name.startswith("frame "))
        if frames < self._frames:
            lost["unreadable messages"] = f"{self._frames - frames} of {self._frames} are nowhere"
        wrong = [*self.wrong, *(f"dead letter of nobody: {reason}" for reason in self._bare.values())]
        deliveries: Counter[str] = Counter()
        duplicates: Counter[str] = Counter()
        for (_, queue), count in self._arrived.items():
            deliveries[queue] += 1
            duplicates[queue] += count - 1
        return Settlement(
            accepted=len(self.accepted),
            lost=lost,
            wrong=wrong,
            poisoned=len(self._dead),
            deliveries=dict(sorted(deliveries.items())),
            duplicates=dict(sorted(duplicates.items())),
        )

    def _bury(self, event: Event, reason: str, *, detail: str = "") -> None:
        if event.queues or reason != event.letter:
            self.wrong.append(f"dead letter {event.id}: {reason}: {detail}")
        self._dead[event.id] = reason
        self._settle(event)

    def _settle(self, event: Event) -> None:
        if event.id in self._unsettled and not self._missing(event):
            self._unsettled.discard(event.id)

    def _missing(self, event: Event) -> str:
        """Where it is still to come, in words; a letter that should not be does not make it lost as well."""
        if event.id in self._dead:
            return ""
        if not event.queues:
            return "not among the dead letters"
        queues = sorted(queue for queue in event.queues if not self._arrived[event.id, queue])
        return f"not in {', '.join(queues)}" if queues else ""


def most_in_a_window(times: list[float], *, seconds: float, since: float, until: float) -> int:
    """The most of some times, in order, in any so many seconds that end with one of those from `since` to `until`."""
    most, first = 0, 0
    for at, moment in enumerate(times):
        while times[first] <= moment - seconds:
            first += 1
        if since <= moment <= until:
            most = max(most, at + 1 - first)
    return most


FRAME_POISON = b"no JSON either, and the AMQP timestamp beside it is out of range"


def _complaint(event: Event, body: bytes, found: Mapping[str, Any]) -> str:
    """What is wrong with an event as it came out; empty where nothing is."""
    enrichment = found["data"]["enrichment"]
    if event.body not in body:
        return "its body is not the posted body"
    if event.invoice_id is None:
        return "" if enrichment["status"] == "not_applicable" else f"status {enrichment['status']}"
    if enrichment["status"] != "enriched":
        return f"status {enrichment['status']}: {enrichment['reason']}"
    if invoice_document(event.invoice_id) not in body:
        return "it bears another invoice, or another's bytes"
    if enrichment["fetched_at"] < found["receivedat"]:
        return "its invoice was read before it was received"
    return ""
