"""W3C Trace Context: the trace that something belongs to, as the two headers `traceparent` and `tracestate`.

Source: https://www.w3.org/TR/trace-context-2/. They travel with an event from the door to the last queue, whether or
not spans are recorded, so that the ids in logs match. Malformed headers count as absent, as the standard says.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

PARENT: Final = "traceparent"
STATE: Final = "tracestate"
MAX_STATE_CHARS: Final = 512
_MAX_MEMBERS: Final = 32
_KNOWN_FLAGS: Final = 0x03  # "sampled" and "random trace id"; we must not pass on other flags
_SAMPLED: Final = 0x01
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE, _NO_SPAN = 32 * "0", 16 * "0"
_KEY = r"[a-z0-9][a-z0-9_*/-]{0,240}(@[a-z][a-z0-9_*/-]{0,13})?"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(f"{_KEY}={_VALUE}", re.ASCII)


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """A position in a trace.

    Attributes:
        parent: the header `traceparent`, valid and of version 00.
        state: the header `tracestate`, valid; empty: none.
    """

    parent: str
    state: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.parent[3:35]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.parent[36:52]

    @property
    def flags(self) -> int:
        """The trace flags."""
        return int(self.parent[53:], 16)

    @property
    def is_sampled(self) -> bool:
        """Whether the caller recorded it."""
        return bool(self.flags & _SAMPLED)

    def headers(self) -> dict[str, str]:
        """The headers; `tracestate` only if it is not empty."""
        return {PARENT: self.parent, STATE: self.state} if self.state else {PARENT: self.parent}


def context(trace_id: str, span_id: str, *, flags: int = 0, state: str = "") -> TraceContext:
    """A context made of its parts; the ids are lower-case hexadecimal."""
    return TraceContext(f"00-{trace_id}-{span_id}-{flags & _KNOWN_FLAGS:02x}", state)


def begun(random: bytes) -> TraceContext:
    """A new context, made of 24 random bytes; not sampled, since nobody records it."""
    digits = random.hex()
    return TraceContext(f"00-{digits[:32]}-{digits[32:48]}-00")


def of_request(parents: Sequence[str], states: Sequence[str]) -> TraceContext | None:
    """Read the headers of a request, with all values of each; None without exactly one valid `traceparent`."""
    return _read(parents[0], ",".join(states)) if len(parents) == 1 else None


def of_message(headers: Mapping[str, Any]) -> TraceContext | None:
    """Read the headers of a message; None without a valid `traceparent`."""
    parent, state = headers.get(PARENT), headers.get(STATE)
    return _read(parent, state if isinstance(state, str) else "") if isinstance(parent, str) else None


def _read(parent: str, state: str) -> TraceContext | None:
    found = _PARENT.fullmatch(parent.strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return context(trace_id, span_id, flags=int(flags, 16), state=_state(state))


def _state(text: str) -> str:
    """The list without empty members; empty if any member is malformed or the list is too long."""
    if not text:
        return ""
    members = [member for member in (part.strip(" \t") for part in text.split(",")) if member]
    keys = {member.partition("=")[0] for member in members}
    joined = ",".join(members)
    valid = len(keys) == len(members) <= _MAX_MEMBERS and len(joined) <= MAX_STATE_CHARS
    return joined if valid and all(map(_MEMBER.fullmatch, members)) else ""
