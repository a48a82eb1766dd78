"""Programs out of Debian's packages, unpacked into var/debian, not installed: nothing of the system changes.

For programs that tests judge with and that PyPI has not. A program that the machine has is used as it is.
Needs apt-get and dpkg-deb; where apt's lists are empty also root, to fill them.
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
# By program: the package that has it, under each name that a Debian release gives it.
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "promtool": ("promtool", "prometheus"),
    "prometheus": ("prometheus",),
    "haproxy": ("haproxy",),
    "systemd-analyze": ("systemd",),
    "kubectl": ("kubectl", "kubernetes-client"),
}


class NotToBeHad(Exception):
    """The program is not here and cannot be brought; the text says why."""


def program(name: str) -> Path:
    """Return where the program is, brought here if it must be. Raises NotToBeHad."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if found is not None:
        return Path(found)
    HOME.mkdir(parents=True, exist_ok=True)
    reasons = []
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run beside each other bring it once, and apt-get bears no second
        for package in PACKAGES[name]:
            try:
                unpacked = _unpacked(package)
            except NotToBeHad as error:
                reasons.append(str(error))
                continue
            for folder in ("usr/bin", "usr/sbin", "bin"):
                if (unpacked / folder / name).exists():
                    return unpacked / folder / name
            reasons.append(f"Debian's package {package} has no {name}")
    raise NotToBeHad(f"{'; '.join(reasons)}: install it by hand")


def environment(of: Path) -> dict[str, str]:
    """The environment in which an unpacked program finds the libraries and units that were unpacked with it."""
    homes = [home for home in of.parents if home.parent == HOME]
    if not homes:
        return dict(os.environ)
    libraries = [str(found) for home in homes for found in sorted(home.glob("**/lib/*-linux-gnu/"))]
    private = [f"{found}/systemd" for found in libraries]  # systemd keeps a library to itself
    units = [str(found) for home in homes for found in sorted(home.glob("**/lib/systemd/system/"))]
    found = {"LD_LIBRARY_PATH": [*libraries, *private], "SYSTEMD_UNIT_PATH": [*units, ""]}  # "": and the machine's own
    return os.environ | {name: os.pathsep.join(paths) for name, paths in found.items()}


def _unpacked(package: str) -> Path:
    """Return the folder of a package and of whatever it depends on and the machine has not. Raises NotToBeHad."""
    home = HOME / package
    if home.exists():
        return home
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotToBeHad("this machine has no apt-get")
    partial = home.with_name(f"{home.name}.{os.getpid()}")
    (partial / "partial").mkdir(parents=True, exist_ok=True)  # apt-get wants a folder of this name
    words = "install --download-only --no-install-recommends -y -qq -o Debug::NoLocking=1 -o"
    download = ["apt-get", *words.split(), f"Dir::Cache::archives={partial}", package]
    try:
        if _said(download, partial):
            _said(["apt-get", "update", "-qq"], partial)
            if said := _said(download, partial):
                raise NotToBeHad(f"apt-get cannot download {package}: {said}")
        for file in partial.glob("*.deb"):
            if said := _said(["dpkg-deb", "--extract", file.name, "."], partial):
                raise NotToBeHad(f"{file.name} cannot be unpacked: {said}")
            file.unlink()
        partial.rename(home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return home


def _said(command: Sequence[str], folder: Path) -> str:
    """Why a command failed; empty where it did not."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603  our own words
    return "" if done.returncode == 0 else done.stderr.strip()[-300:] or f"exit {done.returncode}"
