"""What names an event in dead letters, logs and the archive's listing."""

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """An event's type and ids, as far as they could be read; an empty text: not known.

    Attributes:
        event_type: as in the routing key.
        event_id: the envelope's own.
        cloudevent_id: the `id` of the outgoing event.
        invoice_id: the invoice that it concerns.
    """

    event_type: str = ""
    event_id: str = ""
    cloudevent_id: str = ""
    invoice_id: str = ""


UNKNOWN = Identity()
