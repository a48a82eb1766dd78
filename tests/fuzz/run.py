"""Fuzz one target, guided by coverage, for so many minutes: `python -m tests.fuzz.run TARGET MINUTES`.

Begins with the seeds and the kept corpus; what is new is found in var/fuzz/TARGET. A finding ends it with a traceback
and its input in a file, `crash-…`. Afterwards the smallest inputs that reach the same code take the corpus's place.
"""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

MAX_BYTES = 8192  # longer inputs find little more, and are not for keeping
ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "tests" / "fuzz" / "corpus"


def main() -> None:
    """Two processes: the first fuzzes until its time is up, the second merges."""
    name, minutes, *step = sys.argv[1:]
    if step:
        fuzz(name, step)
        return
    found = ROOT / "var" / "fuzz" / name
    shutil.rmtree(found, ignore_errors=True)
    (found / "found").mkdir(parents=True)
    (found / "seeds").mkdir()
    (KEPT / name).mkdir(exist_ok=True)
    words = write_seeds(name, found / "seeds")
    (found / "words").write_text("".join(f'"{word}"\n' for word in words))
    folders = [str(found / "seeds"), str(KEPT / name)]
    limits = [f"-max_len={MAX_BYTES}", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={found}/"]
    again = [sys.executable, "-m", "tests.fuzz.run", name, minutes]
    timed = [f"-max_total_time={round(60 * float(minutes))}", f"-dict={found / 'words'}", "-print_final_stats=1"]
    subprocess.run([*again, *timed, *limits, str(found / "found"), *folders], check=True, cwd=ROOT)  # noqa: S603  our own words
    merged = found / "merged"
    merged.mkdir()
    merge = ["-merge=1", *limits, str(merged), str(found / "found"), str(KEPT / name)]
    subprocess.run([*again, *merge], check=True, cwd=ROOT)  # noqa: S603  our own words
    shutil.rmtree(KEPT / name)
    shutil.copytree(merged, KEPT / name)
    print(f"{name}: {len(list(merged.iterdir()))} inputs kept")  # noqa: T201


def fuzz(name: str, options: list[str]) -> None:
    """Hand one target, instrumented, to the fuzzer; it ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["zenoti_ingest", "zenoti_schemas", "tomllib"]):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    itself = f"{sys.executable} -m tests.fuzz.run {name} 0"  # merging, it starts itself anew by a shell
    atheris.Setup([itself, *options], target)
    atheris.Fuzz()


def write_seeds(name: str, folder: Path) -> list[str]:
    """A file a seed; returns the words in them, for the fuzzer to put in anywhere."""
    seeds = list(importlib.import_module("tests.fuzz.seeds").SEEDS[name]())
    for number, seed in enumerate(seeds):
        (folder / f"{number:03}").write_bytes(seed)
    return sorted({word.decode() for seed in seeds for word in re.findall(rb"[A-Za-z_][A-Za-z0-9_.-]{2,30}", seed)})


if __name__ == "__main__":
    main()
