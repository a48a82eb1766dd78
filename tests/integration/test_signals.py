"""Signals as a process hears them, on each event loop that it can run on."""

import subprocess
import sys

import pytest

ROUNDS = 1500
# Each round is a process's life: a hang-up and, within microseconds, one SIGTERM. Had it counted as two, we would exit.
PROGRAM = f"""
import asyncio, os, signal, subprocess, sys
from importlib import import_module
from zenoti_ingest import signals

SENDER = '''
import os, sys, time
for line in sys.stdin:
    os.kill({{0}}, 1)
    until = time.perf_counter() + int(line) * 5e-6
    while time.perf_counter() < until:
        pass
    os.kill({{0}}, 15)
    print(flush=True)
'''

async def main():
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SENDER.format(os.getpid()), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for number in range({ROUNDS}):
        stop = asyncio.Event()
        signals.heed(stop, hang_up=True)
        sender.stdin.write(f"{{number % 60}}\\n".encode())
        await sender.stdout.readline()
        await stop.wait()
        await asyncio.sleep(0.001)
    sender.kill()
    await sender.wait()
    print(type(asyncio.get_running_loop()).__module__)

loop = sys.argv[1]
asyncio.Runner(loop_factory=import_module(loop).new_event_loop).run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_signal_is_heard_once(loop: str) -> None:
    """A SIGTERM just behind a SIGHUP asks the process to finish; it does not end it at once."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", PROGRAM, loop], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.split(".")[0].strip()) == (0, loop), done.stderr
