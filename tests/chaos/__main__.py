"""`python -m tests.chaos`: the suite as a command. Exits with 0 if the promise was kept, 1 if not, 2 on wrong usage."""

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local import broker as local
from tests.chaos import away, partial, report, rounds, scenarios, world
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import Plan

FOLDER = local.PROJECT / "var" / "chaos"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite."""
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    folder = FOLDER / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scenario = SCENARIOS[options.scenario]
    plan = Plan(
        seed=seed,
        nodes=options.nodes,
        rate=scenario.rate if options.rate is None else options.rate,
        programs=_programs(options.rabbitmq),
        folder=folder,
        config=scenario.config,
        advanced=scenario.advanced,
        settings=scenario.settings,
    )
    try:
        return asyncio.run(_chaos(plan, options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 128 + signal.SIGINT


async def _chaos(plan: Plan, options: argparse.Namespace) -> int:
    if options.scenario == "partial":
        parts = partial.chosen(only=options.only, without=options.without)
    else:
        faults = rounds.chosen(nodes=plan.nodes, only=options.only, without=options.without)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel, asyncio.current_task())
    say(f"seed {plan.seed}: starting {plan.nodes} node(s) and the daemons; logs in {plan.folder}")
    async with world.standing(plan) as standing:
        say(report.heading(standing))
        minutes = SCENARIOS[options.scenario].minutes if options.minutes is None else options.minutes
        match options.scenario:
            case "outage":
                outcome = await scenarios.outage(standing, seconds=60 * minutes, say=say)
            case "away":
                outcome = await away.away(standing, seconds=60 * minutes, say=say)
            case "partial":
                outcome = await partial.partial(standing, parts, seconds=60 * minutes, say=say)
            case "soak":
                outcome = await scenarios.soak(standing, seconds=60 * minutes, say=say)
            case _:
                outcome = await rounds.run(
                    standing,
                    faults,
                    each=options.each,
                    seconds=60 * minutes,
                    count=int(10 * minutes) if options.faults is None else options.faults,
                    at_once=options.at_once,
                    say=say,
                )
                for line in ["", *report.table(outcome.struck)]:
                    say(line)
        for line in ["", *report.totals(outcome, standing)]:
            say(line)
        file = plan.folder / "report.json"
        file.write_text(report.as_json(outcome, standing))
    kept = outcome.settlement.ok and not outcome.left
    say(f"{'KEPT' if kept else 'BROKEN'}: lost {len(outcome.settlement.lost)}; {file}")
    return 0 if kept else 1


def say(line: str) -> None:
    """Show the operator a line."""
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break things, and count the events.")
    parser.add_argument(
        "--scenario", choices=SCENARIOS, default="chaos", help="outage: of the API; partial: one thing at a time"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="how long it lasts, the settlement apart (default: 2, outage 5.5, partial 10, soak 23)",
    )
    parser.add_argument("--faults", type=int, help="at least so many, beyond the time if need be (default 10 a minute)")
    parser.add_argument("--each", action="store_true", help="each kind of fault once, however long that takes")
    parser.add_argument("--seed", type=int, help="of all that is left to chance; printed where none is given")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3, help="of the broker (default 3)")
    parser.add_argument("--rate", type=float, help="events a second (default 45, partial 12)")
    parser.add_argument("--at-once", type=int, default=4, help="faults at a time, at most (default 4)")
    parser.add_argument("--only", type=_names, default=(), metavar="FAULT,…", help="these kinds of faults")
    parser.add_argument("--without", type=_names, default=(), metavar="FAULT,…", help="all but these")
    parser.add_argument(
        "--rabbitmq", metavar="FOLDER", help="the folder with rabbitmq-server and rabbitmqctl of another release"
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _programs(named: str | None) -> Path:
    """Where rabbitmq-server is; Debian's package is installed where none is and it can be."""
    places = named or local.usual_places()
    if not named and shutil.which("rabbitmq-server", path=places) is None:
        local.install_server(local.Signals(), verbose=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    server = shutil.which("rabbitmq-server", path=places)
    if server is None:
        raise SystemExit(f"chaos: there is no rabbitmq-server in {named}" if named else local.ADVICE)
    return Path(server).parent


def _cancel(task: asyncio.Task[object] | None) -> None:
    if task is not None:
        task.cancel()


if __name__ == "__main__":
    os.chdir(local.PROJECT)
    sys.exit(main())
