"""The errors of this worker, grouped by who must act.

A PermanentError is the message's fault and leads to the dead letters. A TransientError is the world's fault and is
retried later. A FatalError is our fault or the operator's: stop taking events, settle nothing, report it. Any other
error is a defect. Texts name fields and places, never customers' values.
"""

from typing import ClassVar

from zenoti_ingest.core.events.identity import UNKNOWN


class WorkerError(Exception):
    """Base of all errors that this worker foresees."""


class PermanentError(WorkerError):
    """No later attempt can succeed. `reason` is the fixed word in the dead letter."""

    reason: ClassVar[str] = "defect"


class Malformed(PermanentError):
    """The body is not a valid webhook; the text names the place.

    Attributes:
        identity: what could be read of the event.
    """

    reason = "malformed"
    identity = UNKNOWN


class InvoiceNotFound(PermanentError):
    """The API does not know the invoice (418). It may not know it yet, so a few delayed attempts come first."""

    reason = "invoice-not-found"


class AccessDenied(PermanentError):
    """The API key may not read this invoice (602, 438)."""

    reason = "access-denied"


class RequestInvalid(PermanentError):
    """The API calls the request invalid (400). Its own time-outs can look the same, so delayed attempts come first."""

    reason = "refused"


class Refused(PermanentError):
    """The API refuses the request with a 4xx that has no error class of its own, in one of the API's error shapes."""

    reason = "refused"


class RequestDefect(PermanentError):
    """The API says that the request itself is wrong (405): a defect of ours."""

    reason = "defect"


class Unencodable(PermanentError):
    """AMQP cannot carry the message: a defect of ours."""

    reason = "defect"


class TooLarge(PermanentError):
    """The body is larger than the broker's limit, so it can never be published."""

    reason = "too-large"


class BodyElsewhere(PermanentError):
    """The body of a letter is not on this host; the text says where it is, or that it is lost."""


class TransientError(WorkerError):
    """A later attempt may succeed. `reason` is the fixed word in the dead letter once the attempts are used up."""

    reason: ClassVar[str] = "attempts-exhausted"


class ApiFailure(TransientError):
    """A call failed. `core/invoices/circuit.py` decides whose fault it is; only the invoice's own costs an attempt."""


class ApiUnavailable(ApiFailure):
    """The API was reached but failed: 5xx, time-out, lost connection, unreadable answer."""


class ApiUnreachable(ApiFailure):
    """No answer at all: connection refused, DNS or TLS failure."""


class GatewayAnswered(ApiFailure):
    """A gateway, proxy or captive portal answered instead of the API: the body has none of the API's shapes."""


class ApiRefusedUs(ApiFailure):
    """The API answered 401: the key is wrong, expired or lacks the scope, or may not read this invoice."""

    reason = "access-denied"


class ApiThrottled(TransientError):
    """The API's quota is spent (429). It costs no attempt.

    Attributes:
        retry_after: seconds to wait, from the answer, with an upper limit.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"throttled for {retry_after:g} s")
        self.retry_after = retry_after


class TurnLost(TransientError):
    """The lane may have another holder by now, so the call was not sent. It costs no attempt."""


class BrokerUnavailable(TransientError):
    """There is no connection to the broker, or it was lost, or it did not answer in time."""


class PublishUnconfirmed(TransientError):
    """The broker did not confirm a publish in time, or refused it; it may still arrive."""


class PublishRefused(PublishUnconfirmed):
    """The broker refused a publish (nack): a queue takes no more messages. Other queues may have the message."""


class ConfirmTimedOut(PublishUnconfirmed):
    """The broker did not confirm in time over a healthy connection: a queue may hang. The message may still arrive."""


class SpoolUnavailable(TransientError):
    """The spool cannot take an event: it is full, or its disk fails."""


class FatalError(WorkerError):
    """An error that we or the operator must fix."""


class TopologyMismatch(FatalError):
    """The broker lacks a required queue or exchange, or has it with other arguments than declared here."""


class Unroutable(FatalError):
    """The broker has no queue for a message: the topology is broken."""


class WrongSettings(FatalError):
    """The configuration is unusable; the text names the key, its value (never a secret) and a valid alternative."""


def reasons() -> list[str]:
    """The reasons that a dead letter can have, sorted."""
    kinds: list[type[PermanentError | TransientError]] = [PermanentError, TransientError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return sorted({kind.reason for kind in kinds})
