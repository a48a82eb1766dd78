#!/usr/bin/env python3
"""Audits what runs in production, the extra's packages too: `make audit`. Writes a CycloneDX SBOM to var/.

Each step is a line. Exit status: 0 all of it good; 1 a vulnerability, a licence that is not known as good, or locks
that do not fit together; 3 nothing bad found, but vulnerabilities were not audited: their data could not be had, or not
for all packages. Not audited is never 0. Standard library only; the tools come, by hash, from requirements-audit.txt.
"""

import json
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
HOME = PROJECT / "var" / "audit"
SBOM = PROJECT / "var" / "sbom.cdx.json"
INSTALL = "-m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r"
CHECK = "-m pip check --disable-pip-version-check"
TOOLS_LOCK = "requirements-audit.txt"
LOCK = "requirements-extras.txt"  # all of requirements.txt, and the extras
GOOD, BAD, NOT_AUDITED = 0, 1, 3
SECONDS = 300

# Permissive, or weak copyleft for files that we do not change. Words as packages spell them.
KNOWN_GOOD = re.compile(r"(MIT|ISC|PSF|Apache|BSD|MPL|Mozilla Public|Python Software Foundation)\b", re.IGNORECASE)
LICENCES = """
import json
from importlib.metadata import distributions
def licence(of):
    words = [line.rpartition("::")[2].strip() for line in of.get_all("Classifier", []) if line.startswith("License ::")]
    return of.get("License-Expression") or ", ".join(words) or (of.get("License") or "").partition("\\n")[0]
print(json.dumps({one.metadata["Name"]: licence(one.metadata) for one in distributions()}))
"""


def say(word: str, what: str) -> None:
    """Tell a step."""
    print(f"{word:12} {what}", flush=True)


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, within SECONDS."""
    return subprocess.run(  # noqa: S603  our own words
        [str(word) for word in command], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=SECONDS
    )


def environment(name: str, lock: str) -> Path:
    """Return the bin folder of a new environment that has what the lock says and nothing else. Raises SystemExit."""
    folder = HOME / name
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    done = run([python, *INSTALL.split(), lock])
    if done.returncode:
        say("FAIL", f"{lock} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        raise SystemExit(NOT_AUDITED)
    return python.parent


def packages(found: dict[str, str]) -> dict[str, str]:
    """What is ours to answer for: pip and setuptools came with the environment."""
    return {name: said for name, said in found.items() if name.lower() not in {"pip", "setuptools"}}


def licences(runtime: Path) -> int:
    """Tell every licence that is not known as good."""
    found = packages(json.loads(run([runtime / "python", "-c", LICENCES]).stdout))
    unknown = {name: said for name, said in found.items() if not KNOWN_GOOD.search(said)}
    for name, said in unknown.items():
        say("FAIL", f"licence of {name}: {said or 'not told'}; read it, then add its word to {Path(__file__).name}")
    if not unknown:
        say("ok", f"licences of {len(found)} packages: {', '.join(sorted(set(found.values())))}")
    return BAD if unknown else GOOD


def consistency(lock: str, at: Path) -> int:
    """Report whether the packages of a lock have all that they need."""
    done = run([at / "python", *CHECK.split()])
    say("FAIL" if done.returncode else "ok", f"{lock} is complete: {done.stdout.strip()}")
    return BAD if done.returncode else GOOD


def sbom(tools: Path, runtime: Path) -> int:
    """Write the bill of materials."""
    words = "environment --pyproject pyproject.toml --output-reproducible -o"
    done = run([tools / "cyclonedx-py", *words.split(), SBOM, runtime / "python"])
    if done.returncode:
        say("FAIL", f"no SBOM: {done.stderr.strip().splitlines()[-1]}")
        return BAD
    written = json.loads(SBOM.read_text())
    where = SBOM.relative_to(PROJECT)
    say("ok", f"{where}: CycloneDX {written['specVersion']}, {len(written['components'])} components")
    return GOOD


def vulnerabilities(tools: Path) -> int:
    """Ask for known vulnerabilities; a package that nobody could tell about is not audited."""
    words = f"-r {LOCK} --require-hashes --disable-pip --progress-spinner off -f json"
    done = run([tools / "pip-audit", *words.split()])
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        say("NOT AUDITED", f"vulnerabilities: {why[:200]}")
        return NOT_AUDITED
    return judged(found)


def judged(found: list[dict[str, Any]]) -> int:
    """Tell what pip-audit says of each package."""
    bad = [package for package in found if package.get("vulns")]
    for package in bad:
        ids = ", ".join(f"{v['id']} (fixed in {', '.join(v['fix_versions']) or 'none'})" for v in package["vulns"])
        say("FAIL", f"{package['name']} {package['version']}: {ids}")
    skipped = [package["name"] for package in found if "skip_reason" in package]
    if skipped or not found:
        say("NOT AUDITED", f"vulnerabilities of {len(skipped)} of {len(found)} packages: {', '.join(skipped)}")
    if bad:
        return BAD
    if skipped or not found:
        return NOT_AUDITED
    say("ok", f"no known vulnerability in {len(found)} packages")
    return GOOD


def main() -> int:
    """Every step, though one fails; the worst of them is the status."""
    runtime = environment("runtime", LOCK)
    tools = environment("tools", TOOLS_LOCK)
    results = [consistency(LOCK, runtime), consistency(TOOLS_LOCK, tools), licences(runtime)]
    results += [sbom(tools, runtime), vulnerabilities(tools)]
    return BAD if BAD in results else max(results)


if __name__ == "__main__":
    sys.exit(main())
