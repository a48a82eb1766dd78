"""The wheel is whole: installed beside the locked packages of production alone, it has its command and its types."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, run
from tests.deploy.empty_wheels import read_lock

RECEIVER = '''\
"""A receiver in a project of somebody else, strictly typed."""

from decimal import Decimal

from schemas import downstream
from schemas.invoice import InvoiceDocument, InvoiceTotalPrice
from schemas.webhook import InvoiceClosed


def total(body: bytes) -> Decimal | None:
    """Read the total of a closed invoice; None where there is none that can be read."""
    match downstream.read(body).event:
        case InvoiceClosed(invoice=InvoiceDocument(total_price=InvoiceTotalPrice(sum_total=Decimal() as found))):
            return found
    return None


def email(body: bytes) -> str:
    """Read the guest's address from the API's invoice."""
    invoice = downstream.read(body).invoice
    return (invoice and invoice.guest and invoice.guest.email) or ""


reveal_type(total)
'''


def site_of(environment: Path) -> Path:
    """The folder for packages of an environment."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from what git has, by the locked setuptools alone."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, folder)
    for package in ("worker", "schemas"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    words = "-m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -w dist ."
    run([sys.executable, *words.split()], cwd=folder)
    [built] = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and copies of the packages of requirements.txt; nothing else."""
    environment = tmp_path_factory.mktemp("installed")
    venv.create(environment, with_pip=False)
    site = site_of(environment)
    for locked in read_lock(ROOT / "requirements.txt"):
        if locked.applies:
            _copy(metadata.distribution(locked.name), site)
    words = "-m pip --disable-pip-version-check --python"
    run([sys.executable, *words.split(), environment / "bin" / "python", "install", "--no-deps", "--no-index", wheel])
    return environment


def _copy(package: metadata.Distribution, site: Path) -> None:
    for file in package.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), site / file)


def test_the_lock_is_enough(installed: Path) -> None:
    """Nothing that the package needs is missing from requirements.txt."""
    words = "-m pip --disable-pip-version-check --python"
    run([sys.executable, *words.split(), installed / "bin" / "python", "check"])


def test_command(installed: Path, clean_environ: dict[str, str], tmp_path: Path) -> None:
    """The command is there, and says its version; a daemon comes as far as its configuration."""
    command = installed / "bin" / "zenoti-ingest"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in run([command, "--version"], cwd=tmp_path, environ=clean_environ)
    done = subprocess.run(  # noqa: S603  our own words
        [str(command), "intake"],
        cwd=tmp_path,
        env=clean_environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "no source is configured" in done.stderr) == (2, True), done.stderr


def test_imports(installed: Path, tmp_path: Path) -> None:
    """Every module can be imported but those of extras; the generated schemas are there."""
    program = """
import importlib, importlib.resources, pkgutil, schemas, worker
for package in (worker, schemas):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("__main__", "traces.otel")):
            importlib.import_module(module.name)
print(sum(1 for file in importlib.resources.files("schemas").joinpath("generated").iterdir()))
"""
    counted = run([installed / "bin" / "python", "-I", "-c", program], cwd=tmp_path)
    assert int(counted) == len(list((ROOT / "schemas" / "generated").iterdir()))


def test_types(installed: Path, tmp_path: Path) -> None:
    """A strictly typed receiver is checked against our types, without stubs and without an ignore."""
    (tmp_path / "receiver.py").write_text(RECEIVER)
    words = f"-m mypy --strict --no-incremental --python-executable {installed}/bin/python receiver.py"
    assert "def (body: bytes) -> decimal.Decimal | None" in run([sys.executable, *words.split()], cwd=tmp_path)
    (tmp_path / "receiver.py").write_text(RECEIVER.replace("guest.email", "guest.emails"))
    with pytest.raises(AssertionError, match='has no attribute "emails"'):
        run([sys.executable, *words.split()], cwd=tmp_path)


def test_metadata(installed: Path) -> None:
    """Who made it, what it is about, and on which Pythons its tests run."""
    [package] = metadata.distributions(name="zenoti-ingest", path=[str(site_of(installed))])
    about = package.metadata
    assert about["Author"] == "The zenoti-ingest maintainers"
    assert about["License-Expression"] == "MIT"
    assert about["Keywords"]
    assert about.get_all("Project-URL")
    classifiers = about.get_all("Classifier") or []
    pythons = {found[1] for line in classifiers if (found := re.search(r":: (3\.\d+)$", line))}
    assert pythons == {"3.11", "3.13"}
    assert "Typing :: Typed" in classifiers
