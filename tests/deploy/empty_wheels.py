"""A package index on disk that offers every locked package, and a newer release of each; all its wheels are empty."""

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEWER = "99999.0"  # newer than any release, also where versions are dates


@dataclass
class Locked:
    """A line of a lock: what it pins, and which packages of the lock ask for it."""

    requirement: Requirement
    needed_by: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The package's canonical name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The pinned version."""
        [pin] = self.requirement.specifier
        return pin.version

    @property
    def applies(self) -> bool:
        """Whether the line is for this Python and this platform."""
        return self.requirement.marker is None or self.requirement.marker.evaluate()


def read_lock(file: Path) -> list[Locked]:
    """Read a lock that `make lock` wrote: its pins, and from its `# via` comments who needs each."""
    found: list[Locked] = []
    for line in file.read_text().splitlines():
        if comment := re.fullmatch(r"\s+#\s+(?:via )?([\w.-]+)", line):
            found[-1].needed_by.append(canonicalize_name(comment[1]))
        elif line and not line.startswith(" "):
            found.append(Locked(Requirement(line.removesuffix("\\").strip())))
    return found


def write_index(lock: Iterable[Locked], folder: Path) -> str:
    """Make the index in a folder; return a copy of the lock that has the hashes of its wheels."""
    locked = {each.name: each for each in lock}
    needs: dict[str, list[str]] = {name: [] for name in locked}
    extras = {name: set(each.requirement.extras) for name, each in locked.items()}
    for name, each in locked.items():
        for parent in each.needed_by:
            wanted = each.requirement.extras | _wanted_extras(parent, name)
            extras[name] |= wanted
            if parent in needs:  # the rest of the parents is the project itself
                needs[parent].append(_dependency(each, wanted))
    lines = []
    for name, each in locked.items():
        project = folder / name
        project.mkdir(parents=True)
        digests = {
            version: _write_wheel(project, name, version, needs=needs[name], extras=extras[name])
            for version in (each.version, NEWER)
        }
        links = [f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in sorted(project.glob("*.whl"))]
        (project / "index.html").write_text("<!DOCTYPE html>" + "".join(links))
        lines.append(f"{each.requirement} --hash=sha256:{digests[each.version]}")
    return "\n".join(lines) + "\n"


def _wanted_extras(parent: str, name: str) -> set[str]:
    """With which extras the real parent asks for a package, as far as the parent is installed here."""
    try:
        requires = metadata.requires(parent) or ()
    except metadata.PackageNotFoundError:
        return set()
    wanted = (Requirement(text) for text in requires)
    return {extra for each in wanted if canonicalize_name(each.name) == name for extra in each.extras}


def _dependency(on: Locked, extras: Iterable[str]) -> str:
    marker = f" ; {on.requirement.marker}" if on.requirement.marker else ""
    return f"{on.name}[{','.join(sorted(extras))}]>={on.version}{marker}".replace("[]", "")


def _write_wheel(folder: Path, name: str, version: str, *, needs: Iterable[str], extras: Iterable[str]) -> str:
    """Write a wheel without modules; return its SHA-256."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        "METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *_fields(needs, extras)]
        ),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    file = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for part, text in files.items():
            archive.writestr(f"{stem}.dist-info/{part}", text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _fields(needs: Iterable[str], extras: Iterable[str]) -> Iterator[str]:
    yield from (f"Provides-Extra: {extra}" for extra in extras)
    yield from (f"Requires-Dist: {need}" for need in needs)
