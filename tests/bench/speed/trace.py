"""The events of a run: the seed's Invoice.Closed in 2.7 kB, five of each invoice among those of forty others.

Each has the run's tag and its number, so arriving events are recognised and counted by their bytes alone.
"""

import json
import re
from pathlib import Path

SEED = Path(__file__).parents[2] / "data" / "invoice_closed.json"
EVENTS_OF_AN_INVOICE = 5
INVOICES_AT_A_TIME = 40
_OWN_EVENT, _OWN_INVOICE = "64f1c0de5a5e0a0001ab0001", "0e0c5b9a-6f4e-4d11-9a57-3f1f0a6f0001"
_TEMPLATE = json.dumps(json.loads(SEED.read_text())).replace(_OWN_EVENT, "{event}").encode()
_NUMBER = re.compile(rb'"event_id": ?"([a-z0-9]+)-(\d+)"')


def body(tag: str, number: int) -> bytes:
    """The webhook's body."""
    block, place = divmod(number, EVENTS_OF_AN_INVOICE * INVOICES_AT_A_TIME)
    invoice = f"{tag}-{block * INVOICES_AT_A_TIME + place % INVOICES_AT_A_TIME:08}"
    found = _TEMPLATE.replace(b"{event}", f"{tag}-{number}".encode())
    return found.replace(_OWN_INVOICE.encode(), invoice.encode())


class Arrived:
    """Which events of a run have come, be it raw or inside of what a side made of them."""

    def __init__(self, tag: str, count: int) -> None:
        self.count = count
        self._tag = tag.encode()
        self._seen = bytearray(count)
        self.distinct = 0
        self.copies = 0

    def note(self, message: bytes) -> int:
        """Count an event, and return its number. Raises ValueError: it is none of this run."""
        found = _NUMBER.search(message)
        if found is None or found[1] != self._tag:
            raise ValueError("a message that is none of this run's")
        number = int(found[2])
        self.copies += self._seen[number]
        self.distinct += not self._seen[number]
        self._seen[number] = 1
        return number

    @property
    def missing(self) -> int:
        """How many have not come."""
        return len(self._seen) - self.distinct
