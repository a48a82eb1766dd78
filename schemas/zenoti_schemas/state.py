"""What a daemon says of itself every few seconds, on the stream `<prefix>.state`; `status` reads it there."""

import msgspec


class SourceState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One source as one daemon sees it.

    Attributes:
        last_event_at: when the door took its last event (RFC 3339, UTC).
        usual_gap_seconds: the usual time between two events, at this door.
        streak: answers of the door since its last 202; Zenoti switches a webhook off at twenty failures in a row.
        refused: the 4xx among them: strangers, or a wrong secret.
        events_held: unacknowledged events in the lane's window.
        invoices_waiting: distinct invoices that wait for a call.
        calls_in_flight: API calls under way.
        calls_saved: calls that could go at once.
        circuit: `closed` or `open`.
        failures: failed calls in a row.
        last_failure: what the API answered to the last of them.
        fetched_at_most: no invoice of this source bears a later `fetched_at` until a later one is said (RFC 3339, UTC).
        fetched_ahead_seconds: how far `fetched_at` runs ahead of this process's clock, where that is above 5 s.
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
    """A receiver that does not take its events, as one consumer sees it. Times are RFC 3339, UTC.

    Attributes:
        refusing_since: when its queue first refused an event; null: it takes events.
        detail: what its queue did.
        in_hand: events that this process has taken from the wait queue and that the receiver has not taken yet.
        gone_since: when its queue was last seen before it was gone; null: it is there, and was lately.
        back_at: when it was seen again; null: it is still gone.
    """

    refusing_since: str | None = None
    detail: str = ""
    in_hand: int = 0
    gone_since: str | None = None
    back_at: str | None = None


class SpoolState(msgspec.Struct, frozen=True, kw_only=True):
    """The spool of one intake process: events that wait on its disk for the broker.

    Attributes:
        events: how many wait.
        bytes: what the spool directory takes on disk.
        max_bytes: its bound.
        oldest_seconds: how long ago the oldest of them was received.
        detail: what stands against taking more, and which folders cannot be taken over, read or mended.
    """

    events: int
    bytes: int
    max_bytes: int
    oldest_seconds: float | None = None
    detail: str = ""


class DaemonState(msgspec.Struct, frozen=True, kw_only=True):
    """One process.

    Attributes:
        daemon: `intake` or `consume`.
        instance: host and process id.
        version: of the program.
        started_at: RFC 3339, UTC.
        at: when this was said.
        ready: what its `/readyz` says.
        detail: what stands against it.
        admin_port: of its health and metrics.
        sources: by name.
        spool: of an intake.
        receivers: by name, those that a consumer sees refuse their events or without a queue.
        stranger_refuses: a queue that is no receiver's is bound to the events exchange and refuses events.
        clocks_ahead_seconds: by instance, how far another process's clock is ahead of this one's (negative: behind),
            where that is above 5 s; a consume process measures it.
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
