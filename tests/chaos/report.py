"""What a run says of itself: a table by kind of fault, the totals, and the same as JSON."""

import json
import platform
import statistics
import subprocess
from collections import defaultdict
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from tests.acceptance.conftest import ROOT
from tests.chaos.rounds import ALIVE_SECONDS, Outcome, Struck
from tests.chaos.world import World

_COLUMNS = ("fault", "count", "down s", "alive after s", "worst s", "accepted", "posts again")


def heading(world: World) -> str:
    """What runs: seed, commit, versions."""
    plan = world.plan
    nodes = "1 node" if plan.nodes == 1 else f"{plan.nodes} nodes"
    parts = [f"commit {commit()}", f"RabbitMQ {world.release}, {nodes}", f"Python {platform.python_version()}"]
    libraries = [f"{name} {version(name)}" for name in ("aio-pika", "aiormq", "aiohttp")]
    return f"seed {plan.seed}; {', '.join([*parts, *libraries])}; {plan.rate:g} events a second"


def commit() -> str:
    """The commit, and whether something was changed since."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10", "--match="],  # noqa: S607  git where it is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


def table(struck: list[Struck]) -> list[str]:
    """By kind of fault, as Markdown."""
    kinds: dict[str, list[Struck]] = defaultdict(list)
    for strike in struck:
        kinds[strike.fault].append(strike)
    rows = [_COLUMNS, *(_row(name, ones) for name, ones in sorted(kinds.items())), _row("all", struck)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    lines = [
        "| "
        + " | ".join(c.ljust(w) if at == 0 else c.rjust(w) for at, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    lines.insert(
        1, "|" + "|".join("-" * (w + 2) if at == 0 else "-" * (w + 1) + ":" for at, w in enumerate(widths)) + "|"
    )
    return lines


def totals(outcome: Outcome, world: World) -> list[str]:
    """The verdict in words."""
    found = outcome.settlement
    late = sum(1 for strike in outcome.struck if strike.alive > ALIVE_SECONDS)
    said = [
        *outcome.notes,
        f"{len(outcome.struck)} faults in {outcome.seconds:.0f} s; alive again later than {ALIVE_SECONDS:g} s: {late}",
        f"accepted {found.accepted}; slowest 202 {world.load.slowest:.2f} s",
        f"posted again {world.load.repeated} on purpose, {world.load.retried} after {dict(world.ledger.refusals)}",
        f"delivered {found.deliveries}; duplicates {found.duplicates}; poison among the dead letters {found.poisoned}",
        f"still queued {outcome.left}; wrong {len(found.wrong)}; lost {len(found.lost)}",
    ]
    said += [f"  wrong: {line}" for line in found.wrong[:20]]
    return said + [f"  lost: {name} {where}" for name, where in list(found.lost.items())[:20]]


def as_json(outcome: Outcome, world: World) -> str:
    """All of it."""
    figures: dict[str, Any] = {
        "heading": heading(world),
        "seed": world.plan.seed,
        "commit": commit(),
        "rabbitmq": world.release,
        "nodes": world.plan.nodes,
        "seconds": round(outcome.seconds, 1),
        "retried": world.load.retried,
        "repeated": world.load.repeated,
        "refusals": dict(world.ledger.refusals),
        "slowest_accepted_seconds": round(world.load.slowest, 3),
        "faults": [asdict(strike) for strike in outcome.struck],
        "left": outcome.left,
        "notes": outcome.notes,
        **asdict(outcome.settlement),
    }
    return json.dumps(figures, indent=1)


def _row(name: str, ones: list[Struck]) -> tuple[str, ...]:
    lives = [strike.alive for strike in ones] or [0.0]
    return (
        name,
        str(len(ones)),
        f"{statistics.median([strike.lasted for strike in ones] or [0.0]):.1f}",
        f"{statistics.median(lives):.1f}",
        f"{max(lives):.1f}",
        str(sum(strike.accepted for strike in ones)),
        str(sum(strike.retried for strike in ones)),
    )
