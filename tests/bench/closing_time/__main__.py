"""`make closing-time`: run it, and print what docs/quota.md shows."""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from tests.bench.closing_time.report import figures, table
from tests.bench.closing_time.run import Trace, closing_time

BROKER_VARIABLE = "ZENOTI_INGEST_BROKER__URL"


def main() -> int:
    """Exit status 0: what docs/quota.md promises, a busy machine's pauses aside, held."""
    parser = argparse.ArgumentParser(prog="make closing-time")
    parser.add_argument("--speed", type=float, default=Trace().speed)
    parser.add_argument("--processes", type=int, default=Trace().processes)
    parser.add_argument("--invoices", type=int, default=Trace().invoices)
    parser.add_argument("--calls-per-minute", type=float, default=Trace().calls_per_minute)
    parser.add_argument("--seed", type=int, default=Trace().seed)
    given = parser.parse_args()
    trace = Trace(**vars(given))
    folder = Path(tempfile.mkdtemp(prefix="closing-time-"))
    print(f"logs: {folder}")
    seen = asyncio.run(closing_time(os.environ[BROKER_VARIABLE], folder, trace))
    found = figures(seen, trace)
    print(f"{trace}\n\n{table(found)}")
    return 0 if found.holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
