"""The wheel is whole: installed beside the locked packages of production alone, it has its command and its types."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, run
from tests.deploy.empty_wheels import read_lock

RECEIVER = '''\
"""A receiver in a project of somebody else, strictly typed."""

from decimal import Decimal

from zenoti_schemas import downstream
from zenoti_schemas.invoice import InvoiceDocument, InvoiceTotalPrice
from zenoti_schemas.webhook import InvoiceClosed


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


RUN = """
import json

import schemas

EVENT = {"event_type": "Invoice.Closed", "data": {"invoice": {"total_price": {"sum_total": schemas.TOTAL}}}}
INVOICE = {"id": "a1", "guest": {"email": "ada@example.com"}}
DATA = {"event": EVENT, "invoice": INVOICE, "enrichment": {"status": "enriched"}}
MESSAGE = {"specversion": "1.0", "id": "1", "source": "/zenoti/main", "type": "com.zenoti.invoice.closed", "data": DATA}
BODY = json.dumps(MESSAGE).encode()
print(total(BODY), email(BODY))
"""


def site_of(environment: Path) -> Path:
    """The folder for packages of an environment."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The project's two wheels, zenoti-ingest's first, built from what git has, by the locked setuptools alone."""
    folder = tmp_path_factory.mktemp("wheels")
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, folder)
    for package in ("worker", "schemas"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        )
    words = (
        "-m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -w dist . ./schemas"
    )
    run([sys.executable, *words.split()], cwd=folder)
    built = sorted((folder / "dist").glob("*.whl"))
    assert [file.name.partition("-")[0] for file in built] == ["zenoti_ingest", "zenoti_schemas"]
    return built


@pytest.fixture(scope="module")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds both wheels and copies of the packages of requirements.txt; nothing else."""
    packages = [locked.name for locked in read_lock(ROOT / "requirements.txt") if locked.applies]
    return environment_of(tmp_path_factory.mktemp("installed"), packages, wheels)


@pytest.fixture(scope="module")
def receiving(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of somebody's receiver: zenoti-schemas and a copy of msgspec; nothing else."""
    return environment_of(tmp_path_factory.mktemp("receiving"), ["msgspec"], wheels[1:])


def environment_of(environment: Path, packages: Sequence[str], wheels: Sequence[Path]) -> Path:
    """An environment that holds copies of these packages and these wheels."""
    venv.create(environment, with_pip=False)
    for name in packages:
        _copy(metadata.distribution(name), site_of(environment))
    words = "-m pip --disable-pip-version-check --python"
    run([sys.executable, *words.split(), environment / "bin" / "python", "install", "--no-deps", "--no-index", *wheels])
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
import importlib, importlib.resources, pkgutil, zenoti_ingest, zenoti_schemas
for package in (zenoti_ingest, zenoti_schemas):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("__main__", "traces.otel")):
            importlib.import_module(module.name)
print(sum(1 for file in importlib.resources.files("zenoti_schemas").joinpath("generated").iterdir()))
"""
    counted = run([installed / "bin" / "python", "-I", "-c", program], cwd=tmp_path)
    assert int(counted) == len(list((ROOT / "schemas" / "zenoti_schemas" / "generated").iterdir()))


def test_types(receiving: Path, tmp_path: Path) -> None:
    """A receiver with zenoti-schemas alone, and a `schemas.py` of its own, is checked strictly against our types."""
    (tmp_path / "schemas.py").write_text('NAME = "of the receiver\'s own"\n')
    (tmp_path / "receiver.py").write_text(RECEIVER)
    words = f"-m mypy --strict --no-incremental --python-executable {receiving}/bin/python receiver.py schemas.py"
    assert "def (body: bytes) -> decimal.Decimal | None" in run([sys.executable, *words.split()], cwd=tmp_path)
    (tmp_path / "receiver.py").write_text(RECEIVER.replace("guest.email", "guest.emails"))
    with pytest.raises(AssertionError, match='has no attribute "emails"'):
        run([sys.executable, *words.split()], cwd=tmp_path)


def test_a_receiver_runs(receiving: Path, tmp_path: Path) -> None:
    """The same receiver runs there, reads the total of an event and its own `schemas.py`; nothing else is needed."""
    (tmp_path / "schemas.py").write_text("TOTAL = 488.10\n")
    (tmp_path / "receiver.py").write_text(RECEIVER.replace("reveal_type(total)\n", RUN))
    words = "-m pip --disable-pip-version-check --python"
    run([sys.executable, *words.split(), receiving / "bin" / "python", "check"])
    assert run([receiving / "bin" / "python", "receiver.py"], cwd=tmp_path).strip() == "488.1 ada@example.com"


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
