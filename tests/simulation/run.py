"""`make simulation`: many worlds, or the story of a single one.

`python -m tests.simulation.run --seeds 1000 [--first N] [--minutes M]`
`python -m tests.simulation.run --seed N [--trace] [--shrink]`
"""

import argparse
import os
import re
import statistics
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

import msgspec
import structlog

from tests.simulation.plot import LARGE, Plot, plot
from tests.simulation.shrink import shrunk
from tests.simulation.world import Outcome, live
from zenoti_ingest.telemetry import log, logs

PROGRESS_SECONDS = 5.0
SHARE = 5.0  # in how many of 100 worlds each kind of fault must strike
SEEDS_OF_A_TASK = 5
ASKED_AHEAD = 16  # tasks: a large world may take as long as fifty small ones
KIND_CHARACTERS = 40
_IDS = re.compile(r"\S*\d\S*")


class Summary(msgspec.Struct):
    """What remains of a world: no trace."""

    seed: int
    violations: list[str]
    kinds: frozenset[str]
    paths: dict[str, int]
    is_large: bool
    seconds: float
    cpu_seconds: float


def silence() -> None:
    """Log nothing: logs would be half of the work."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50), logger_factory=structlog.ReturnLoggerFactory()
    )
    forget_logger()


def forget_logger() -> None:
    """Let the next log line go by the present configuration; structlog keeps the first one it has used."""
    vars(log).pop("bind", None)


@contextmanager
def silenced() -> Iterator[None]:
    """Log nothing for a while: in tests, where logging is configured."""
    before, canonical = structlog.get_config(), logs._as_text  # noqa: SLF001  # these lines go round structlog
    logs._as_text = None  # noqa: SLF001
    silence()
    yield
    structlog.configure(**before)
    logs._as_text = canonical  # noqa: SLF001
    forget_logger()


def attempted(drawn: Plot) -> list[str]:
    """The broken promises of a world; an error that ends the world is one."""
    try:
        return live(drawn).violations
    except Exception as error:  # noqa: BLE001  # whatever it is, it is reported
        return [f"{type(error).__name__}: {error}"]


def summary(seed: int) -> Summary:
    """Live the world of a seed."""
    drawn, cpu = plot(seed), time.process_time()
    try:
        outcome: Outcome | None = (lived := live(drawn))
    except Exception:  # noqa: BLE001  # likewise
        outcome, violations = None, [traceback.format_exc(limit=-4)]
    else:
        violations = lived.violations
    return Summary(
        seed,
        violations,
        outcome.struck if outcome else frozenset(),
        outcome.paths if outcome else {},
        drawn.events >= LARGE,
        outcome.seconds if outcome else 0.0,
        time.process_time() - cpu,
    )


def story(seed: int, *, with_trace: bool, with_shrinking: bool) -> bool:
    """Print what a seed has drawn, what happens, and which promises are broken; whether none is."""
    drawn = plot(seed)
    if with_shrinking and (kinds := _kinds(attempted(drawn))):
        drawn = shrunk(drawn, lambda smaller: bool(kinds & _kinds(attempted(smaller))))
    say(_readable(drawn))
    outcome = live(drawn)
    if with_trace:
        say("\n".join(outcome.trace))
    say(f"accepted {outcome.accepted}, delivered {outcome.delivered}, copies {outcome.copies}, calls {outcome.calls}")
    for violation in outcome.violations:
        say(f"VIOLATION: {violation}")
    return not outcome.violations


def many(first: int, count: int, *, minutes: float) -> bool:
    """Live many worlds, with a line of progress every few seconds and a table at the end."""
    began = shown = time.monotonic()
    done: list[Summary] = []
    for found in _summaries(first, count, until=began + 60 * minutes):
        done.append(found)
        if found.violations:
            say(f"seed {found.seed}: {'; '.join(found.violations)}\n  make simulation SEED={found.seed} TRACE=1")
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            say(f"{len(done)} of {count} worlds, {_hours(done, began)}, violations in {sum(map(_is_bad, done))}")
    say(f"{len(done)} worlds from seed {first} on, {_hours(done, began)}")
    small = [each.cpu_seconds for each in done if not each.is_large]
    large = [each.cpu_seconds for each in done if each.is_large]
    say(
        f"CPU of a small world {statistics.median(small):.2f} s (median), of {len(large)} large ones {sum(large):.0f} s"
    )
    _tables(done)
    bad = [each.seed for each in done if each.violations]
    say(f"seeds with violations: {bad or 'none'}")
    return not bad


def _summaries(first: int, count: int, *, until: float) -> Iterator[Summary]:
    """In the order of their seeds, by as many processes as there are processors; none begins after `until`."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=silence) as pool:
        seeds, asked = range(first, first + count), deque[Future[list[Summary]]]()
        for at in range(0, count, SEEDS_OF_A_TASK):
            asked.append(pool.submit(_some, seeds[at : at + SEEDS_OF_A_TASK], until))
            if len(asked) > ASKED_AHEAD:
                yield from asked.popleft().result()
            if time.monotonic() > until:
                break
        for task in asked:
            yield from task.result()


def _some(seeds: range, until: float) -> list[Summary]:
    return [summary(seed) for seed in seeds if time.monotonic() < until]


def _tables(done: list[Summary]) -> None:
    kinds = Counter(kind for each in done for kind in each.kinds)
    say("| fault | worlds | |\n|---|--:|--:|")
    for kind, worlds in sorted(kinds.items()):
        say(f"| {kind} | {worlds} | {100 * worlds / len(done):.0f} % |")
    paths: Counter[str] = Counter()
    worlds_of: Counter[str] = Counter()
    for each in done:
        paths.update(each.paths)
        worlds_of.update(each.paths.keys())
    say("| line of the trace | lines | worlds |\n|---|--:|--:|")
    for line, lines in sorted(paths.items()):
        say(f"| {line} | {lines} | {worlds_of[line]} |")


def _hours(done: list[Summary], began: float) -> str:
    hours, minutes = sum(each.seconds for each in done) / 3600, (time.monotonic() - began) / 60
    return f"{hours:.1f} simulated hours in {minutes:.1f} min ({hours / minutes:.0f} a minute)"


def _is_bad(found: Summary) -> bool:
    return bool(found.violations)


def _kinds(violations: list[str]) -> set[str]:
    """Which promises these are about: without ids and numbers, which differ in a smaller world."""
    return {_IDS.sub("", violation)[:KIND_CHARACTERS] for violation in violations}


def _readable(drawn: Plot) -> str:
    lines = [f"{name}: {value}" for name, value in msgspec.structs.asdict(drawn).items() if name != "faults"]
    for number, fault in enumerate(drawn.faults):
        since = "" if fault.within is None else f" since fault {fault.within}"
        at = f"at line {fault.count} of '{fault.line}'{since}, {fault.lasts:.1f} s, choice {fault.choice:.3f}"
        lines.append(f"fault {number}: {fault.kind} {at}")
    return "\n".join(lines)


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)  # noqa: T201  # a command's output


def main() -> int:
    """Exit status 0: no promise was broken."""
    parser = argparse.ArgumentParser(prog="make simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds (200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no world after so long")
    parser.add_argument("--seed", type=int, help="this world alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: every step")
    parser.add_argument("--shrink", action="store_true", help="with --seed: the smallest world that still fails")
    given = parser.parse_args()
    silence()
    if given.seed is not None:
        return 0 if story(given.seed, with_trace=given.trace, with_shrinking=given.shrink) else 1
    return 0 if many(given.first, given.seeds, minutes=given.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
