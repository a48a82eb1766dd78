"""Programs out of Debian's packages, unpacked into var/debian, not installed: nothing of the system changes.

For what tests judge with, and PyPI has not: promtool, prometheus, haproxy. What the machine has is taken as it is.
Wants apt-get and dpkg-deb; where apt's lists are empty also root, to fill them.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).resolve().parents[2] / "var" / "debian"
SECONDS: Final = 300
# Beside the package of the program: libraries that a bare machine has not.
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "promtool": ("prometheus",),
    "prometheus": ("prometheus",),
    "haproxy": ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
}


class NotToBeHad(Exception):
    """The program is not here and cannot be brought; the text says why."""


def program(name: str) -> Path:
    """Return where the program is, brought here if it must be. Raises NotToBeHad."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if found is not None:
        return Path(found)
    home = HOME / PACKAGES[name][0]
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run beside each other bring it once, and apt-get bears no second
        if not home.exists():
            _bring(PACKAGES[name], home)
    for folder in ("usr/bin", "usr/sbin"):
        if (home / folder / name).exists():
            return home / folder / name
    raise NotToBeHad(f"{name} is not in Debian's package {PACKAGES[name][0]}: install it by hand")


def environment(of: Path) -> dict[str, str]:
    """The environment in which an unpacked program finds the libraries that were unpacked with it."""
    libraries = (
        [str(found) for found in (of.parents[2] / "usr" / "lib").glob("*-linux-gnu")] if HOME in of.parents else []
    )
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def _bring(packages: Sequence[str], home: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotToBeHad(f"{packages[0]} is neither installed nor to be had without apt-get: install it by hand")
    partial = home.with_name(f"{home.name}.{os.getpid()}")
    partial.mkdir(exist_ok=True)
    try:
        if _said(["apt-get", "download", "-qq", *packages], partial):
            _said(["apt-get", "update", "-qq"], partial)
            if said := _said(["apt-get", "download", "-qq", *packages], partial):
                raise NotToBeHad(f"apt-get cannot download {' '.join(packages)}: {said}")
        for file in partial.glob("*.deb"):
            if said := _said(["dpkg-deb", "--extract", file.name, "."], partial):
                raise NotToBeHad(f"{file.name} cannot be unpacked: {said}")
            file.unlink()
        partial.rename(home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _said(command: Sequence[str], folder: Path) -> str:
    """Why a command failed; empty where it did not."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603  our own words
    return "" if done.returncode == 0 else done.stderr.strip()[-300:] or f"exit {done.returncode}"
