"""The calls of one source: each counted by its quota, each outcome told to its circuit, metrics and log.

An open circuit is probed from here, with an invoice that failed; a probe charges no event.
"""

import asyncio
import time
from collections.abc import Sequence

from worker.adapters.traces import UNTRACED
from worker.core.circuit import Circuit
from worker.core.errors import ApiRefusedUs, ApiThrottled, PermanentError, TransientError, WorkerError
from worker.core.expands import Expands
from worker.core.invoice_request import Invoice, decipher, merged, request
from worker.core.quota import Quota, told
from worker.core.settle import defect_detail
from worker.stages.ports import Fetches, Span, Traces
from worker.telemetry import log
from worker.telemetry.metrics import api_call_seconds, api_calls, circuit_open

KEY_LOOK_SECONDS = 1.0


class InvoiceCalls:
    """The way to the invoice API.

    Args:
        api: the port.
        source: whose API it is.
        expand: parts of an invoice to ask for.
        quota: when the next call may go; the caller spends it as a call for events begins.
        base_url: where the API is, for spans.
        traces: the port to where spans go.
    """

    def __init__(
        self,
        api: Fetches,
        *,
        source: str,
        expand: tuple[str, ...],
        quota: Quota,
        base_url: str = "",
        traces: Traces = UNTRACED,
    ) -> None:
        self._api = api
        self._base_url, self._traces = base_url, traces
        self._source = source
        self._expands = Expands(expand)
        self._told_splitting = False
        self.quota = quota
        self.circuit = Circuit()
        self._seconds = api_call_seconds.labels(source)
        circuit_open.labels(source).set(0)

    @property
    def expand(self) -> tuple[str, ...]:
        """The parts of an invoice that are asked for."""
        return self._expands.parts

    async def circuit_closes(self) -> None:
        """Return when the circuit is closed; until then probe, at once where the key has changed."""
        while self.circuit.is_open:
            key = self._api.key_mark()
            while (wait := self.circuit.probe_in(time.monotonic())) > 0 and self._api.key_mark() == key:  # noqa: ASYNC110  # a file tells nobody
                await asyncio.sleep(min(wait, KEY_LOOK_SECONDS))
            await self._probe(self.circuit.probe_invoice)

    async def fetch(self, invoice_id: str, *, serving: Sequence[Span] = ()) -> Invoice:
        """An invoice for events that wait for it, in one call, or in several where the source is splitting.

        Args:
            invoice_id: whose.
            serving: the spans of those events.

        Raises:
            WorkerError: of any kind; see core/settle.py.
        """
        try:
            invoice = await self._whole(invoice_id, serving)
        except Exception as error:
            self._note_failure(error, invoice_id)
            raise
        self._note_success()
        return invoice

    async def _whole(self, invoice_id: str, serving: Sequence[Span]) -> Invoice:
        """The first call, and those for what it lacks; a part that is refused is named as missing and holds nothing."""
        asked = self._expands.first()
        was_splitting = self._expands.is_splitting
        invoice = await self._call(invoice_id, ask=asked, serving=serving)
        for part in self._expands.alone(asked, invoice.missing):
            await self._turn()
            try:
                other = await self._call(invoice_id, ask=(part,), serving=serving)
            except PermanentError:
                continue  # told by the call
            more = merged(invoice, other)
            if not was_splitting:
                self._expands.came(part, brought=part not in more.missing)
            invoice = more
        if self._expands.is_splitting and not was_splitting and not self._told_splitting:
            self._told_splitting = True
            log.warning("source_splits_expands", source=self._source)
        return invoice

    async def _turn(self) -> None:
        """Wait for a call of the quota, and spend it."""
        while (wait := self.quota.wait(time.monotonic())) > 0:  # noqa: ASYNC110  # others may spend it meanwhile
            await asyncio.sleep(wait)
        self.quota.spend(time.monotonic())

    async def _probe(self, invoice_id: str) -> None:
        await self._turn()
        try:
            await self._call(invoice_id, ask=self.expand)
        except PermanentError:
            self._note_success()
        except Exception as error:  # noqa: BLE001  # a defect too is a failed probe, and must not end the stage
            if not isinstance(error, WorkerError):
                log.exception("defect", stage="enrich", source=self._source)
            self.circuit.probe_failed(now=time.monotonic())
        else:
            self._note_success()

    async def _call(self, invoice_id: str, *, ask: tuple[str, ...], serving: Sequence[Span] = ()) -> Invoice:
        """Call and decipher; tell quota, metrics and log how it went."""
        asked = request(invoice_id, expand=ask)
        began = time.monotonic()
        try:
            with self._traces.calling(asked, source=self._source, base_url=self._base_url, serving=serving) as call:
                try:
                    response = await self._api.fetch(asked)
                finally:
                    self._seconds.observe(time.monotonic() - began)
                call.answered(response.status)
                self.quota.correct(told(response.headers), now=time.monotonic())
                invoice = decipher(response, invoice_id=invoice_id, expand=self.expand)
        except Exception as error:
            if isinstance(error, ApiThrottled):
                self.quota.pause(error.retry_after, now=time.monotonic())
            kind, detail = type(error).__name__, _detail(error)
            api_calls.labels(self._source, kind).inc()
            log.warning("fetch_failed", source=self._source, invoice_id=invoice_id, error=kind, detail=detail)
            raise
        api_calls.labels(self._source, "ok").inc()
        seconds, missing = round(time.monotonic() - began, 3), list(invoice.missing)
        log.info("invoice_fetched", source=self._source, invoice_id=invoice_id, seconds=seconds, missing=missing)
        return invoice

    def _note_failure(self, error: Exception, invoice_id: str) -> None:
        """Tell the circuit; an answer that says something of this invoice alone is a success of the API."""
        was_open = self.circuit.is_open
        match error:
            case ApiRefusedUs():
                self.circuit.failed(invoice_id, now=time.monotonic(), at_once=True)
            case ApiThrottled():
                pass
            case TransientError():
                self.circuit.failed(invoice_id, now=time.monotonic())
            case PermanentError():
                self._note_success()
        if self.circuit.is_open and not was_open:
            circuit_open.labels(self._source).set(1)
            log.error("circuit_opened", source=self._source, failures=self.circuit.failures, detail=_detail(error))

    def _note_success(self) -> None:
        if self.circuit.is_open:
            log.info("circuit_closed", source=self._source)
        self.circuit.succeeded()
        circuit_open.labels(self._source).set(0)


def _detail(error: Exception) -> str:
    return str(error) if isinstance(error, WorkerError) else defect_detail(error)
