"""What the artifacts put into a daemon's environment are settings that the daemon takes."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest

from tests.deploy.conftest import DEPLOY, documents, needed, run
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.settings import CONFIG_ENV, ENV_PREFIX, SecretSpec, Settings, load

KUBERNETES = DEPLOY / "kubernetes"
CONFIG = str(DEPLOY / "zenoti.toml")


def image() -> dict[str, str]:
    """The image's own environment."""
    return dict(re.findall(r"(ZENOTI_INGEST_\w+)=(\S+)", (DEPLOY / "docker" / "Dockerfile").read_text()))


def kubernetes() -> Iterator[tuple[str, dict[str, str]]]:
    """Each pod's."""
    for file in KUBERNETES.glob("*.yaml"):
        for manifest in documents(file):
            for container in manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
                yield manifest["metadata"]["name"], image() | {e["name"]: e["value"] for e in container["env"]}


def systemd() -> Iterator[tuple[str, dict[str, str]]]:
    """Each service's."""
    for unit in (DEPLOY / "systemd").glob("*.service"):
        yield (
            unit.name,
            dict(re.findall(r"^Environment=(\w+)=(.*)$", unit.read_text().replace("%i", "1"), re.MULTILINE)),
        )


def taken(environ: Mapping[str, str]) -> Settings:
    """The settings, with deploy's own file in place of the installed file."""
    ours = {key: value for key, value in environ.items() if key.startswith(ENV_PREFIX)}
    assert ours.pop(CONFIG_ENV).endswith("/zenoti.toml")
    return load(path=CONFIG, environ=ours)


@pytest.mark.parametrize(("name", "environ"), [*kubernetes(), *systemd()])
def test_is_settings(name: str, environ: dict[str, str]) -> None:
    """Each variable is a key, with a value that will do; who wants a broker has its address from a file."""
    settings = taken(environ)
    assert settings.broker.url.file, name
    assert not settings.broker.declare


def test_compose_is_settings() -> None:
    """The same of every service of compose.yaml that runs our image."""
    compose = needed("docker-compose", why="its package has a build for Linux on x86-64 only")
    profiles = [word for profile in ("simulator", "tool") for word in ("--profile", profile)]
    services = json.loads(run([compose, "-f", DEPLOY / "compose.yaml", *profiles, "config", "--format", "json"]))[
        "services"
    ]
    ours = {name: service for name, service in services.items() if service["image"].startswith("zenoti-ingest:")}
    assert ours.keys() == {"topology", "intake", "consumer", "tool", "simulator"}
    for service in ours.values():
        settings = taken(image() | service["environment"])
        files = [str(spec.file) for spec in (settings.broker.url, *_secrets(settings)) if spec.file]
        assert {file.rpartition("/")[2] for file in files} == {secret["source"] for secret in service["secrets"]}


def test_an_unknown_name_is_found() -> None:
    """The check itself works: a misspelt variable does not pass."""
    with pytest.raises(WrongSettings, match=r"intake\.spool_directory is not a key"):
        taken({CONFIG_ENV: "/etc/zenoti-ingest/zenoti.toml", "ZENOTI_INGEST_INTAKE__SPOOL_DIRECTORY": "/tmp"})  # noqa: S108


def _secrets(settings: Settings) -> list[SecretSpec]:
    source = settings.sources["main"]
    return [source.api_key, source.webhook_secret, source.webhook_token]
