"""The programs that judge what lies in deploy/, and a hand to run them with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import debian
from tests.acceptance.conftest import system

__all__ = ["system"]  # the fixture, for the live test

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SECONDS = 100


def run(command: Sequence[str | Path], *, cwd: Path = ROOT, environ: Mapping[str, str] | None = None) -> str:
    """Run a program that must be content; returns what it said."""
    done = subprocess.run(  # noqa: S603  our own words
        [str(word) for word in command],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def documents(file: Path) -> list[Any]:
    """What a YAML file holds."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document is not None]


def needed(name: str, *, why: str = "") -> Path:
    """A program beside our Python, of the system, or out of Debian's package; skips, and says so, without it."""
    beside = Path(sys.executable).parent / name
    try:
        if beside.exists():
            return beside
        if name in debian.PACKAGES:
            return debian.program(name)
    except debian.NotToBeHad as error:
        why = str(error)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT CHECKED: {name} is not here{': ' if why else ''}{why}")
    return Path(found)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own judge of rules."""
    return needed("promtool")


@pytest.fixture(scope="session")
def clean_environ() -> dict[str, str]:
    """The environment without settings of ours."""
    return {key: value for key, value in os.environ.items() if not key.startswith("ZENOTI_INGEST_")}
