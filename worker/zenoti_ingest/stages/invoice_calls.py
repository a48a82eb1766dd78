"""The calls of a source to the invoice API: each needs the lease and counts in the quota.

Circuit, metrics and log get the outcome of each call. Probes are calls for no event: they go while the blame for a
failure is open, and while the circuit is open.
"""

import asyncio
from collections.abc import Sequence
from math import inf

from zenoti_ingest.adapters.traces import UNTRACED
from zenoti_ingest.core.failures.errors import (
    ApiFailure,
    ApiRefusedUs,
    ApiThrottled,
    PermanentError,
    TurnLost,
    WorkerError,
)
from zenoti_ingest.core.failures.policy import defect_detail
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.invoices.circuit import Blame, Circuit
from zenoti_ingest.core.invoices.expands import Expands
from zenoti_ingest.core.invoices.kinds import kind_of
from zenoti_ingest.core.invoices.lease import Lease
from zenoti_ingest.core.invoices.protocol import Invoice, merged
from zenoti_ingest.core.invoices.quota import Quota, rate_limit
from zenoti_ingest.stages.ports import Fetches, Runtime, Span, Traces
from zenoti_ingest.telemetry import log
from zenoti_ingest.telemetry.metrics import api_call_seconds, api_calls, circuit_open


class InvoiceCalls:
    """The calls of a source.

    Args:
        api: the port.
        source: its name.
        expand: the parts of an invoice to ask for.
        quota: says when the next call may go; the caller of `fetch` spends a call before it.
        lease: says whether this process may make calls at all.
        runtime: clock and ids.
        base_url: where the API is, for spans.
        traces: the port to where spans go.

    Attributes:
        last_failure: what the API answered to the last failed call; empty once it has answered well. Has no customer's
            data.
    """

    def __init__(
        self,
        api: Fetches,
        *,
        source: str,
        expand: tuple[str, ...],
        quota: Quota,
        lease: Lease,
        runtime: Runtime,
        base_url: str = "",
        traces: Traces = UNTRACED,
    ) -> None:
        self._api = api
        self._clock, self._ids = runtime.clock, runtime.ids
        self._base_url, self._traces = base_url, traces
        self._source = source
        self._expands = Expands(expand)
        self._splitting_is_logged = False
        self.quota = quota
        self.lease = lease
        self.circuit = Circuit()
        self._tried_key = api.key_mark()
        self.last_failure = ""
        self._doubts: dict[str, asyncio.Future[Blame]] = {}
        self._is_probing = False
        self._seconds = api_call_seconds.labels(source)
        circuit_open.labels(source).set(0)

    @property
    def expand(self) -> tuple[str, ...]:
        """The parts of an invoice that are asked for."""
        return self._expands.parts

    def parts_of(self, key: str) -> tuple[str, ...]:
        """The parts that are asked for of what a key names."""
        return self.expand if kind_of(key)[0].has_parts else ()

    def wait(self, now: float) -> float:
        """Seconds until the next call or probe may go; infinite while the lease does not hold."""
        return self.quota.wait(now) if self.lease.holds(now) else inf

    def hand_over(self) -> Baton:
        """The baton: what the lane's next holder must know."""
        now = self._clock.monotonic()
        return Baton(self.quota.hand_over(now), self.circuit.hand_over(now))

    def take_over(self, baton: Baton | None) -> None:
        """Continue the quota and circuit of the lane's last holder; None: it left no baton."""
        now = self._clock.monotonic()
        self.quota.take_over(now, baton.spent if baton else None)
        if baton is not None:
            self.circuit.take_over(baton.opened, now=now)
            self._decide(Blame.UNKNOWN)
            self._show_circuit()

    def answered_elsewhere(self) -> None:
        """Take note that another process, the lane's holder, has its circuit closed."""
        if self.circuit.is_open:
            log.info("circuit_closed", source=self._source)
            self.circuit.take_over(None, now=self._clock.monotonic())
            self._show_circuit()

    async def fetch(self, invoice_id: str, *, serving: Sequence[Span] = ()) -> Invoice:
        """Fetch what a fetch key names: in a single call, or in several while the source is splitting.

        Args:
            invoice_id: the fetch key, see core/invoices/kinds.py.
            serving: the spans of the events that wait for it.

        Raises:
            WorkerError: of any kind; `blame` says whose failure an ApiFailure is.
        """
        has_parts = kind_of(invoice_id)[0].has_parts
        asked = self._expands.first() if has_parts else ()
        try:
            invoice = await self._call(invoice_id, ask=asked, serving=serving)
        except Exception as error:
            self._note_failure(error, invoice_id)
            raise
        self._note_answer(invoice_id)
        return await self._whole(invoice_id, invoice, asked, serving) if has_parts else invoice

    async def blame(self, invoice_id: str, *, leaving: asyncio.Event) -> Blame:
        """Who is to blame for the last failure with an invoice; waits for the verdict until the lane is to be left."""
        doubt = self._doubts.get(invoice_id)
        if doubt is None:
            return Blame.API if self.circuit.is_open else Blame.KEY
        if leaving.is_set():
            self._decide(Blame.UNKNOWN)
        return await doubt

    def leave(self) -> None:
        """Leave the lane: events that wait for a verdict go back to the broker, uncharged."""
        self._decide(Blame.UNKNOWN)

    def probe_in(self, now: float) -> float:
        """Seconds until a probe may go; infinite if no verdict is open, or a probe is under way.

        While the circuit is open, a changed API key is probed at once.
        """
        if self._is_probing:
            return inf
        has_new_key = self.circuit.is_open and self._api.key_mark() != self._tried_key
        return max(0.0 if has_new_key else self.circuit.probe_in(now), self.wait(now))

    def begin_probe(self, now: float) -> str:
        """Choose what to probe for. An invoice whose events wait for the verdict gets its own call again instead.

        Returns:
            the id to give to `probe`; empty: no probe is to go.
        """
        invoice_id = self.circuit.probe_key(random_id=self._ids.random())
        doubt = self._doubts.pop(invoice_id, None)
        if doubt is not None:
            self.circuit.probe_passed_over(now=now)
            doubt.set_result(Blame.UNKNOWN)
            return ""
        self._is_probing = True
        self._tried_key = self._api.key_mark()
        self.quota.spend(now)
        return invoice_id

    async def probe(self, invoice_id: str) -> None:
        """Make the probe that `begin_probe` chose."""
        try:
            await self._probe(invoice_id)
        finally:
            self._is_probing = False

    async def _whole(
        self, invoice_id: str, invoice: Invoice, asked: tuple[str, ...], serving: Sequence[Span]
    ) -> Invoice:
        """Fetch the parts that the first call lacks. A part that is refused, or fails twice, is missing.

        The API has answered for this invoice, so a failing part is not the API's fault: the circuit does not count it.
        """
        was_splitting = self._expands.is_splitting
        for part in self._expands.alone(asked, invoice.missing):
            await self._turn()
            try:
                other = await self._call(invoice_id, ask=(part,), serving=serving)
            except PermanentError:
                continue  # `_call` has logged it
            except ApiFailure:
                if self._expands.failed(invoice_id, part):
                    continue
                raise
            more = merged(invoice, other)
            if not was_splitting:
                self._expands.came(part, brought=part not in more.missing)
            invoice = more
        if self._expands.is_splitting and not was_splitting and not self._splitting_is_logged:
            self._splitting_is_logged = True
            log.warning("source_splits_expands", source=self._source)
        return invoice

    async def _turn(self) -> None:
        """Wait until the quota allows a call, and spend it.

        Raises:
            TurnLost: the lease does not hold.
        """
        while (wait := self.quota.wait(now := self._clock.monotonic())) > 0:  # noqa: ASYNC110  # others may spend it
            await asyncio.sleep(wait)
        self._require_turn(now)
        self.quota.spend(now)

    def _require_turn(self, now: float) -> None:
        if not self.lease.holds(now):
            raise TurnLost("the broker has not answered for the lane lately: another process may have it")

    async def _probe(self, invoice_id: str) -> None:
        was_open = self.circuit.is_open
        try:
            await self._call(invoice_id, ask=self.parts_of(invoice_id))
        except PermanentError:
            self._note_answer(invoice_id)
        except (ApiThrottled, TurnLost):
            self.circuit.probe_passed_over(now=self._clock.monotonic())
        except Exception as error:  # noqa: BLE001  # a defect too counts as a failed probe, and must not end the stage
            if not isinstance(error, WorkerError):
                log.exception("defect", stage="enrich", source=self._source)
            refused = isinstance(error, ApiRefusedUs)
            self.circuit.probe_failed(invoice_id, now=self._clock.monotonic(), refused=refused)
            self._note_state(error, was_open=was_open)
        else:
            self._note_answer(invoice_id)

    async def _call(self, invoice_id: str, *, ask: tuple[str, ...], serving: Sequence[Span] = ()) -> Invoice:
        """Call and decipher; reports the outcome to quota, metrics and log."""
        kind, thing_id = kind_of(invoice_id)
        asked = kind.request(thing_id, expand=ask)
        began = self._clock.monotonic()
        try:
            with self._traces.calling(asked, source=self._source, base_url=self._base_url, serving=serving) as call:
                try:
                    response = await self._api.fetch(asked, last_look=self._last_look)
                finally:
                    self._seconds.observe(self._clock.monotonic() - began)
                call.answered(response.status)
                self.quota.correct(rate_limit(response.headers), now=self._clock.monotonic())
                invoice = kind.decipher(response, thing_id, expand=self.parts_of(invoice_id))
        except Exception as error:
            if isinstance(error, ApiThrottled):
                self.quota.pause(error.retry_after, now=self._clock.monotonic())
            name, detail = type(error).__name__, _detail(error)
            api_calls.labels(self._source, name).inc()
            log.warning("fetch_failed", source=self._source, invoice_id=invoice_id, error=name, detail=detail)
            raise
        api_calls.labels(self._source, "ok").inc()
        seconds, missing = round(self._clock.monotonic() - began, 3), list(invoice.missing)
        log.info("invoice_fetched", source=self._source, invoice_id=invoice_id, seconds=seconds, missing=missing)
        return invoice

    def _last_look(self) -> None:
        self._require_turn(self._clock.monotonic())

    def _note_failure(self, error: Exception, invoice_id: str) -> None:
        """Report a failure to the circuit. An error about this invoice alone counts as an answer of the API."""
        match error:
            case ApiFailure():
                was_open, refused = self.circuit.is_open, isinstance(error, ApiRefusedUs)
                blame = self.circuit.failed(invoice_id, now=self._clock.monotonic(), refused=refused)
                if blame is Blame.UNKNOWN:
                    self._doubts[invoice_id] = asyncio.get_running_loop().create_future()
                self._note_state(error, was_open=was_open)
            case PermanentError():
                self._note_answer(invoice_id)

    def _note_state(self, error: Exception, *, was_open: bool) -> None:
        self.last_failure = _detail(error)
        if self.circuit.is_open and not was_open:
            self._show_circuit()
            self._tried_key = self._api.key_mark()
            log.error("circuit_opened", source=self._source, failures=self.circuit.failures, detail=self.last_failure)
            self._decide(Blame.API)

    def _note_answer(self, invoice_id: str) -> None:
        if self.circuit.is_open:
            log.info("circuit_closed", source=self._source)
        self.circuit.answered(invoice_id, now=self._clock.monotonic())
        self._show_circuit()
        self._decide(Blame.KEY)

    def _show_circuit(self) -> None:
        circuit_open.labels(self._source).set(self.circuit.is_open)
        if not self.circuit.is_open:
            self.last_failure = ""

    def _decide(self, blame: Blame) -> None:
        for doubt in self._doubts.values():
            doubt.set_result(blame)
        self._doubts.clear()


def _detail(error: Exception) -> str:
    return str(error) if isinstance(error, WorkerError) else defect_detail(error)
