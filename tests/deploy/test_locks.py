"""Every lock installs exactly what it names, whatever newer releases there are, and every install is from a lock."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.conftest import ROOT, SECONDS
from tests.deploy.empty_wheels import Locked, read_lock, write_index

LOCKS = sorted(ROOT.glob("requirements*.txt"))
PIPS = {"debian-12": "23.0.1", "newest": ""}
FLAGS = ["--require-hashes", "--no-deps"]  # of each install from a lock; pip resolves nothing
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]
SCRIPTS = [ROOT / "deploy" / "audit.py", ROOT / "deploy" / "docker" / "Dockerfile"]


@pytest.fixture(params=PIPS)
def pip(request: pytest.FixtureRequest) -> Path:
    """The folder with a pip of its own: Debian 12's, and the newest of the day on which the locks were written."""
    name: str = request.param
    if name == "debian-12" and sys.version_info >= (3, 12):
        pytest.skip("NOT CHECKED: pip 23.0.1 does not run on Python 3.12 or newer, so nobody there has it")
    folder = Path(sys.prefix) / "pips" / name
    [found] = metadata.distributions(name="pip", path=[str(folder)])
    assert found.version.startswith(PIPS[name]), "`make install` brings the pips of tests/deploy/pips"
    return folder


@pytest.fixture(params=LOCKS, ids=lambda lock: lock.stem)
def lock(request: pytest.FixtureRequest) -> list[Locked]:
    """Each lock in turn."""
    return read_lock(request.param)


def run_pip(pip: Path, python: Path, lock: str, at: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Let a pip install a lock's text from the index at `at`/index, without the machine's own pip settings."""
    (at / "lock.txt").write_text(lock)
    install = "-m pip --disable-pip-version-check install --ignore-installed --no-cache-dir --no-compile"
    return subprocess.run(  # noqa: S603  our own words
        [str(python), *install.split(), "-r", "lock.txt", "--index-url", (at / "index").as_uri(), *flags],
        cwd=at,
        env={"PYTHONPATH": str(pip), "PIP_CONFIG_FILE": os.devnull, "HOME": str(at), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def pins(lock: list[Locked]) -> dict[str, str]:
    """What the lock pins on this machine."""
    return {each.name: each.version for each in lock if each.applies}


def test_installs_the_locked_versions(pip: Path, lock: list[Locked], tmp_path: Path) -> None:
    """As the project installs it: the pinned versions, all of them, and nothing else."""
    copy = write_index(lock, tmp_path / "index")
    venv.create(tmp_path / "env", with_pip=False)
    done = run_pip(pip, tmp_path / "env" / "bin" / "python", copy, tmp_path, *FLAGS)
    assert done.returncode == 0, done.stderr
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")})
    found = {canonicalize_name(each.name): each.version for each in metadata.distributions(path=[site])}
    assert found == pins(lock)


def test_is_complete(pip: Path, lock: list[Locked], tmp_path: Path) -> None:
    """A lock is whole by itself, extras too: a pip that does resolve finds every dependency pinned in it."""
    copy, report = write_index(lock, tmp_path / "index"), tmp_path / "report.json"
    flags = ["--require-hashes", "--dry-run", "--report", str(report)]
    done = run_pip(pip, Path(sys.executable), copy, tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    found = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    assert {canonicalize_name(each["name"]): each["version"] for each in found} == pins(lock)


@pytest.mark.parametrize("missing", ["yarl", "[requests]"])
def test_an_incomplete_lock_is_found(pip: Path, tmp_path: Path, missing: str) -> None:
    """A lock that lacks a dependency is refused by both pips, and a lock that lacks an extra by the older pip."""
    copy = write_index(read_lock(ROOT / "requirements-extras.txt"), tmp_path / "index")
    whole = copy.splitlines()
    broken = [line for line in whole if not line.startswith(missing)] if missing == "yarl" else [
        line.replace(missing, "") for line in whole
    ]  # fmt: skip
    assert broken != whole
    flags = ["--require-hashes", "--dry-run"]
    done = run_pip(pip, Path(sys.executable), "\n".join(broken), tmp_path, *flags)
    if missing == "yarl" or pip.name == "debian-12":
        assert "In --require-hashes mode" in done.stderr
    else:
        assert done.returncode == 0


def make_commands() -> str:
    """What each target of the Makefile that installs would run."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "install", "bench", "fuzz"],  # noqa: S607  the make that runs the tests
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    return done.stdout


def installs() -> Iterator[tuple[str, list[str]]]:
    """Each `pip install` and `pip wheel` of the project: where it stands, and its words."""
    texts = {"Makefile": make_commands()}
    texts |= {str(file.relative_to(ROOT)): file.read_text() for file in [*PAGES, *SCRIPTS]}
    for where, text in texts.items():
        for command in re.findall(r"\bpip (?:install|wheel) (-[^&|;`\n]*)", text.replace("\\\n", " ")):
            yield where, command.replace('"', "").split()


def test_every_install_is_from_a_lock() -> None:
    """Wherever the project says `pip install`, it resolves nothing and builds with locked packages alone."""
    found = list(installs())
    expected = {"Makefile", "README.md", "deploy/docker/Dockerfile", "deploy/systemd/README.md", "deploy/audit.py"}
    assert expected <= {where for where, _ in found}
    for where, words in found:
        if "-r" in words:
            assert set(FLAGS) <= set(words), f"{where}: pip install {' '.join(words)}"
        else:  # our own package
            assert "--no-deps" in words, where
            assert {"--no-build-isolation", "--no-index"} & set(words), f"{where}: builds with what has no hash"


@pytest.mark.parametrize("where", sorted({where for where, _ in installs()}))
def test_every_install_is_checked(where: str) -> None:
    """What was installed without resolving is looked over by `pip check`."""
    text = make_commands() if where == "Makefile" else (ROOT / where).read_text()
    assert "pip check" in text, f"{where} installs without `pip check`"
