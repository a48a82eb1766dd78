"""The headers of a dead letter. Its body is the unchanged body of the webhook, unless that is too large."""

import msgspec


class DeadLetterHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Why an event could not go on, and what is known about it. All headers are text, but `attempts` is an int.

    Attributes:
        reason: a fixed word: `malformed`, `too-large`, `invoice-not-found`, `access-denied`, `refused`,
            `attempts-exhausted`, `defect`, `delivery-limit`.
        detail: a sentence; it names places, never values.
        stage: `intake`, `translate` or `enrich`.
        source: the source's name.
        event_type: as in the routing key; empty if it could not be read.
        event_id: the envelope's id; empty if it has none or could not be read. In letters of older releases without
            `cloudevent_id`, it is the id that the event then had.
        cloudevent_id: the outgoing event's `id`; empty if it could not be read.
        invoice_id: the invoice that it concerns; empty: none.
        attempts: the number of attempts made.
        received_at: when the door received it (RFC 3339, UTC).
        dead_at: when it became a dead letter (RFC 3339, UTC).
        receipt_id: the door's answer to Zenoti.
        body_at: the place of the body, if the letter has no body: `archive`, or `disk:<host>:<path>`.
    """

    reason: str = ""
    detail: str = ""
    stage: str = ""
    source: str = ""
    event_type: str = ""
    event_id: str = ""
    cloudevent_id: str = ""
    invoice_id: str = ""
    attempts: int = 1
    received_at: str = ""
    dead_at: str = ""
    receipt_id: str = ""
    body_at: str = ""

    def bears(self, wanted: str) -> bool:
        """Whether `wanted` is the id of the CloudEvent, the envelope, the receipt or the invoice."""
        return wanted in (self.cloudevent_id, self.event_id, self.receipt_id, self.invoice_id)
