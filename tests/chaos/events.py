"""The load's events: several to an invoice, as a visit makes them, guests between, and the two kinds of poison."""

import json
import random
from dataclasses import dataclass, replace

PREFIX = "zenoti"
ALL, INVOICES, GUESTS = f"{PREFIX}.out.all", f"{PREFIX}.out.invoices", f"{PREFIX}.out.guests"
DOWNSTREAMS = {"ALL": "#", "INVOICES": "invoice.#", "GUESTS": "guest.#,guestpass.#"}
QUEUES = (ALL, INVOICES, GUESTS)
FULL = f"{PREFIX}-theirs"  # somebody else's queue, for events whose type begins with `full`
SICK, LARGE = "sick-", "large-"  # how the ids of invoices begin that the API cannot give, or gives at length
DOOR_BYTES, LANE_BYTES = (
    100_000,
    40_000,
)  # a body too large for the broker; a body that its invoice makes too large


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the load.

    Attributes:
        id: what it is known by all the way.
        body: what is posted.
        queues: the downstream queues bound for it; none where it belongs among the dead letters.
        invoice_id: the invoice to enrich it with.
        letter: the reason of its dead letter, where it belongs there.
    """

    id: str
    body: bytes
    queues: frozenset[str]
    invoice_id: str | None = None
    letter: str = "malformed"


class Maker:
    """Makes events, each of them once: a third are guests, the others concern one of a few invoices in the making."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._run = f"{rng.getrandbits(32):08x}"
        self._made = 0
        self._invoices: list[str] = []

    def guest(self) -> Event:
        """An event without an invoice."""
        name = self._name()
        return _event(name, "Guest.Created", {"id": f"guest-{name}"}, queues=(ALL, GUESTS))

    def invoice(self, *, fresh: bool = False) -> Event:
        """An event of an invoice; `fresh`: of an unknown invoice."""
        name = self._name()
        invoice_id = f"invoice-{name}" if fresh else self._invoice(name)
        if self._rng.random() < 0.5:
            data: dict[str, object] = {"invoice": {"id": invoice_id, "invoice_number": name}}
            return _event(name, "Invoice.Closed", data, queues=(ALL, INVOICES), invoice_id=invoice_id)
        data = {"invoice_id": invoice_id}
        return _event(name, "Guestpass.Redeemed", data, queues=(ALL, GUESTS), invoice_id=invoice_id)

    def any(self) -> Event:
        """The next of the load."""
        return self.guest() if self._rng.random() < 1 / 3 else self.invoice()

    def malformed(self) -> Event:
        """A body that is no JSON: it is accepted, and belongs among the dead letters."""
        name = self._name()
        return Event(name, b'{"event_id":"%s","event_type":"Guest.Created","data":{' % name.encode(), frozenset())

    def sick(self) -> Event:
        """Of an invoice that the API never gives."""
        return self._doomed(SICK, letter="attempts-exhausted")

    def too_large(self) -> Event:
        """Too large for the broker: as it is, or with its invoice."""
        if self._rng.random() < 0.5:
            return self._doomed(LARGE, letter="too-large", note=" " * LANE_BYTES)
        name = self._name()
        made = _event(name, "Guest.Created", {"id": f"guest-{name}", "note": " " * DOOR_BYTES}, queues=())
        return replace(made, letter="too-large")

    def for_full(self) -> Event:
        """A guest's, for one more receiver."""
        name = self._name()
        return _event(name, "Full.Created", {"id": f"guest-{name}"}, queues=(ALL, FULL))

    def _doomed(self, kind: str, *, letter: str, **more: str) -> Event:
        """Of an invoice of its own."""
        name = self._name()
        data: dict[str, object] = {"invoice": {"id": f"{kind}{name}", "invoice_number": name}, **more}
        return replace(_event(name, "Invoice.Closed", data, queues=(), invoice_id=f"{kind}{name}"), letter=letter)

    def _name(self) -> str:
        self._made += 1
        return f"{self._run}-{self._made:07d}"

    def _invoice(self, name: str) -> str:
        """One of the invoices in the making; each is done after four events or so."""
        if len(self._invoices) < 8:
            self._invoices.append(f"invoice-{name}")
        at = self._rng.randrange(len(self._invoices))
        return self._invoices.pop(at) if self._rng.random() < 0.25 else self._invoices[at]


def _event(
    name: str, kind: str, data: dict[str, object], *, queues: tuple[str, ...], invoice_id: str | None = None
) -> Event:
    body = json.dumps({"event_id": name, "event_type": kind, "data": data, "price": 0.10}).encode()
    return Event(name, body, frozenset(queues), invoice_id)
