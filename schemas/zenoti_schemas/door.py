"""The answers of the door, written strictly; the door's OpenAPI document has the statuses.

Errors are problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457).
"""

from typing import Literal

import msgspec


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The event is safe.

    Attributes:
        status: distinguishes this answer from a ping's.
        receipt_id: UUIDv7, new for each delivery of a webhook; it follows the event to the last queue.
    """

    status: Literal["accepted"] = "accepted"
    receipt_id: str


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a body of 0 bytes, from the test button of Zenoti's console; nothing was queued.

    Attributes:
        status: distinguishes this answer from that of an accepted event.
    """

    status: Literal["ping"] = "ping"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal, as problem details.

    Attributes:
        type: `about:blank`: the status is the problem's type.
        title: the status in words.
        status: the HTTP status.
        detail: the reason; never a value of the request.
    """

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
