import asyncio
import os
import re
import sys
from pathlib import Path

import msgspec
import pytest

from tests.acceptance.conftest import ROOT
from tests.bench.speed.figures import Figure, Goal, Turn, median, quantile, table
from tests.bench.speed.load import Plan, Run, request
from tests.bench.speed.processes import Helper, cpu_seconds, resident_mib
from tests.bench.speed.report import record
from tests.bench.speed.trace import EVENTS_OF_AN_INVOICE, Arrived, body


@pytest.mark.xdist_group("heavy")  # one of them at a time
async def test_a_quick_run_has_a_row_for_each_goal(broker_url: str) -> None:
    """The harness runs the product beside the obvious loop, finds every event downstream, and prints its rows."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.speed", "--broker", broker_url, "--quick", "--only", "door,enrich,way"),
        *("--without-faststream",),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(100):
        said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    rows = dict(re.findall(r"\| (door, 64[^|]*/s|enrich, one[^|]*/s|way, two[^|]*/s) \| ([\d.,]+) \|", said))
    assert rows.keys() == {
        "door, 64 connections: confirmed POSTs/s",
        "enrich, one process: events/s",
        "way, two processes: events/s",
    }, said


async def test_posts_by_the_clock() -> None:
    """Each is due at its time, and posted no earlier."""
    plan = Plan(port=0, tag="clock", count=100, connections=4, rate=1000.0)
    async with Helper("stand_ins", "0") as door:
        plan = msgspec.structs.replace(plan, port=int(await door.hear(within=10)))
        run = Run(plan, [request(plan, number) for number in range(plan.count)])
        await run.connect()
        seen = await run.go()
    assert seen.accepted == plan.count
    assert [round(at - seen.begun[0], 6) for at in seen.begun] == [number / 1000 for number in range(plan.count)]
    assert min(seen.waits) > 0


def test_a_goal_is_of_the_ratio_or_of_ours() -> None:
    """A row holds where its ratio, or our figure, is on the goal's side; without a goal it says neither."""
    assert Figure("x", 2.0, 1.0, Goal(2.0)).holds is True
    assert Figure("x", 1.9, 1.0, Goal(2.0)).holds is False
    assert Figure("x", 26.0, 50.0, Goal(25, "ours", "most")).holds is False
    assert Figure("x", 20.0, None, Goal(25, "ours", "most")).holds is True
    assert Figure("x", 20.0, 10.0).holds is None
    shown = table([Figure("x", 1900.0, 1000.0, Goal(2.0)), Figure("y", 0.5)])
    assert "| x | 1,900 | 1,000 | 1.90 | ≥ 2 x | **no** |\n| y | 0.5 | - | - | - | - |" in shown


def test_what_has_not_arrived_is_missed() -> None:
    """Events are counted by their own bytes: repeats are reported, another run's events are refused."""
    arrived = Arrived("ab", 3)
    for number in (0, 2, 2):
        arrived.note(b'{"event": ' + body("ab", number) + b"}")
    assert (arrived.distinct, arrived.copies, arrived.missing) == (2, 1, 1)
    with pytest.raises(ValueError, match="none of this run"):
        arrived.note(body("cd", 1))


def test_an_invoice_has_five_events_not_one_after_the_other() -> None:
    """As many distinct invoices as a fifth of the events, each spread among others."""
    invoices = [re.findall(rb'"invoice": {"id": "([^"]+)"', body("ab", number))[0] for number in range(400)]
    assert all(invoices.count(invoice) == EVENTS_OF_AN_INVOICE for invoice in set(invoices))
    assert len(set(invoices[:40])) == 40


def test_medians_and_quantiles() -> None:
    """One slow turn of several does not show in the median; p99 is among the slowest."""
    assert median([Turn(1, 1, 1), Turn(2, 2, 2), Turn(90, 90, 90)]).per_second == 2
    assert quantile([float(n) for n in range(100)], 0.99) == 99


def test_what_a_process_spends_is_read() -> None:
    """This process has spent time and holds memory."""
    assert cpu_seconds([os.getpid()]) > 0
    assert resident_mib(os.getpid()) > 1


def test_a_run_is_recorded(tmp_path: Path) -> None:
    """It stands where the newest run stands, which is the first of the earlier runs from then on; all else stays."""
    document = tmp_path / "benchmarks.md"
    document.write_text(
        "# Fast\n\n## The newest run\n\n### 3rd\n\n| 3 |\n\n## How\n\nso\n\n## Earlier runs\n\n### 2nd\n\n| 2 |\n"
    )
    record([Figure("x", 1.0)], said="commit abc", document=document)
    opening, _, after = document.read_text().partition("### ")
    day, _, after = after.partition("\n\n")
    assert opening == "# Fast\n\n## The newest run\n\n"
    assert day.endswith("UTC")
    said, _, after = after.partition("\n\n")
    assert said.startswith("commit abc. `make bench")
    rows, _, after = after.partition("\n\n")
    assert rows.endswith("| x | 1 | - | - | - | - |")
    assert after == "## How\n\nso\n\n## Earlier runs\n\n### 3rd\n\n| 3 |\n\n### 2nd\n\n| 2 |\n"
