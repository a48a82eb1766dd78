"""The calls of one source: each counted by its quota, each outcome told to its circuit, metrics and log.

Probes go from here, while a failure is in doubt and while the circuit is open; a probe charges no event.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from math import inf

from worker.adapters.traces import UNTRACED
from worker.core.circuit import Blame, Circuit
from worker.core.errors import ApiFailure, ApiRefusedUs, ApiThrottled, PermanentError, WorkerError
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

    Attributes:
        last_failure: what the API answered to the last call that failed, since its last answer; no customer's data.
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
        self.last_failure = ""
        self._doubts: dict[str, asyncio.Future[Blame]] = {}
        self._is_probing = False
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
            await self._turn()
            await self._probe(self.circuit.probe_invoice(random_id=_random_id()))

    async def fetch(self, invoice_id: str, *, serving: Sequence[Span] = ()) -> Invoice:
        """An invoice for events that wait for it, in one call, or in several where the source is splitting.

        Args:
            invoice_id: whose.
            serving: the spans of those events.

        Raises:
            WorkerError: of any kind; `blame` says whose failure an ApiFailure is.
        """
        asked = self._expands.first()
        try:
            invoice = await self._call(invoice_id, ask=asked, serving=serving)
        except Exception as error:
            self._note_failure(error, invoice_id)
            raise
        self._note_answer(invoice_id)
        return await self._whole(invoice_id, invoice, asked, serving)

    async def blame(self, invoice_id: str, *, leaving: asyncio.Event) -> Blame:
        """Whose failure the last call for an invoice was; waits while it is in doubt, until the lane is to be left."""
        doubt = self._doubts.get(invoice_id)
        if doubt is None:
            return Blame.API if self.circuit.is_open else Blame.INVOICE
        if leaving.is_set():
            self._decide(Blame.UNKNOWN)
        return await doubt

    def leave(self) -> None:
        """The lane is left: what is in doubt goes back to the broker, uncharged."""
        self._decide(Blame.UNKNOWN)

    def probe_in(self, now: float) -> float:
        """Seconds until a probe may go for what is in doubt; infinite where nothing is, or a probe is under way."""
        return (
            inf if self._is_probing or self.circuit.is_open else max(self.circuit.probe_in(now), self.quota.wait(now))
        )

    def begin_probe(self, now: float) -> str:
        """Choose what to probe for. An invoice whose events wait for the verdict is asked for again by its own call.

        Returns:
            the id to give to `probe`; empty where no probe is to go.
        """
        invoice_id = self.circuit.probe_invoice(random_id=_random_id())
        doubt = self._doubts.pop(invoice_id, None)
        if doubt is not None:
            self.circuit.probe_passed_over(now=now)
            doubt.set_result(Blame.UNKNOWN)
            return ""
        self._is_probing = True
        self.quota.spend(now)
        return invoice_id

    async def probe(self, invoice_id: str) -> None:
        """The probe that `begin_probe` chose."""
        try:
            await self._probe(invoice_id)
        finally:
            self._is_probing = False

    async def _whole(
        self, invoice_id: str, invoice: Invoice, asked: tuple[str, ...], serving: Sequence[Span]
    ) -> Invoice:
        """What the first call lacks, by more calls. A part that is refused, or fails again, is missing.

        The API has answered for this invoice, so a part that fails says nothing of the API: the circuit hears nothing.
        """
        was_splitting = self._expands.is_splitting
        for part in self._expands.alone(asked, invoice.missing):
            await self._turn()
            try:
                other = await self._call(invoice_id, ask=(part,), serving=serving)
            except PermanentError:
                continue  # told by the call
            except ApiFailure:
                if self._expands.failed(invoice_id, part):
                    continue
                raise
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
        was_open = self.circuit.is_open
        try:
            await self._call(invoice_id, ask=self.expand)
        except PermanentError:
            self._note_answer(invoice_id)
        except ApiThrottled:
            self.circuit.probe_passed_over(now=time.monotonic())
        except Exception as error:  # noqa: BLE001  # a defect too is a failed probe, and must not end the stage
            if not isinstance(error, WorkerError):
                log.exception("defect", stage="enrich", source=self._source)
            refused = isinstance(error, ApiRefusedUs)
            self.circuit.probe_failed(invoice_id, now=time.monotonic(), refused=refused)
            self._note_state(error, was_open=was_open)
        else:
            self._note_answer(invoice_id)

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
        """Tell the circuit; an answer that says something of this invoice alone is an answer of the API."""
        match error:
            case ApiFailure():
                was_open, refused = self.circuit.is_open, isinstance(error, ApiRefusedUs)
                blame = self.circuit.failed(invoice_id, now=time.monotonic(), refused=refused)
                if blame is Blame.UNKNOWN:
                    self._doubts[invoice_id] = asyncio.get_running_loop().create_future()
                self._note_state(error, was_open=was_open)
            case PermanentError():
                self._note_answer(invoice_id)

    def _note_state(self, error: Exception, *, was_open: bool) -> None:
        self.last_failure = _detail(error)
        if self.circuit.is_open and not was_open:
            circuit_open.labels(self._source).set(1)
            log.error("circuit_opened", source=self._source, failures=self.circuit.failures, detail=self.last_failure)
            self._decide(Blame.API)

    def _note_answer(self, invoice_id: str) -> None:
        if self.circuit.is_open:
            log.info("circuit_closed", source=self._source)
        self.circuit.answered(invoice_id, now=time.monotonic())
        self.last_failure = ""
        circuit_open.labels(self._source).set(0)
        self._decide(Blame.INVOICE)

    def _decide(self, blame: Blame) -> None:
        for doubt in self._doubts.values():
            doubt.set_result(blame)
        self._doubts.clear()


def _random_id() -> str:
    return str(uuid.uuid4())


def _detail(error: Exception) -> str:
    return str(error) if isinstance(error, WorkerError) else defect_detail(error)
