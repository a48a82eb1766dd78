"""What Zenoti posts: the envelope around every webhook event. A tolerant reader.

Source: https://docs.zenoti.com/reference/sample-events
"""

from typing import Any

import msgspec


class Envelope(msgspec.Struct, frozen=True):
    """The outside of a webhook body; a bare body (only the inner object) reads as an envelope of nothing.

    `event_id` is one per occurrence, `id` one per delivery. `event_type` comes in any letter case. `event_timestamp`
    is UTC with up to seven fractional digits, so it stays text. `event_resource` is null in newer events: never route
    by it. `data` is left undecoded, byte for byte. What decides nothing is read whatever its type.
    """

    id: Any = None
    event_id: str | None = None
    event_schema: Any = None
    event_resource: Any = None
    event_type: str | None = None
    event_timestamp: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
