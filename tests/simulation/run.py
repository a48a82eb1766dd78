"""`make simulation`: many seeds, one after the other, or the story of a single seed.

`python -m tests.simulation.run --seeds 1000 [--first N]`, `python -m tests.simulation.run --seed N [--trace]`.
"""

import argparse
import statistics
import sys
import time
from collections import Counter

import structlog

from tests.simulation.world import Outcome, live, plot

PROGRESS_SECONDS = 5.0


def silence() -> None:
    """Log nothing: logs would be half of the work."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50), logger_factory=structlog.ReturnLoggerFactory()
    )


def story(seed: int, *, with_trace: bool) -> bool:
    """Print what a seed has drawn, what happens, and which promises are broken; whether none is."""
    outcome = live(plot(seed))
    say(str(outcome.plot))
    if with_trace:
        say("\n".join(outcome.trace))
    say(f"accepted {outcome.accepted}, delivered {outcome.delivered}, copies {outcome.copies}, calls {outcome.calls}")
    for violation in outcome.violations:
        say(f"VIOLATION: {violation}")
    return not outcome.violations


def many(first: int, count: int) -> bool:
    """Live many worlds, with a line of progress every few seconds and a table at the end."""
    began = shown = time.monotonic()
    spent: list[float] = []
    kinds: Counter[str] = Counter()
    found: list[Outcome] = []
    simulated = 0.0
    for seed in range(first, first + count):
        cpu = time.process_time()
        outcome = live(plot(seed))
        spent.append(time.process_time() - cpu)
        simulated += outcome.seconds
        kinds.update({fault.kind for fault in outcome.plot.faults})
        if outcome.violations:
            found.append(outcome)
            say(f"seed {seed}: {'; '.join(outcome.violations)}")
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            say(f"{len(spent)} of {count} seeds, {simulated / 3600:.1f} simulated hours, violations in {len(found)}")
    minutes = (time.monotonic() - began) / 60
    hours = f"{simulated / 3600:.1f} simulated hours in {minutes:.1f} min"
    say(f"{count} seeds, {hours}, CPU of a seed {statistics.median(spent):.2f} s (median)")
    say("| fault | seeds |\n|---|--:|")
    for kind, seeds in sorted(kinds.items()):
        say(f"| {kind} | {seeds} ({100 * seeds / count:.0f} %) |")
    say(f"seeds with violations: {[outcome.plot.seed for outcome in found] or 'none'}")
    return not found


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)  # noqa: T201  # a command's output


def main() -> int:
    """Exit status 0: no promise was broken."""
    parser = argparse.ArgumentParser(prog="make simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds (200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="this world alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: every step")
    given = parser.parse_args()
    silence()
    if given.seed is not None:
        return 0 if story(given.seed, with_trace=given.trace) else 1
    return 0 if many(given.first, given.seeds) else 1


if __name__ == "__main__":
    sys.exit(main())
