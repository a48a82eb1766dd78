"""The calls of one source: each counted by its quota, each outcome told to its circuit, metrics and log.

An open circuit is probed from here, with an invoice that failed; a probe charges no event.
"""

import asyncio
import time

from worker.core.circuit import Circuit
from worker.core.errors import ApiRefusedUs, ApiThrottled, PermanentError, TransientError, WorkerError
from worker.core.invoice_request import Invoice, decipher, request
from worker.core.quota import Quota
from worker.core.settle import defect_detail
from worker.stages.ports import Fetches
from worker.telemetry import api_calls, circuit_open, log


class InvoiceCalls:
    """The way to the invoice API.

    Args:
        api: the port.
        source: whose API it is.
        expand: parts of an invoice to ask for.
        quota: when the next call may go; the caller spends it as a call for events begins.
    """

    def __init__(self, api: Fetches, *, source: str, expand: tuple[str, ...], quota: Quota) -> None:
        self._api = api
        self._source = source
        self.expand = expand
        self.quota = quota
        self.circuit = Circuit()

    async def circuit_closes(self) -> None:
        """Return when the circuit is closed; until then probe."""
        while self.circuit.is_open:
            await asyncio.sleep(max(self.circuit.probe_in(time.monotonic()), self.quota.wait(time.monotonic())))
            await self._probe(self.circuit.probe_invoice)

    async def fetch(self, invoice_id: str) -> Invoice:
        """An invoice for events that wait for it.

        Raises:
            WorkerError: of any kind; see core/settle.py.
        """
        try:
            invoice = await self._call(invoice_id)
        except Exception as error:
            self._note_failure(error, invoice_id)
            raise
        self._note_success()
        return invoice

    async def _probe(self, invoice_id: str) -> None:
        self.quota.spend(time.monotonic())
        try:
            await self._call(invoice_id)
        except PermanentError:
            self._note_success()
        except Exception as error:  # noqa: BLE001  # a defect too is a failed probe, and must not end the stage
            if not isinstance(error, WorkerError):
                log.exception("defect", stage="enrich", source=self._source)
            self.circuit.probe_failed(now=time.monotonic())
        else:
            self._note_success()

    async def _call(self, invoice_id: str) -> Invoice:
        """Call and decipher; tell quota, metrics and log how it went."""
        try:
            response = await self._api.fetch(request(invoice_id, expand=self.expand))
            invoice = decipher(response, invoice_id=invoice_id, expand=self.expand)
        except Exception as error:
            if isinstance(error, ApiThrottled):
                self.quota.pause(error.retry_after, now=time.monotonic())
            kind, detail = type(error).__name__, _detail(error)
            api_calls.labels(self._source, kind).inc()
            log.warning("fetch_failed", source=self._source, invoice_id=invoice_id, error=kind, detail=detail)
            raise
        api_calls.labels(self._source, "ok").inc()
        log.info("invoice_fetched", source=self._source, invoice_id=invoice_id, missing=list(invoice.missing))
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
