"""`python -m tests.acceptance.wrong_clock SECONDS COMMAND…`: the command on a host whose clock is ahead by so much."""

import sys
import time
from types import SimpleNamespace

from zenoti_ingest.__main__ import main
from zenoti_ingest.adapters import host


def put_wrong(seconds: float) -> None:
    """From now on the program reads a clock that is ahead by so many seconds; negative: behind."""
    ahead = round(seconds * 1e9)
    wrong = SimpleNamespace(time_ns=lambda: time.time_ns() + ahead, strftime=time.strftime, gmtime=time.gmtime)
    vars(host)["time"] = wrong


if __name__ == "__main__":
    put_wrong(float(sys.argv.pop(1)))
    main()
