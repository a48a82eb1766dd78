"""How exchanges and queues are named: the only place that knows, both ways."""

import msgspec

_FIRST_WORDS = {  # of Names, but for `out`
    "archive", "dead", "enrich", "events", "for", "intake", "raw", "retry", "state", "to", "unrouted", "wait", "work",
}  # fmt: skip


class Names(msgspec.Struct, frozen=True):
    """The names beneath one prefix."""

    prefix: str

    @property
    def intake(self) -> str:
        """Topic exchange: the door publishes here, by source; raw queue and archive are bound."""
        return f"{self.prefix}.intake"

    @property
    def work(self) -> str:
        """Direct exchange: our own queues, each by its name."""
        return f"{self.prefix}.work"

    @property
    def events(self) -> str:
        """Topic exchange: what comes out."""
        return f"{self.prefix}.events"

    @property
    def unrouted(self) -> str:
        """Exchange and queue of the events that no downstream matches."""
        return f"{self.prefix}.unrouted"

    @property
    def archive(self) -> str:
        """Stream: every body as it was received."""
        return f"{self.prefix}.archive"

    @property
    def dead(self) -> str:
        """Queue of the dead letters."""
        return f"{self.prefix}.dead"

    @property
    def state(self) -> str:
        """Exchange and stream of what the daemons say of themselves."""
        return f"{self.prefix}.state"

    def out(self, name: str) -> str:
        """Queue of a receiver that has named none."""
        return f"{self.prefix}.out.{name}"

    def are_ours(self, queue: str) -> bool:
        """Whether a name is one of those below, or kept for one, and so can be no receiver's queue."""
        head, _, rest = queue.partition(f"{self.prefix}.")
        return not head and rest.partition(".")[0] in _FIRST_WORDS

    def receiver(self, name: str) -> str:
        """Fanout exchange that the events exchange leads to; the receiver's queue is bound."""
        return f"{self.prefix}.for.{name}"

    def receiver_alone(self, name: str) -> str:
        """Fanout exchange that reaches the receiver's queue and nothing else."""
        return f"{self.prefix}.to.{name}"

    def waiting(self, name: str) -> str:
        """Exchange and queue of the events that wait until the receiver takes events again; one active consumer."""
        return f"{self.prefix}.wait.{name}"

    def raw(self, source: str) -> str:
        """Queue of the bodies as received."""
        return f"{self.prefix}.raw.{source}"

    def lane(self, source: str) -> str:
        """Queue of the events that need a call; one active consumer."""
        return f"{self.prefix}.enrich.{source}.0"

    def turn(self, source: str) -> str:
        """Queue of the baton: what the lane's last holder left for the next."""
        return f"{self.lane(source)}.turn"

    def retry(self, seconds: int) -> str:
        """Exchange and queue of one step of the retry ladder."""
        return f"{self.prefix}.retry.{seconds}s"
