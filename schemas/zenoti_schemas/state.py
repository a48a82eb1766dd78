"""The state that a daemon publishes every few seconds to the stream `<prefix>.state`; `status` reads it there."""

import msgspec


class SourceState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A source, as seen by a daemon.

    Attributes:
        last_event_at: when the door accepted its last event (RFC 3339, UTC).
        usual_gap_seconds: the usual time between two events, at this door.
        streak: answers of the door since its last 202; at twenty failures in a row, Zenoti switches a webhook off.
        refused: the 4xx among them: strangers, or a wrong secret.
        events_held: unacknowledged events in the lane's window.
        invoices_waiting: distinct invoices that wait for a call.
        calls_in_flight: API calls under way.
        calls_saved: calls that could go at once.
        circuit: `closed` or `open`.
        failures: failed calls in a row.
        last_failure: the API's answer to the last failed call.
        fetched_at_most: no invoice of this source has a later `fetched_at`, until a state has a later value here
            (RFC 3339, UTC).
        fetched_ahead_seconds: how far `fetched_at` is ahead of this process's clock, if that is above 5 s.
    """

    last_event_at: str | None = None
    usual_gap_seconds: float | None = None
    streak: int = 0
    refused: int = 0
    events_held: int = 0
    invoices_waiting: int = 0
    calls_in_flight: int = 0
    calls_saved: float | None = None
    circuit: str | None = None
    failures: int = 0
    last_failure: str = ""
    fetched_at_most: str | None = None
    fetched_ahead_seconds: float | None = None


class ReceiverState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A receiver that does not take its events, as seen by a consumer. Times are RFC 3339, UTC.

    Attributes:
        refusing_since: when its queue first refused an event; null: it takes events.
        detail: what its queue did.
        in_hand: events that this process has taken from the wait queue, but the receiver has not taken yet.
        gone_since: when its queue was last seen before it disappeared; null: it exists, and existed recently.
        back_at: when it was seen again; null: it is still missing.
    """

    refusing_since: str | None = None
    detail: str = ""
    in_hand: int = 0
    gone_since: str | None = None
    back_at: str | None = None


class SpoolState(msgspec.Struct, frozen=True, kw_only=True):
    """The spool of an intake process: events that wait on its disk for the broker.

    Attributes:
        events: how many events wait.
        bytes: the size of the spool directory on disk.
        max_bytes: its limit.
        oldest_seconds: how long ago the oldest event was received.
        detail: why it cannot take more events, and which folders cannot be taken over, read or mended.
    """

    events: int
    bytes: int
    max_bytes: int
    oldest_seconds: float | None = None
    detail: str = ""


class DaemonState(msgspec.Struct, frozen=True, kw_only=True):
    """A process.

    Attributes:
        daemon: `intake` or `consume`.
        instance: host and process id.
        version: the program's version.
        started_at: when the process started (RFC 3339, UTC).
        at: the time of this state (RFC 3339, UTC).
        ready: what its `/readyz` answers.
        detail: why it is not ready.
        admin_port: the port of its health and metrics.
        sources: sources by name.
        spool: the spool of an intake.
        receivers: by name, receivers that refuse their events or have no queue, as seen by a consumer.
        stranger_refuses: a queue that belongs to no receiver is bound to the events exchange and refuses events.
        clocks_ahead_seconds: by instance, how far another process's clock is ahead of ours (negative: behind), if that
            is above 5 s; a consume process measures it.
    """

    daemon: str
    instance: str
    version: str
    started_at: str
    at: str
    ready: bool
    detail: str = ""
    admin_port: int = 0
    sources: dict[str, SourceState] = {}
    spool: SpoolState | None = None
    receivers: dict[str, ReceiverState] = {}
    stranger_refuses: bool = False
    clocks_ahead_seconds: dict[str, float] = {}
