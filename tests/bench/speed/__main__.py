"""`make bench`: the product and the reference loops by turns, a table, and its rows in docs/benchmarks.md."""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.speed.backlog import backlog
from tests.bench.speed.bench import Size, surroundings
from tests.bench.speed.figures import Figure, table
from tests.bench.speed.measures import MEASURES
from tests.bench.speed.micro import micro
from tests.bench.speed.processes import Withheld
from tests.bench.speed.report import broker_version, conditions, record

BROKER_VARIABLE = "ZENOTI_INGEST_BROKER__URL"
QUICK = Size(turns=1, factor=0.02, rest=0)


async def measured(given: argparse.Namespace, folder: Path) -> list[Figure]:
    """Everything that was asked for, printed as it comes."""
    size = QUICK if given.quick else Size(turns=given.turns, factor=given.factor, rest=given.rest)
    figures: list[Figure] = []
    async with surroundings(given.broker, folder, size, faststream=not given.without_faststream) as bench:
        for name in given.only:
            print(f"{name} …", flush=True)
            found = await MEASURES[name](bench)
            print(table(found), flush=True)
            figures += found
        if given.backlog:
            figures += await backlog(bench, given.backlog)
    return figures


def main() -> int:
    """Exit status 0: every goal that was measured is reached, or it was only a quick look."""
    given, cpu = _arguments(), Withheld()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # all sides as they are installed: compiled
    if given.micro:
        figures = [Figure(f"{name}: ns", nanoseconds) for name, nanoseconds in micro().items()]
    else:
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        print(f"logs: {folder}")
        figures = asyncio.run(measured(given, folder))
    said = conditions(asyncio.run(broker_version(given.broker)), withheld=cpu.percent())
    print(f"\n{said}\n\n{table(figures)}")
    if not given.quick and not given.no_record:
        record(figures, said=said)
    return 0 if given.quick or all(figure.holds is not False for figure in figures) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--broker", default=os.environ.get(BROKER_VARIABLE), help="its URL")
    parser.add_argument("--only", type=_names, default=list(MEASURES), help=f"some of {','.join(MEASURES)}")
    parser.add_argument("--turns", type=int, default=Size().turns, help="that count; one more goes before them")
    parser.add_argument("--factor", type=float, default=1.0, help="on the numbers of events")
    parser.add_argument("--rest", type=float, default=Size().rest, help="before each measure's turns, in seconds")
    parser.add_argument("--quick", action="store_true", help="one turn of few events: whether it works, no figures")
    parser.add_argument("--micro", action="store_true", help="the decisions of worker/zenoti_ingest/core alone, in ns")
    parser.add_argument("--backlog", type=int, default=0, metavar="COUNT", help="also drain so many, and watch memory")
    parser.add_argument("--without-faststream", action="store_true", help="leave that reference out")
    parser.add_argument("--no-record", action="store_true", help="leave docs/benchmarks.md as it is")
    return parser.parse_args()


def _names(text: str) -> Sequence[str]:
    found = [name for name in text.split(",") if name]
    if unknown := set(found) - set(MEASURES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: some of {', '.join(MEASURES)}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
