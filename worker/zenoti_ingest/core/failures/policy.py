"""Failure and attempt -> retry in n seconds | dead letter (reason) | hold. The policy is the table in `settle`.

A failure of a single invoice costs its event an attempt. These failures cost nothing, and their event is held: a
failure of the API, a failure whose cause is still in doubt (core/invoices/circuit.py), a 429, and a call that was not
sent because the process had lost the lane.
"""

import msgspec

from zenoti_ingest.core.failures.errors import (
    ApiFailure,
    ApiThrottled,
    BrokerUnavailable,
    FatalError,
    InvoiceNotFound,
    PermanentError,
    PublishUnconfirmed,
    RequestInvalid,
    TransientError,
    TurnLost,
)
from zenoti_ingest.core.invoices.circuit import Blame

# An invoice can appear in the API later than its event, and a 400 can be a time-out of the API. After retries at 5 s,
# 30 s and 2 min we believe the answer.
FEW_ATTEMPTS = 4
MAX_DETAIL = 500
DEFECT = "defect"
# An event redelivered this often may be what ends the process that handles it, so it is handled last and alone.
RETURNS_OF_A_SUSPECT = 3


class Ladder(msgspec.Struct, frozen=True):
    """The number of attempts and their delays: `delays_seconds[n]` precedes attempt n+2; the last delay repeats."""

    delays_seconds: tuple[int, ...]
    max_attempts: int

    def delay_after(self, attempt: int) -> int:
        """Seconds to wait after the given attempt (from 1) has failed."""
        return self.delays_seconds[min(attempt, len(self.delays_seconds)) - 1]


class Retry(msgspec.Struct, frozen=True):
    """Send the event through the delay queue of `seconds` seconds, as the given attempt."""

    seconds: int
    attempt: int


class DeadLetter(msgspec.Struct, frozen=True):
    """Send the event to the dead letters, with a fixed word and a sentence."""

    reason: str
    detail: str


class Hold(msgspec.Struct, frozen=True):
    """Keep the event unacknowledged; it costs no attempt."""


def settle(error: Exception, *, attempt: int, ladder: Ladder, blame: Blame = Blame.KEY) -> Retry | DeadLetter | Hold:
    """What happens to an event whose attempt (from 1) failed with `error`; `blame`: whose fault an ApiFailure is."""
    detail = str(error)[:MAX_DETAIL]
    believed_soon = isinstance(error, InvoiceNotFound | RequestInvalid)
    last = min(FEW_ATTEMPTS, ladder.max_attempts) if believed_soon else ladder.max_attempts
    match error:
        case ApiThrottled() | TurnLost() | BrokerUnavailable() | PublishUnconfirmed() | FatalError():
            return Hold()
        case ApiFailure() if blame is not Blame.KEY:
            return Hold()
        case InvoiceNotFound() | RequestInvalid() | TransientError() if attempt < last:
            return Retry(ladder.delay_after(attempt), attempt + 1)
        case PermanentError():
            return DeadLetter(error.reason, detail)
        case TransientError():
            return DeadLetter(error.reason, f"{detail} (attempt {attempt} of {last})")
        case _:
            return DeadLetter(DEFECT, defect_detail(error))


def defect_detail(error: Exception) -> str:
    """The type and place of a defect, without its text, which may quote a customer's value."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = "" if frame is None else f" at {frame.tb_frame.f_globals.get('__name__', '?')}:{frame.tb_lineno}"
    return type(error).__name__ + place
