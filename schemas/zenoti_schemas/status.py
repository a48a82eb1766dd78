"""The document of `zenoti-ingest status --json`."""

from typing import Literal

import msgspec

from zenoti_schemas.state import DaemonState, SpoolState


class Depth(msgspec.Struct, frozen=True):
    """A queue; null where it is missing.

    Attributes:
        ready: messages that nobody holds.
        consumers: who reads it.
        messages: those and the ones in somebody's hands: a consumer's or, of a retry queue, the dead-letter worker's of
            the broker. Null where it cannot be seen: AMQP does not say it, only the management API does.
    """

    ready: int | None
    consumers: int | None
    messages: int | None = None


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for API calls.

    Attributes:
        events: in the raw queue, in the lane, and in the window of whoever reads the lane.
        invoices: distinct invoices among those in the window: a call serves all events of one.
        calls_at_most: a call for each of these invoices and for each event that nobody has looked at yet.
        calls_per_minute: the configured pace.
        minutes_at_most: how long that many calls take at that pace.
    """

    events: int
    invoices: int
    calls_at_most: int
    calls_per_minute: float
    minutes_at_most: float


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One source over all daemons; null where no daemon has reported it.

    Attributes:
        seconds_since_last_event: since a door took one.
        circuit: `closed` or `open`.
        failures: failed calls in a row.
        last_failure: what the API answered to the last of them.
        calls_saved: API calls that could go at once.
        calls_in_flight: API calls under way.
        backlog: what waits for API calls.
    """

    seconds_since_last_event: float | None
    circuit: str | None
    failures: int
    last_failure: str
    calls_saved: float | None
    calls_in_flight: int
    backlog: Backlog


class Alarm(msgspec.Struct, frozen=True):
    """Something to look at.

    Attributes:
        level: `wrong`: events stand still or are in danger; `look`: somebody should see to it some time.
        text: what, and what to do.
    """

    level: Literal["wrong", "look"]
    text: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be seen from the broker.

    Attributes:
        at: when this was looked at (RFC 3339, UTC).
        version: of the program that looked.
        alarms: what is wrong first; empty: all is well.
        queues: by name.
        daemons: those that have spoken within the last 15 seconds.
        sources: by name.
        dead_letters: how many by reason; empty where there are too many to read them all.
        dead_letters_total: how many.
        unrouted: events that no downstream wanted, still kept.
        spool: all intakes' together; null where none speaks.
        unseen: what cannot be seen, and why; null: nothing.
    """

    at: str
    version: str
    alarms: list[Alarm]
    queues: dict[str, Depth]
    daemons: list[DaemonState]
    sources: dict[str, SourceStatus]
    dead_letters: dict[str, int]
    dead_letters_total: int
    unrouted: int
    spool: SpoolState | None = None
    unseen: str | None = None
