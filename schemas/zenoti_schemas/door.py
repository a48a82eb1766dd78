"""What the door answers. A strict writer; the door's OpenAPI document has its statuses.

Errors are problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457).
"""

from typing import Literal

import msgspec


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The event is safe.

    Attributes:
        status: distinguishes it from a ping.
        receipt_id: UUIDv7, one per delivery of a webhook; it follows the event to the last queue.
    """

    status: Literal["accepted"] = "accepted"
    receipt_id: str


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a body of 0 bytes: the console's test button; nothing was queued.

    Attributes:
        status: distinguishes it from an accepted event.
    """

    status: Literal["ping"] = "ping"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why not, as problem details.

    Attributes:
        type: the status says it all.
        title: the status in words.
        status: the HTTP status.
        detail: what stood against it; never a value of the request.
    """

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
