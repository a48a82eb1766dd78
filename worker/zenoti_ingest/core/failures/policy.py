"""Failure and attempt -> retry in n seconds | dead letter(reason) | hold. The policy is the table in `settle`.

*Charged*: a failure of this one invoice costs its event an attempt. A failure of the API, or one that is still in doubt
(core/invoices/circuit.py), is held and costs nothing; so is a 429, and a call that did not go because the lane's turn
was over.
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

# An invoice can be younger in the API than its event, and a 400 can be a time-out of theirs: after 5 s, 30 s and 2 min
# the answer is believed.
FEW_ATTEMPTS = 4
MAX_DETAIL = 500
DEFECT = "defect"
# What has come back so often may be what ends the process that handles it: it is handled last and alone.
RETURNS_OF_A_SUSPECT = 3


class Ladder(msgspec.Struct, frozen=True):
    """How often and how far apart: the delay before attempt n+2 is `delays_seconds[n]`; the last repeats."""

    delays_seconds: tuple[int, ...]
    max_attempts: int

    def delay_after(self, attempt: int) -> int:
        """Seconds to wait after the given attempt (from 1) has failed."""
        return self.delays_seconds[min(attempt, len(self.delays_seconds)) - 1]


class Retry(msgspec.Struct, frozen=True):
    """Through the delay queue of so many seconds, as the given attempt."""

    seconds: int
    attempt: int


class DeadLetter(msgspec.Struct, frozen=True):
    """To the dead letters, with a stable word and a sentence."""

    reason: str
    detail: str


class Hold(msgspec.Struct, frozen=True):
    """Stays where it is, unacknowledged; nothing is charged."""


def settle(error: Exception, *, attempt: int, ladder: Ladder, blame: Blame = Blame.KEY) -> Retry | DeadLetter | Hold:
    """What becomes of an event whose attempt (from 1) failed with `error`; `blame`: whose failure an ApiFailure is."""
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
    """Type and place of a defect; its text is left out, since it may quote a customer's value."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = "" if frame is None else f" at {frame.tb_frame.f_globals.get('__name__', '?')}:{frame.tb_lineno}"
    return type(error).__name__ + place
