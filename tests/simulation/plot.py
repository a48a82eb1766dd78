"""What a seed has drawn: the size of a world, its workload, and its faults, each of which strikes at a trace line.

Each seed draws its own mix (swarm testing): of all kinds of faults only some may occur, so that these meet each other.
"""

from random import Random

import msgspec

LINES = ("posted", "answered", "published", "delivered", "acked", "called", "replied")
WORKLOADS = ("bursts", "closing time", "backlog", "quiet night")
LARGE = 300  # a world with more events is a large one
LARGE_OF_100 = 2
SHARE_OF_KINDS = 0.4
SHARE_WATCHED = 0.05
ACTS = ("look", "look", "list", "show", "redrive", "redrive", "discard", "archive", "replay", "trace", "plan", "export")
SHARE_WITHIN = 0.65
# Worlds that chance alone draws too rarely, each with its workload and share.
THEMES = {
    "sick invoices": ("quiet night", 0.06),  # several are sick, and nothing else breaks
    "lost files": ("closing time", 0.1),  # several are replaced while drained events are under way for seconds
}

# How long each kind of fault lasts, in seconds: from, to. Those of a moment last as long as a restart takes.
SECONDS: dict[str, tuple[float, float]] = {
    "kill consume": (0, 0),
    "kill intake": (0, 0),
    "restart consume": (0, 0),
    "restart intake": (0, 0),
    "upgrade": (0, 0),
    "freeze consume": (1, 70),
    "freeze intake": (1, 40),
    "cut consume": (0, 20),
    "cut intake": (0, 20),
    "isolate consume": (5, 90),
    "isolate intake": (5, 90),
    "clock jumps": (20, 300),
    "clock drifts": (60, 600),
    "channel closes": (0, 0),
    "node freezes": (1, 60),
    "node restarts": (1, 20),
    "alarm": (5, 60),
    "confirms late": (10, 60),
    "queue refuses": (5, 90),
    "receiver refuses": (10, 200),
    "receiver gone": (10, 90),
    "queue deleted": (0, 0),
    "binding removed": (0, 0),
    "size limit": (0, 0),
    "api": (5, 300),
    "sick invoice": (30, 600),
    "disk full": (10, 90),
    "disk slow": (10, 90),
    "disk hangs": (5, 60),
    "disk damaged": (0, 0),
    "folder lost": (0, 0),
}
NEED_WATCHES = frozenset({"receiver gone", "queue deleted", "binding removed"})  # nobody else would put it right
ON_DISK = frozenset({"disk full", "disk slow", "disk hangs", "disk damaged", "folder lost"})
DRIVES_TO_DISK = ("alarm", "isolate intake", "queue refuses", "confirms late")  # else nothing is on the disk
REPLACES_FILES = ("disk damaged", "folder lost")
AT_THE_DOOR = ("posted", "answered", "published")
# What concerns one invoice, receiver or clock: everything else must keep its pace.
OF_ONE_THING = frozenset({"sick invoice", "receiver refuses", "receiver gone", "clock jumps", "clock drifts"})


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes wrong.

    Attributes:
        kind: one of `SECONDS`.
        line: the kind of trace line at which it strikes.
        count: the how-manieth such line.
        within: since the beginning of the fault with that number; None: of the world.
        lasts: seconds.
        choice: from 0 to 1: which process, host, queue, invoice or behaviour it concerns.
    """

    kind: str
    line: str
    count: int
    within: int | None
    lasts: float
    choice: float


class Act(msgspec.Struct, frozen=True):
    """What an operator does, one of ACTS, and when, in seconds from the beginning."""

    kind: str
    at: float


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed has drawn.

    Attributes:
        seconds: over which the events are posted.
        calls_per_minute: the quota.
        consumers_from: when the consumers start, in seconds: until then a backlog grows.
        hostile: share of events that are odd, hostile or too large.
        clocks: of each host, how far its date is ahead, in seconds.
        max_message_bytes: the broker's limit for a body.
        signs: whether a signature is required at the door.
        splits: whether the API ignores an `expand` of several parts.
        keeps_bytes: the bound on bodies in hand of a consumer's stage.
        hold_seconds: how long a consumer holds a delivery; half the broker's consumer time-out.
        is_watched: whether the processes watch topology and queues: that is half of a quiet world's cost.
        acts: what an operator does.
        faults: in the order of their numbers.
    """

    seed: int
    workload: str
    events: int
    invoices: int
    seconds: float
    calls_per_minute: int
    consumers: int
    intakes: int
    consumers_from: float
    hostile: float
    release: tuple[int, int]
    nodes: int
    clocks: tuple[float, ...]
    keeps_bytes: int
    max_message_bytes: int
    signs: bool
    splits: bool
    hold_seconds: float
    deliver_failures: bool
    is_watched: bool
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its faults."""
        return frozenset(fault.kind for fault in self.faults) | ({"hostile bodies"} if self.hostile else set())

    @property
    def breaks_one_thing(self) -> bool:
        """Whether what it breaks leaves the other events alone."""
        return bool(self.faults) and all(fault.kind in OF_ONE_THING for fault in self.faults)


def plot(seed: int) -> Plot:
    """Draw a world."""
    random = Random(seed)  # noqa: S311  # that it can be repeated is the point
    is_large = random.randrange(100) < LARGE_OF_100
    theme, workload = _theme(random)
    least, most = (310, 600) if is_large else (5, 30) if workload == "quiet night" else (60 if theme else 5, 110)
    events = random.randint(least, most)
    seconds = random.uniform(120, 420) if workload == "quiet night" else random.uniform(20, 200)
    hold_seconds = random.choice([900.0, 900.0, 45.0])
    faults = _sick_invoices(random, events=events) if theme == "sick invoices" else _faults(random, events=events)
    if theme == "lost files":
        faults += _lost_files(random, since=len(faults))
    needs_watches = any(fault.kind in NEED_WATCHES for fault in faults)
    return Plot(
        seed=seed,
        workload=workload,
        events=events,
        invoices=random.randint(1, max(1, events // 2)),
        seconds=random.uniform(10, 60) if workload == "closing time" else seconds,
        calls_per_minute=600 if is_large else random.choice([12, 60, 600]),
        consumers=random.randint(1, 4 if is_large else 3),
        intakes=1 if theme == "lost files" else random.randint(1, 2),
        consumers_from=random.uniform(30, 150) if workload == "backlog" else 0.0,
        hostile=random.choice([0.0, 0.0, 0.1, 0.3]),
        release=random.choice([(3, 10), (4, 0), (4, 3)]),
        nodes=random.choice([1, 3]),
        clocks=tuple(random.choice([0.0, 0.0, 0.3, -2.0, 300.0, -3600.0]) for _ in range(4)),
        keeps_bytes=random.choice([256 * 2**20, 20_000, 100_000]),
        max_message_bytes=random.choice([65_536, 131_072]),
        signs=random.random() < 0.5,
        splits=random.random() < 0.2,
        hold_seconds=hold_seconds,
        deliver_failures=random.random() < 0.2,
        is_watched=needs_watches or random.random() < SHARE_WATCHED,
        acts=tuple(
            Act(random.choice(ACTS), random.uniform(0, 1.2 * seconds)) for _ in range(random.choice([0, 0, 1, 2]))
        ),
        faults=faults,
    )


def _faults(random: Random, *, events: int) -> tuple[Fault, ...]:
    kinds = [kind for kind in SECONDS if random.random() < SHARE_OF_KINDS] or ["kill consume"]
    found: list[Fault] = []
    for _ in range(random.choice([0, 1, 2, 2, 3, 3, 4, 6])):
        kind = random.choice(kinds)
        if kind in ON_DISK:
            found.append(_fault(random, random.choice(DRIVES_TO_DISK), events=events, within=None))
            found.append(_fault(random, kind, events=events, within=len(found) - 1))
        else:  # two faults at a time find what neither finds alone
            within = random.randrange(len(found)) if found and random.random() < SHARE_WITHIN else None
            found.append(_fault(random, kind, events=events, within=within))
    return tuple(found)


def _theme(random: Random) -> tuple[str, str]:
    """A theme, or none, and a workload."""
    draw = random.random()
    for theme, (workload, share) in THEMES.items():
        draw -= share
        if draw < 0:
            return theme, workload
    return "", random.choice(WORKLOADS)


def _lost_files(random: Random, *, since: int) -> tuple[Fault, ...]:
    late = _fault(random, "confirms late", events=20, within=None, lines=AT_THE_DOOR)
    kinds = random.choices(REPLACES_FILES, k=random.randint(3, 6))
    return (late, *(_fault(random, kind, events=0, within=since, lines=AT_THE_DOOR) for kind in kinds))


def _sick_invoices(random: Random, *, events: int) -> tuple[Fault, ...]:
    count = random.randint(2, 5)
    return tuple(_fault(random, "sick invoice", events=1 + events // 3, within=None) for _ in range(count))


def _fault(random: Random, kind: str, *, events: int, within: int | None, lines: tuple[str, ...] = LINES) -> Fault:
    return Fault(
        kind=kind,
        line=random.choice(lines),
        count=random.randint(1, 12 if within is not None else max(1, events)),
        within=within,
        lasts=random.uniform(*SECONDS[kind]),
        choice=random.random(),
    )
