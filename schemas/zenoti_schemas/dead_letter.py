"""What stands in the headers of a dead letter; its body is the webhook's as it stood, unless that is too large."""

import msgspec


class DeadLetterHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Why an event could not go on, and what is known of it. All are text, `attempts` is an int.

    Attributes:
        reason: a stable word: `malformed`, `too-large`, `invoice-not-found`, `access-denied`, `refused`,
            `attempts-exhausted`, `defect`, `delivery-limit`.
        detail: a sentence; names places, never values.
        stage: `intake`, `translate` or `enrich`.
        source: the source's name.
        event_type: as in the routing key; empty where it could not be read.
        event_id: the envelope's own; empty where there is none, or it could not be read. In letters of releases
            that wrote no `cloudevent_id` it is the id that the event then had.
        cloudevent_id: the outgoing event's `id`; empty where it could not be read.
        invoice_id: the invoice that it concerns; empty where there is none.
        attempts: how many were made.
        received_at: when the door took it (RFC 3339, UTC).
        dead_at: when it was laid here (RFC 3339, UTC).
        receipt_id: the door's answer to Zenoti.
        body_at: where the body is, if the letter has none: `archive`, or `disk:<host>:<path>`.
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
        """Whether this is the event's id, by the CloudEvent or the envelope, its receipt's or its invoice's."""
        return wanted in (self.cloudevent_id, self.event_id, self.receipt_id, self.invoice_id)
