"""The names of exchanges and queues: builds and parses them. No other module knows how they are made."""

import re

import msgspec

_SHAPES = {  # the part of a name after the prefix; `for` and `to` are exchanges
    "raw": re.compile(r"raw\.(?P<of>[a-z][a-z0-9_]*)"),
    "lane": re.compile(r"enrich\.(?P<of>[a-z][a-z0-9_]*)\.\d+"),
    "turn": re.compile(r"enrich\.(?P<of>[a-z][a-z0-9_]*)\.\d+\.turn"),
    "retry": re.compile(r"retry\.(?P<of>\d+)s"),
    "out": re.compile(r"out\.(?P<of>[a-z][a-z0-9_]*)"),
    "wait": re.compile(r"wait\.(?P<of>[a-z][a-z0-9_]*)"),
    "receiver": re.compile(r"(?:for|to)\.(?P<of>[a-z][a-z0-9_]*)"),
    **{word: re.compile(word) for word in ("dead", "unrouted", "archive", "state", "intake", "work", "events")},
}

_FIRST_WORDS = {  # of the names below, except `out`
    "archive", "dead", "enrich", "events", "for", "intake", "raw", "retry", "state", "to", "unrouted", "wait", "work",
}  # fmt: skip


class Names(msgspec.Struct, frozen=True):
    """The names under a prefix."""

    prefix: str

    @property
    def intake(self) -> str:
        """Topic exchange: the door publishes here, by source; raw queues and archive are bound to it."""
        return f"{self.prefix}.intake"

    @property
    def work(self) -> str:
        """Direct exchange: our own queues, each by its name."""
        return f"{self.prefix}.work"

    @property
    def events(self) -> str:
        """Topic exchange: the outgoing events."""
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
        """Exchange and stream of the daemons' states."""
        return f"{self.prefix}.state"

    def role(self, name: str) -> str:
        """The role of a queue or exchange, by its name; empty if it is not a name of ours."""
        return self._parsed(name)[0]

    def source_of(self, queue: str) -> str:
        """The source of a raw queue or lane; empty if the name is neither."""
        role, source = self._parsed(queue)
        return source if role in ("raw", "lane") else ""

    def _parsed(self, name: str) -> tuple[str, str]:
        """The role, and the source, receiver or seconds in the name.

        The prefix alone proves nothing: another installation's prefix can begin with ours and a dot.
        """
        rest = name.removeprefix(f"{self.prefix}.")
        if rest != name:
            for role, shape in _SHAPES.items():
                if found := shape.fullmatch(rest):
                    return role, found.groupdict().get("of", "")
        return "", ""

    def out(self, name: str) -> str:
        """Queue of a receiver that names no queue."""
        return f"{self.prefix}.out.{name}"

    def are_ours(self, queue: str) -> bool:
        """Whether a name is one of ours or reserved for us, so that it cannot be a receiver's queue."""
        head, _, rest = queue.partition(f"{self.prefix}.")
        return not head and rest.partition(".")[0] in _FIRST_WORDS

    def receiver(self, name: str) -> str:
        """Fanout exchange between the events exchange and the receiver's queue."""
        return f"{self.prefix}.for.{name}"

    def receiver_alone(self, name: str) -> str:
        """Fanout exchange that reaches only the receiver's queue."""
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
        """Exchange and queue of a step of the retry ladder."""
        return f"{self.prefix}.retry.{seconds}s"
