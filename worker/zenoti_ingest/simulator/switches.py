"""The simulator's switches: how its API and its webhooks behave, as a document that flags and PATCH change.

It is pure: values, their bounds, and their changes. Seconds and rates are simulated, before --speed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from zenoti_ingest.simulator.refusals import is_refusal

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]

# Faults on the wire, in addition to the refusals; `faults` plays them.
WIRE_FAULTS: Final = (
    "cut", "hang", "hang-after-headers", "drip", "half-answer", "truncated-json", "empty", "html", "no-invoice",
    "another-invoice", "redirect", "too-large",
)  # fmt: skip
_MANY: Final = 1_000_000
_SUM_MARGIN: Final = 1e-9  # ten times 0.1 is a little more than 1


class ApiSwitches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the API behaves.

    Attributes:
        calls_per_minute: the whole organisation's quota, and its burst.
        other_calls: calls a minute that the organisation's other integrations spend from the same quota.
        quota_headers: whether answers have the quota headers; each header is optional.
        latency: shortest and longest time to an answer.
        faults: by name, the share of calls with this fault: one of WIRE_FAULTS, or a refusal.
        split_expands: a call that asks for several parts gets none of them; a call for a single part gets it.
        late: share of the invoices that are not found at first.
        late_calls: how many calls do not find such an invoice.
    """

    calls_per_minute: Annotated[float, Meta(ge=1, le=_MANY)] = 60.0
    other_calls: Annotated[float, Meta(ge=0, le=_MANY)] = 0.0
    quota_headers: bool = True
    latency: tuple[Seconds, Seconds] = (0.0, 0.0)
    faults: dict[str, Share] = {}
    split_expands: bool = False
    late: Share = 0.0
    late_calls: Annotated[int, Meta(ge=1, le=_MANY)] = 1

    def __post_init__(self) -> None:
        """Check what the types cannot express."""
        if self.latency[0] > self.latency[1]:
            raise ValueError("latency: the shortest first, then the longest")
        unknown = [name for name in self.faults if name not in WIRE_FAULTS and not is_refusal(name)]
        if unknown:
            raise ValueError(
                f"faults: {unknown[0]} is not a fault; known are {', '.join(WIRE_FAULTS)}, and refusals such as 500, "
                "602, 418/200/text: <code>[/<status>[/<shape>]]"
            )
        if sum(self.faults.values()) > 1 + _SUM_MARGIN:
            raise ValueError("faults: the shares add up to more than 1")


class WebhookSwitches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How webhooks are sent.

    Attributes:
        on: whether the webhook is switched on; 20 failures in a row switch it off.
        rate: events a second; a fixed trace has its own times.
        others: share of other kinds of events among all events.
        bare: share of events without an envelope, with the type in the path.
        duplicates: share of events that are delivered twice, the second time with another delivery id.
        reordered: share of events that are held back, so that later events overtake them.
        reordered_by: at most this many later events.
    """

    on: bool = True
    rate: Annotated[float, Meta(ge=1 / _MANY, le=_MANY)] = 1.0
    others: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    bare: Share = 0.0
    duplicates: Share = 0.0
    reordered: Share = 0.0
    reordered_by: Annotated[int, Meta(ge=1, le=1000)] = 5


class Switches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All switches."""

    api: ApiSwitches = ApiSwitches()
    webhooks: WebhookSwitches = WebhookSwitches()


class WrongSwitch(ValueError):
    """A change is invalid; `where` is its path, such as `api.late`, and `what` the reason."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.where = where
        self.what = what


def changed(switches: Switches, patch: bytes) -> Switches:
    """The switches, changed by a JSON Merge Patch (RFC 7396) of the same shape; null restores the default.

    Raises:
        WrongSwitch: the patch has another shape, or a value is out of bounds; then nothing changes.
    """
    try:
        wished = msgspec.json.decode(patch, type=dict[str, Any])
        merged = msgspec.json.encode(_merged(msgspec.to_builtins(switches), wished))
        return msgspec.json.decode(merged, type=Switches)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        what, _, where = str(error).partition(" - at `$")
        raise WrongSwitch(where.strip(".`"), what) from error


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        before = old.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merged(before if isinstance(before, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
