"""A simulated Zenoti's invoice API: invoices that change, the quota, and every way to answer. Without sockets.

`answers` has the ways to answer and what is true of each, `papers` the documents, `vendor_quota` the quota, `feed` the
webhooks, `bodies` what they carry.
"""

import asyncio
from collections.abc import Callable
from math import inf
from random import Random

import msgspec

from tests.simulation.answers import (
    BEHAVIOURS,
    GOOD,
    HANG,
    OK,
    SLOW,
    THROTTLED,
    UNREACHABLE,
    Behaviour,
    Outcome,
    Truth,
)
from tests.simulation.papers import Version, document
from tests.simulation.vendor_quota import QuotaTerms, retry_after_headers
from tests.simulation.virtual_time import WIRE
from zenoti_ingest.core.failures.errors import ApiUnavailable, ApiUnreachable
from zenoti_ingest.core.invoices.protocol import Request, Response

CALL_SECONDS = 15.0
FEW_ATTEMPTS = 4
KEY = "key-1"
NOT_FOUND, REFUSED_KEY = "418/200/error", "401"
WAY_SECONDS = 0.2  # from the caller to the API, at most
ODD = [name for name in GOOD if name != SLOW]


class Call(msgspec.Struct, frozen=True):
    """A call that reached the API.

    Attributes:
        at: when, in virtual seconds.
        invoice_id: as it was asked for.
        process: who called.
        behaviour: how it was answered, a name of `answers.BEHAVIOURS`.
    """

    at: float
    invoice_id: str
    process: str
    behaviour: str


class Failure(msgspec.Struct, frozen=True):
    """An outcome of a call that the caller has to judge; `is_own`: it was the invoice's own, not the whole API's."""

    at: float
    behaviour: str
    is_own: bool


class _Sickness(msgspec.Struct):
    behaviour: str
    calls: float
    until: float


class _Asked(msgspec.Struct):
    """A call under way: what was asked, by whom, with which key; `has_failed` once it is known to have."""

    request: Request
    process: str
    key: str
    has_failed: bool = False

    @property
    def invoice_id(self) -> str:
        return self.request.path.rpartition("/")[2]


class SimulatedZenoti:
    """The API, for all processes.

    Args:
        random: decides how long answers take.
        terms: of the quota.
        latency: shortest and longest usual time to an answer, in seconds. The invoice is read as soon as
            the call is there, so a slow answer is as old as it can be.
        splits: it ignores an `expand` of several parts.
        not_found: how it answers for an invoice that it does not know: a name of `answers.BEHAVIOURS`.
        odd_share: share of good answers that are odd, but good.
        notice: told of what happens: a word, and the rest of a line.

    Attributes:
        mode: how it answers everything now: a name of `answers.BEHAVIOURS`; `OK`: well.
        terms: of the quota; the vendor may change them.
        keys: the keys that it takes.
        calls: all calls that reached it, in order.
        failures: the failures of each invoice (lower case), in order.
        behaviours: the ways to answer; a test may add some.
    """

    def __init__(
        self,
        random: Random,
        *,
        terms: QuotaTerms | None = None,
        latency: tuple[float, float] = (0.05, 1.05),
        splits: bool = False,
        not_found: str = NOT_FOUND,
        odd_share: float = 0.0,
        notice: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._random, self._latency, self._splits, self._not_found = random, latency, splits, not_found
        self._odd_share, self._notice = odd_share, notice
        self.terms = terms or QuotaTerms()
        self._meter = self.terms.meter(asyncio.get_running_loop().time())
        self.mode = OK
        self.keys = {KEY}
        self.calls: list[Call] = []
        self.failures: dict[str, list[Failure]] = {}
        self.behaviours: dict[str, Behaviour] = dict(BEHAVIOURS)
        self._versions: dict[str, list[Version]] = {}
        self._sick: dict[str, _Sickness] = {}

    def port(self, process: str, *, call_seconds: float = CALL_SECONDS) -> "ApiOfProcess":
        """The port `Fetches` of a process, with the deadline of its calls."""
        return ApiOfProcess(self, process, call_seconds=call_seconds)

    def happened(self, invoice_id: str, change: str) -> Version:
        """An invoice changes, in one of `papers.CHANGES`; returns the state that an event of this tells of."""
        versions = self._versions.setdefault(invoice_id.lower(), [])
        versions.append(Version(len(versions) + 1, asyncio.get_running_loop().time(), change))
        return versions[-1]

    def gone(self, invoice_id: str) -> None:
        """An invoice is deleted: from now on it is not found."""
        self._versions.pop(invoice_id.lower(), None)

    def knows(self, invoice_id: str) -> bool:
        """Whether it has the invoice."""
        return invoice_id.lower() in self._versions

    def sicken(self, invoice_id: str, behaviour: str, *, calls: float = inf, seconds: float = inf) -> None:
        """From now on answer so for one invoice, for so many calls or seconds; 418 for a few makes it a late one."""
        until = asyncio.get_running_loop().time() + seconds
        self._sick[invoice_id.lower()] = _Sickness(behaviour, calls, until)

    def heal(self, invoice_id: str) -> None:
        """Answer well for that invoice."""
        self._sick.pop(invoice_id.lower(), None)

    def letter_is_true(self, reason: str, invoice_id: str, *, attempts: int, most_attempts: int) -> bool:
        """Whether a dead letter with a reason that the API gave is true.

        The invoice must have failed as often as the letter counts; the reason must be that of a failure of its own
        (or that of an answer that is believed whoever else gets it), and as many attempts as that takes must have gone.

        Args:
            reason: the letter's word.
            invoice_id: the letter's invoice.
            attempts: as the letter counts them.
            most_attempts: of the source's ladder.
        """
        failures = self.failures.get(invoice_id.lower(), [])
        return len(failures) >= attempts and any(
            self._explains(failure, reason, attempts=attempts, most=most_attempts) for failure in failures
        )

    def _explains(self, failure: Failure, reason: str, *, attempts: int, most: int) -> bool:
        behaviour = self.behaviours[failure.behaviour]
        believed = failure.is_own or behaviour.truth in (Truth.PERMANENT, Truth.LATER)
        needed = behaviour.attempts(few=FEW_ATTEMPTS, most=most)
        return believed and behaviour.reason == reason and attempts >= needed

    def note_failure(self, invoice_id: str, behaviour: str, *, is_own: bool) -> None:
        """A caller has got, or will get, an answer that is not good."""
        failure = Failure(asyncio.get_running_loop().time(), behaviour, is_own)
        self.failures.setdefault(invoice_id.lower(), []).append(failure)

    async def answer(self, asked: _Asked) -> Outcome:
        """Answer a request that is on its way to the API."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._random.uniform(0, WAY_SECONDS))
        now, terms = loop.time(), self.terms
        is_free = self._meter.take(now, calls_per_minute=terms.calls_per_minute, other_calls=terms.other_calls)
        name, is_own = self._behaviour(asked) if is_free else (THROTTLED, False)
        self.calls.append(Call(now, asked.invoice_id, asked.process, name))
        self._notice("called", f"{asked.invoice_id} by {asked.process}: {name}")
        behaviour, quota = self.behaviours[name], self._quota_headers(name, now)
        if behaviour.reason:
            asked.has_failed = True
            self.note_failure(asked.invoice_id, name, is_own=is_own)
        outcome = behaviour.answer(self._document(asked))
        await asyncio.sleep(self._random.uniform(*self._latency) + self._random.uniform(*behaviour.seconds))
        self._notice("replied", f"{asked.invoice_id} to {asked.process}")
        if isinstance(outcome, ApiUnavailable):
            return outcome
        return msgspec.structs.replace(outcome, headers={**outcome.headers, **quota})

    def _behaviour(self, asked: _Asked) -> tuple[str, bool]:
        """How a call is answered, and whether that is its invoice's own."""
        invoice_id = asked.invoice_id.lower()
        if asked.key not in self.keys:
            return REFUSED_KEY, False
        if self.mode != OK:
            return self.mode, False
        sickness = self._sick.get(invoice_id)
        if sickness is not None and sickness.calls > 0 and asyncio.get_running_loop().time() < sickness.until:
            sickness.calls -= 1
            return sickness.behaviour, True
        if not self.knows(invoice_id):
            return self._not_found, True
        if self._odd_share and self._random.random() < self._odd_share:
            return self._random.choice(ODD), False
        return OK, False

    def _document(self, asked: _Asked) -> bytes:
        parts = frozenset(value.lower() for name, value in asked.request.query if name == "expand")
        if self._splits and len(parts) > 1:
            parts = frozenset()
        now, invoice_id = asyncio.get_running_loop().time(), asked.invoice_id.lower()
        versions = self._versions.get(invoice_id)
        version = versions[-1] if versions else Version(0, now, "opened")
        return document(invoice_id, version, read_at=now, parts=parts)

    def _quota_headers(self, name: str, now: float) -> dict[str, str]:
        found = {key: value for key, value in self._meter.headers().items() if key in self.terms.headers}
        if name == THROTTLED:
            found |= retry_after_headers(self.terms.retry_after, self._meter.retry_after(), now)
        return {key.lower(): value for key, value in found.items()}


class ApiOfProcess:
    """The port `Fetches`, over a simulated network.

    Attributes:
        is_cut: no call gets through.
        key: the API key that the process has now.
    """

    def __init__(self, zenoti: SimulatedZenoti, process: str, *, call_seconds: float) -> None:
        self._zenoti, self._process, self._call_seconds = zenoti, process, call_seconds
        self.is_cut = False
        self.key = KEY
        self._answering: dict[asyncio.Task[Outcome], None] = {}  # kept, since the loop keeps tasks only weakly

    def key_mark(self) -> object:
        """The key."""
        return self.key

    async def fetch(self, request: Request, *, last_look: Callable[[], None]) -> Response:
        """As the port says. What has been sent reaches the API, even if the process dies meanwhile."""
        last_look()
        zenoti, asked = self._zenoti, _Asked(request, self._process, self.key)
        if self.is_cut or zenoti.mode == UNREACHABLE:
            zenoti.note_failure(asked.invoice_id, UNREACHABLE, is_own=False)
            await asyncio.sleep(0.1)
            raise ApiUnreachable("the API cannot be reached: no route")
        answering = asyncio.get_running_loop().create_task(zenoti.answer(asked), context=WIRE.copy())
        self._answering[answering] = None
        answering.add_done_callback(self._answering.pop, context=WIRE.copy())
        try:
            async with asyncio.timeout(self._call_seconds):
                outcome = await asyncio.shield(answering)
        except TimeoutError:
            if not asked.has_failed:  # a good answer that came too late, to a process that was frozen, say
                zenoti.note_failure(asked.invoice_id, HANG, is_own=False)
            raise ApiUnavailable(f"the API did not answer within {self._call_seconds:g} s") from None
        if isinstance(outcome, ApiUnavailable):
            raise outcome
        return outcome
