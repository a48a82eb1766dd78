"""What the decisions cost, in ns: each function of `core` that every event passes, on the seed's Invoice.Closed."""

import itertools
import statistics
import timeit
from collections.abc import Callable

from tests.bench.speed.trace import body
from zenoti_ingest.core.events import cloud_event, reading
from zenoti_ingest.core.events.messages import Received, received
from zenoti_ingest.core.events.routing import any_matches, matches, normal_type
from zenoti_ingest.core.intake import admission
from zenoti_ingest.core.intake.admission import Rule, signature
from zenoti_ingest.core.invoices.quota import Quota, rate_limit
from zenoti_ingest.core.invoices.window import Window
from zenoti_schemas.enriched import Enrichment

REPEATS = 7
LEAST_SECONDS = 0.05
SECRET = b"test-secret"
IN_THE_WINDOW = 1000


def micro() -> dict[str, float]:
    """Medians in ns."""
    return {name: _nanoseconds(function) for name, function in _functions().items()}


def _nanoseconds(function: Callable[[], object]) -> float:
    timer = timeit.Timer(function)
    number, _ = timer.autorange()
    number = max(1, int(number * LEAST_SECONDS / 0.2))
    return statistics.median(timer.repeat(REPEATS, number)) / number * 1e9


def _functions() -> dict[str, Callable[[], object]]:
    posted = body("a0a0a0a0", 7)
    message = _message(posted)
    event = reading.read(message)
    spelled = [f"sha256 ={signature(posted, secret=SECRET).hex('-').upper()}"]
    rule = Rule(secrets=(SECRET,))
    enrichment = Enrichment(status="enriched", expand=("InvoiceItems",), fetched_at="2031-05-06T17:08:11.000000Z")
    invoice = b'{"id":"x","invoice_items":[%s]}' % b",".join([b'{"id":"y","name":"z","price":0.10}'] * 30)
    quota, clock, headers = Quota(calls_per_minute=60_000, now=0.0), itertools.count(), {"ratelimit-remaining": "58"}
    return {
        "door.judge, signed": lambda: admission.judge(posted, signatures=spelled, tokens=(), rule=rule),
        "messages: Received and to": lambda: _message(posted).to(exchange="x", routing_key="main"),
        "messages.received": lambda: received(posted, {"source": "main", "receipt_id": "r"}, source="main"),
        "translate.read": lambda: reading.read(message),
        "outbound.outgoing, invoice of 1 kB": lambda: cloud_event.outgoing(
            event, exchange="zenoti.events", enrichment=enrichment, fetched=invoice
        ),
        "window: add and next_round, of 1,000": _window(),
        "quota: wait and spend": lambda: _spend(quota, float(next(clock))),
        "quota: rate_limit and correct": lambda: quota.correct(rate_limit(headers), now=float(next(clock))),
        "routing.normal_type": lambda: normal_type("Invoice.Closed"),
        "routing.any_matches, remembered": lambda: any_matches(("*.invoice.#",), "main.invoice.closed"),
        "routing.matches": lambda: matches("*.invoice.#", "main.invoice.closed"),
    }


def _message(posted: bytes) -> Received:
    return Received(
        body=posted,
        source="main",
        receipt_id="01985a3e-7c40-7abc-8def-0123456789ab",
        received_at="2031-05-06T17:08:10.000001Z",
        content_type="application/json",
    )


def _spend(quota: Quota, now: float) -> None:
    quota.wait(now)
    quota.spend(now)


def _window() -> Callable[[], object]:
    """An event comes, and the invoice that has waited longest is served, in a window that stays as full."""
    window, numbers = Window[int](), itertools.count()

    def add() -> None:
        number = next(numbers)
        window.add(f"invoice-{number}", order=(False, f"{number:012}", ""), item=number, now=0.0)

    def step() -> None:
        add()
        begun = window.next_round(1.0)
        assert begun is not None
        window.finish(begun)

    for _ in range(IN_THE_WINDOW):
        add()
    return step
