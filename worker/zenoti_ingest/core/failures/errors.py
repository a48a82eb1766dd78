"""What can go wrong, by who must act.

A PermanentError is the message's fault and leads to the dead letters; a TransientError is the world's and is tried
later; a FatalError is ours or the operator's: stop taking, settle nothing, say so. Anything else is a defect.
Texts name fields and places, never customers' values.
"""

from typing import ClassVar

from zenoti_ingest.core.events.identity import UNKNOWN


class WorkerError(Exception):
    """Everything that this worker foresees."""


class PermanentError(WorkerError):
    """No later attempt can succeed. `reason` is the stable word in the dead letter."""

    reason: ClassVar[str] = "defect"


class Malformed(PermanentError):
    """The body is not what a webhook can be; the text says where.

    Attributes:
        identity: what could be read of the event.
    """

    reason = "malformed"
    identity = UNKNOWN


class InvoiceNotFound(PermanentError):
    """The API knows no such invoice (418): perhaps not yet, so a few delayed attempts come first."""

    reason = "invoice-not-found"


class AccessDenied(PermanentError):
    """The API key may not read this invoice (602, 438)."""

    reason = "access-denied"


class RequestInvalid(PermanentError):
    """The API calls the request invalid (400): a time-out of theirs can say so too, so delayed attempts come first."""

    reason = "refused"


class Refused(PermanentError):
    """The API refuses the request by a 4xx without a row of its own, in one of its own error shapes."""

    reason = "refused"


class RequestDefect(PermanentError):
    """The API says that the request itself is wrong (405): a defect of ours."""

    reason = "defect"


class Unencodable(PermanentError):
    """AMQP cannot carry the message as it was made: a defect of ours."""

    reason = "defect"


class TooLarge(PermanentError):
    """The body is larger than the broker takes, so it was not published and never can be."""

    reason = "too-large"


class BodyElsewhere(PermanentError):
    """The body of a letter is not here; the text says where it is, or that it is gone."""


class TransientError(WorkerError):
    """A later attempt may succeed. `reason` is the stable word in the dead letter once the attempts are used up."""

    reason: ClassVar[str] = "attempts-exhausted"


class ApiFailure(TransientError):
    """A call failed. `core/invoices/circuit.py` decides whose failure it is: only the invoice's charges an attempt."""


class ApiUnavailable(ApiFailure):
    """The API was reached and failed: 5xx, time-out, connection lost, unreadable answer."""


class ApiUnreachable(ApiFailure):
    """No answer at all: refused, DNS, TLS."""


class GatewayAnswered(ApiFailure):
    """A gateway, proxy or captive portal answered instead of the API: the body has none of the API's own shapes."""


class ApiRefusedUs(ApiFailure):
    """401 by the API: the key is wrong, expired or without this scope, or may not read this invoice."""

    reason = "access-denied"


class ApiThrottled(TransientError):
    """The API's quota is spent (429). Charges nothing.

    Attributes:
        retry_after: seconds to wait, as the answer says, bounded.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"throttled for {retry_after:g} s")
        self.retry_after = retry_after


class TurnLost(TransientError):
    """The lane may have another holder by now, so the call was not sent. Charges nothing."""


class BrokerUnavailable(TransientError):
    """There is no connection to the broker, or it was lost, or it did not answer in time."""


class PublishUnconfirmed(TransientError):
    """The broker did not confirm a publish in time, or refused it; it may still arrive."""


class PublishRefused(PublishUnconfirmed):
    """The broker refused a publish (nack): a queue that it goes to takes no more. Other queues may have it."""


class ConfirmTimedOut(PublishUnconfirmed):
    """The broker did not confirm in time although the connection is well: a queue may hang. It may still arrive."""


class SpoolUnavailable(TransientError):
    """The spool cannot take an event: it is full, or its disk fails."""


class FatalError(WorkerError):
    """Ours or the operator's to mend."""


class TopologyMismatch(FatalError):
    """The broker has a queue or exchange that is not as declared here, or lacks one that must be there."""


class Unroutable(FatalError):
    """The broker has no queue for a message: the topology is broken."""


class WrongSettings(FatalError):
    """The configuration cannot be used; the text names key, value (never a secret's) and what would do."""


def reasons() -> list[str]:
    """The reasons that a dead letter can have, sorted."""
    kinds: list[type[PermanentError | TransientError]] = [PermanentError, TransientError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return sorted({kind.reason for kind in kinds})
