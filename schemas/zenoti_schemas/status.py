"""The document of `zenoti-ingest status --json`."""

from typing import Literal

import msgspec

from zenoti_schemas.state import DaemonState, SpoolState


class Depth(msgspec.Struct, frozen=True):
    """A queue; null if it is missing.

    Attributes:
        ready: messages that nobody holds.
        consumers: the number of consumers.
        messages: ready messages, plus those that a consumer holds or, in a retry queue, the broker's dead-letter
            worker. Null if unknown: only the management API shows it, not AMQP.
    """

    ready: int | None
    consumers: int | None
    messages: int | None = None


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for API calls.

    Attributes:
        events: events in the raw queue, in the lane, and in the window of the lane's consumer.
        invoices: distinct invoices of the events in the window: a call serves all events of an invoice.
        calls_at_most: a call for each of these invoices, and for each event that is not in the window yet.
        calls_per_minute: the configured pace.
        minutes_at_most: how long so many calls take at this pace.
    """

    events: int
    invoices: int
    calls_at_most: int
    calls_per_minute: float
    minutes_at_most: float


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A source over all daemons; null if no daemon has reported it.

    Attributes:
        seconds_since_last_event: since a door last accepted an event.
        circuit: `closed` or `open`.
        failures: failed calls in a row.
        last_failure: the API's answer to the last failed call.
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
        level: `wrong`: events are stuck or in danger; `look`: somebody should check it at some time.
        text: what it is, and what to do.
    """

    level: Literal["wrong", "look"]
    text: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be seen from the broker.

    Attributes:
        at: the time of this status (RFC 3339, UTC).
        version: the version of the program that made it.
        alarms: the alarms, with what is wrong first; empty: all is well.
        queues: queues by name.
        daemons: the daemons that have published a state within the last 15 seconds.
        sources: sources by name.
        dead_letters: counts by reason; empty if there are too many letters to read them all.
        dead_letters_total: the number of dead letters.
        unrouted: events that no downstream wanted and that are still kept.
        spool: the spools of all intakes together; null if no intake has published a state.
        unseen: what cannot be read, and why; null: nothing.
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
